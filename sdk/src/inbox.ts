// What one application has had, and is told: each message once, each gap once.
//
// Owns: where each of its channels stands. Does not own: how messages come (connection.ts), who listens (channel.ts).
// Invariant: a message is handed on when its id is above what its channel has had, and never else. A channel that waits
// for what it asked for takes nothing else: what the other tabs are told meanwhile would pass over it.

import type { Tell } from "./channel.ts";
import { further, had } from "./cursor.ts";
import { same } from "./same.ts";
import type { Start } from "./types.ts";
import type { Item, Wants } from "./wire.ts";

/** One channel of an application. */
export interface Seat {
  /** Where it is to begin; undefined: it has begun. */
  start?: Start | undefined;
  /** Where who leads was asked to begin it; cut in the midst, it is to begin further on. */
  asked?: Start | undefined;
  /** All up to here was had. */
  seen?: string | undefined;
  tell: Tell;
}

export interface Inbox {
  /** Everything up to here was had, on every channel that has begun. */
  stand: string | null;
  readonly seats: Map<string, Seat>;
  /** What is wanted, and where each channel is to begin. `anew`: for who does not know where it stands; all begin again. */
  wants(anew?: boolean): Wants;
  take(item: Item): void;
}

export function openInbox(): Inbox {
  const seats = new Map<string, Seat>();
  const inbox: Inbox = {
    stand: null,
    seats,
    wants(anew) {
      const wants: Wants = {};
      for (const [name, seat] of seats) {
        if (anew) seat.asked = seat.start ??= { after: inbox.stand! };
        wants[name] = seat.asked ??= seat.start;
      }
      return wants;
    },
    take({ message, gap, began, start, next, cursor }) {
      const { stand } = inbox;
      inbox.stand = cursor;
      for (const name of began?.names ?? [(message ?? gap)?.channel!]) {
        const seat = seats.get(name);
        // Who has begun takes what follows all that it has had; who waits, what it asked for.
        if (!seat || !(seat.start ? same(start, seat.asked) : !start || had(stand, start.after!))) continue;
        if (message) {
          if (had(seat.seen, message.id)) return;
          seat.seen = further(seat.seen, message.id);
          // Cut before it has begun, it goes on from here.
          if (seat.start) seat.start = { after: message.id };
          seat.tell("message", message);
        } else if (gap) {
          // A stream cut among gaps tells them again (spec §3.3), and one tab's gap may be behind another's place.
          // Behind `ahead` it stands lower than before.
          if (gap.reason === "ahead" ? seat.seen === gap.resumed : had(seat.seen, gap.resumed)) return;
          seat.seen = gap.resumed;
          seat.tell("gap", gap);
        } else {
          seat.seen = further(seat.seen, began!.at);
          seat.asked = seat.start &&= next;
        }
      }
      // Where the log has partitions, a message that comes again may have another id: what the other channels were told is
      // in it. So whoever has begun has had what all have had.
      if (message && cursor?.includes(".")) for (const one of seats.values()) if (!one.start) one.seen = further(one.seen, cursor!);
    },
  };
  return inbox;
}
