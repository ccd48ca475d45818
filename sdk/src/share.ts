// One connection for all tabs of a browser: a leader holds it, and tells the others over a BroadcastChannel.
//
// Owns: who leads. The lock is the browser's: it passes on when a tab closes, crashes or hands over. Does not own: what
// a tab has had (inbox.ts), so a new leader may tell too much, and never too little.
// Invariant: whoever leads asks from its own cursor, and for each other tab from that tab's, where that is behind.

import { openConnection } from "./connection.ts";
import type { Connection, Listener } from "./connection.ts";
import type { Inbox } from "./inbox.ts";
import { note } from "./notes.ts";
import { isHidden, Moment } from "./page.ts";
import type { Settings } from "./settings.ts";
import { unique } from "./unique.ts";
import type { State } from "./types.ts";
import type { Call } from "./wire.ts";

/** A leader that says nothing for so long, when asked, is passed over. */
const ANSWER_MS = 2500;
/** Followers ask so often whether there is still a leader, and a leader who is still there. */
const ROLL_MS = 45_000;

export interface Source {
  /** The channels that the application wants have changed. */
  wants(): void;
  moment(moment: Moment): void;
  close(): void;
  role(): Role;
}

/** Whose connection it is, where the tabs of a browser share one. */
export type Role = "alone" | "leader" | "follower";

/** `identity` says whose connection it is: null, and each tab has its own. `current` is what the tab shows now. */
export function openSource(
  settings: Settings,
  notes: string[],
  inbox: Inbox,
  identity: string | null,
  current: () => State,
  listener: Listener,
): Source {
  const locks = globalThis.navigator?.locks;
  const shared = identity !== null && locks && "BroadcastChannel" in globalThis;
  const name = `tidings 1 ${settings.url} ${identity}`;
  const me = unique();
  const heard = new Map<string, number>();
  let radio: BroadcastChannel | undefined;
  let connection: Connection | undefined;
  let leave = new AbortController();
  let heardAt = 0;
  let calledAt = 0;
  let patience: ReturnType<typeof setTimeout> | undefined;

  const call = (what: Omit<Call, "from">): void => radio?.postMessage({ from: me, ...what });

  function want(anew?: boolean): void {
    const cursor = inbox.stand;
    const wants = inbox.wants(anew);
    if (connection) connection.wants(me, wants, cursor);
    else call({ want: wants, cursor });
  }

  function lead(): void {
    connection = openConnection(
      settings,
      notes,
      (what) => {
        if (!connection) return;
        call(what);
        listener(what);
      },
      current(),
      inbox.stand,
      // In another tab somebody may be looking.
      () => isHidden() && !heard.size,
    );
    calledAt = Date.now();
    // Before all else that we say: they are to ask from their own cursors.
    call({ lead: true, anew: true });
    want(true);
  }

  function drop(): void {
    const last = connection;
    connection = undefined;
    last?.close();
  }

  function follow(steal?: boolean): void {
    const { signal } = leave;
    const hold = (): Promise<unknown> | undefined => {
      if (signal.aborted) return;
      lead();
      return new Promise((resolve) => signal.addEventListener("abort", resolve));
    };
    locks!.request(name, steal ? { steal } : { signal }, hold).catch(() => {
      if (signal.aborted) return;
      // In some frames the browser gives no locks.
      if (!connection) return lead();
      // Taken over by a tab that found us silent, while we were frozen perhaps.
      drop();
      follow();
    });
  }

  function ping(): void {
    const asked = Date.now();
    call({ ping: true });
    clearTimeout(patience);
    patience = setTimeout(() => {
      if (connection || heardAt >= asked || leave.signal.aborted) return;
      note(notes, "silent leader");
      follow(true);
    }, ANSWER_MS);
  }

  function take({ data }: MessageEvent<Call>): void {
    const { from, want: wants, item, state, lead: leads, anew, ping: asks } = data;
    if (connection) {
      if (data.leave) {
        heard.delete(from);
        connection.wants(from);
      } else if (wants || asks) {
        heard.set(from, Date.now());
        if (wants) connection.wants(from, wants, data.cursor);
        call({ state: current() });
        if (asks) connection.moment(Moment.Wake);
      }
      return;
    }
    if (item || state || leads) heardAt = Date.now();
    listener({ item, state });
    if (leads) want(anew);
  }

  function start(): void {
    if (!shared) return lead();
    leave = new AbortController();
    radio = new BroadcastChannel(name);
    radio.onmessage = take;
    follow();
    want(true);
    ping();
  }

  function stop(): void {
    clearTimeout(patience);
    call({ leave: true });
    leave.abort();
    drop();
    radio?.close();
    radio = undefined;
  }

  start();
  return {
    wants: want,
    role: () => (!shared ? "alone" : connection ? "leader" : "follower"),
    close: stop,
    moment(moment) {
      const now = Date.now();
      if (moment === Moment.Suspend) stop();
      else if (moment === Moment.Resume) connection ?? radio ?? start();
      else if (connection) {
        connection.moment(moment);
        if (now - calledAt > ROLL_MS) {
          // Tabs that have not answered several times are gone.
          for (const [tab, at] of heard) if (now - at > ROLL_MS * 4 && heard.delete(tab)) connection.wants(tab);
          calledAt = now;
          call({ lead: true });
        }
      } else if (moment === Moment.Wake || (!isHidden() && now - heardAt > ROLL_MS * 2)) ping();
    },
  };
}
