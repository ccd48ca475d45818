// Where a connection stands in the log, and what is still to be asked for.
//
// Owns: the one cursor of a connection, and the starts of channels that have not begun. Does not own: what an
// application has had (inbox.ts).
// Invariant: everything up to `cursor` was handed on, for every channel that has begun.

import { earlier, had } from "./cursor.ts";
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

export class Place {
  cursor: string | null = null;
  /** Each channel's starts that have not been answered, oldest first. None: the channel has begun. */
  readonly starts = new Map<string, Start[]>();
  // Where the cursor goes once a group of gaps is complete (spec §3.3).
  private _behind: string | null = null;

  /** Whether the one request for all can say this start: none, or, before there is a cursor, now. */
  private _isJoint(start: Start | undefined): boolean {
    return !start || (this.cursor === null && same(start, NOW));
  }

  /** What one request for all asks for. */
  asking(): Group {
    const all = [...this.starts].filter(([, [start]]) => this._isJoint(start));
    return { names: all.map(([name]) => name), starts: all.map(([, [start]]) => start) };
  }

  /** What must be asked for apart from the others next, but for these starts. */
  next(except: readonly (Start | undefined)[] = []): Group | undefined {
    let group: Group | undefined;
    for (const [name, [start]] of this.starts) {
      if (this._isJoint(start) || except.includes(start)) continue;
      group ??= { names: [], starts: [] };
      // "The last 20" is said of each channel.
      if (group.names[0] && (start!.rewind || !same(start, group.starts[0]))) continue;
      group.names.push(name);
      group.starts.push(start);
    }
    return group;
  }

  /** These starts were answered; return whether there were any. */
  began(group: Group): boolean {
    let some = false;
    group.starts.forEach((start, index) => {
      const starts = this.starts.get(group.names[index]!);
      const at = starts?.indexOf(start!) ?? -1;
      if (at < 0) return;
      starts!.splice(at, 1);
      some = true;
    });
    return some;
  }

  /** Stand here, by the server's word, or because a new connection asks from here: it is told its gaps again. */
  move(cursor: string | null): void {
    this.cursor = cursor;
    this._behind = null;
  }

  /** Move by what was told, in its order. */
  take({ message, gap, ready, at }: Frame): void {
    if (message) {
      if (this._behind) this.move(this._behind);
      if (!had(this.cursor, message.id)) this.cursor = message.id;
    } else if (gap) {
      if (gap.reason !== "retention") this._behind = earlier(this._behind, gap.resumed);
    } else if (ready) {
      this.cursor ??= ready.cursor;
    } else if (at) {
      if (this._behind || !had(this.cursor, at)) this.move(at);
    }
  }
}
