// What one application has had, and is told: each message once, each gap once.
//
// Owns: where each of its channels stands. Does not own: how messages come (connection.ts), who listens (channel.ts).
// Invariant: a message is handed on when its id is above what its channel has had, and never else.

import type { Tell } from "./channel.ts";
import { had } from "./cursor.ts";
import { same } from "./same.ts";
import type { Gap, Start } from "./types.ts";
import type { Item, Wants } from "./wire.ts";

/** One channel of an application. */
export interface Seat {
  /** Where it is to begin; undefined: it has begun. */
  start?: Start | undefined;
  /** All up to here was had. */
  seen?: string | undefined;
  /** The gap that was told last, if no message came since. */
  told?: Gap | undefined;
  tell: Tell;
}

export interface Inbox {
  /** Everything up to here was had, on every channel that has begun. */
  cursor: string | null;
  readonly seats: Map<string, Seat>;
  /** What is wanted, and where each channel is to begin. `anew`: for who does not know where it stands. */
  wants(anew?: boolean): Wants;
  take(item: Item): void;
}

export function openInbox(): Inbox {
  const seats = new Map<string, Seat>();
  const inbox: Inbox = {
    cursor: null,
    seats,
    wants(anew) {
      const after = inbox.cursor;
      const wants: Wants = {};
      for (const [name, { start }] of seats) wants[name] = start ?? (anew && after ? { after } : null);
      return wants;
    },
    take({ message, gap, began, cursor }) {
      const seat = seats.get((message ?? gap)?.channel ?? "");
      inbox.cursor = cursor;
      if (seat && message) {
        const { id } = message;
        if (had(seat.seen, id)) return;
        seat.seen = id;
        seat.told = undefined;
        // Cut before it has begun, it goes on from here.
        if (seat.start) seat.start = { after: id };
        seat.tell("message", message);
      } else if (seat && gap) {
        // A stream cut among gaps tells them again (spec §3.3), and one tab's gap may be behind another's place.
        if (same(seat.told, gap) || (gap.reason !== "ahead" && had(seat.seen, gap.resumed))) return;
        seat.told = gap;
        seat.seen = gap.resumed;
        seat.tell("gap", gap);
      }
      for (const name of began?.names ?? []) {
        const one = seats.get(name);
        if (!one?.start) continue;
        one.start = undefined;
        if (!had(one.seen, began!.at)) one.seen = began!.at;
      }
    },
  };
  return inbox;
}
