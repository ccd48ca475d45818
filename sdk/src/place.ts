// Where a connection stands in the log, and what is still to be asked for.
//
// Owns: the one cursor of a connection, and the starts of channels that have not begun. Does not own: what an
// application has had (inbox.ts).
// Invariant: everything up to `cursor` was handed on, for every channel that has begun.

import { further } from "./cursor.ts";
import { same } from "./same.ts";
import type { Start } from "./types.ts";
import type { Frame } from "./wire.ts";

export interface Group {
  names: string[];
  /** What each was asked with; undefined: it had begun before. */
  starts: (Start | undefined)[];
}

/** A start behind nothing. */
export const NOW: Start = {};

export interface Place {
  /** Everything up to here was handed on; null: nothing is known yet. */
  stand: string | null;
  /** Each channel's starts that have not been answered, oldest first. None: the channel has begun. */
  readonly starts: Map<string, Start[]>;
  /** What one request for all asks for. */
  asking(): Group;
  /** What must be asked for apart from the others next, but for these starts. */
  apart(except?: readonly (Start | undefined)[]): Group | undefined;
  /** These starts were answered, but for `next`, which stays to be asked; return which it was, if any. */
  answered(group: Group, next?: Start): Start | undefined;
  /** Stand here, by the server's word, or because a new connection asks from here: it is told its gaps again. */
  move(cursor: string | null): void;
  /** Move by what was told, in its order; return whether it was a message that had been told before. */
  take(frame: Frame): boolean;
}

export function openPlace(stand: string | null): Place {
  const starts = new Map<string, Start[]>();
  /** Where the cursor goes once a group of gaps is complete (spec §3.3). */
  let behind: string | null = null;

  /** Whether the one request for all can say this start: none, or, before there is a cursor, now. */
  const isJoint = (start: Start | undefined): boolean => !start || (place.stand === null && same(start, NOW));

  const place: Place = {
    stand,
    starts,
    asking() {
      const all = [...starts].filter(([, [start]]) => isJoint(start));
      return { names: all.map(([name]) => name), starts: all.map(([, [start]]) => start) };
    },
    apart(except) {
      let group: Group | undefined;
      for (const [name, [start]] of starts) {
        if (isJoint(start) || except?.includes(start)) continue;
        group ??= { names: [], starts: [] };
        // "The last 20" is said of each channel.
        if (group.names[0] && (start!.rewind || !same(start, group.starts[0]))) continue;
        group.names.push(name);
        group.starts.push(start);
      }
      return group;
    },
    answered({ names, starts: asked }, next) {
      let found: Start | undefined;
      names.forEach((name, index) => {
        const waiting = starts.get(name);
        const start = asked[index]!;
        if (!waiting?.includes(start)) return;
        waiting.splice(waiting.indexOf(start), 1, ...(next ? [next] : []));
        found = start;
      });
      return found;
    },
    move(cursor) {
      place.stand = cursor;
      behind = null;
    },
    take({ message, gap, ready, at }) {
      if (message) {
        if (behind) place.move(behind);
        return place.stand === (place.stand = further(place.stand, message.id));
      } else if (gap) {
        if (gap.reason !== "retention") behind = further(behind, gap.resumed, true);
      } else if (ready) {
        place.stand ??= ready.cursor;
      } else if (at) {
        place.move(behind ? at : further(place.stand, at));
      }
      return false;
    },
  };
  return place;
}
