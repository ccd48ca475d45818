// One connection to the server, over whichever transport gets through: it runs the machine's effects.
//
// Owns: sockets, timers and chance, and whose channels are wanted. Does not own: decisions (machine.ts), the cursor's
// rules (place.ts), what an application has had (inbox.ts).
// Invariant: items are told in the order in which they came, each with the cursor behind it.

import { had } from "./cursor.ts";
import { CutError } from "./http.ts";
import { openMachine } from "./machine.ts";
import type { Notes } from "./notes.ts";
import { Moment } from "./page.ts";
import { NOW, Place } from "./place.ts";
import { same } from "./same.ts";
import type { Settings } from "./settings.ts";
import { remember, remembered } from "./storage.ts";
import { eventSource } from "./transports/event_source.ts";
import type { Line, Transport } from "./transports/line.ts";
import { longPolling, polling } from "./transports/polling.ts";
import { sse } from "./transports/sse.ts";
import { webSocket } from "./transports/websocket.ts";
import type { Start, State, TransportName } from "./types.ts";
import type { Item, Wants } from "./wire.ts";

const TRANSPORTS: Record<TransportName, Transport> = {
  websocket: webSocket,
  sse,
  eventsource: eventSource,
  "long-polling": longPolling,
  polling,
};
const POLL_MS = 1000;
/** Heard nothing for so long: ask for a sign of life where that is cheap, and then anywhere (spec §5.4). */
const QUIET_MS = 20_000;
const SILENT_MS = 40_000;

export type Listener = (what: { item?: Item | undefined; state?: State | undefined }) => void;

export interface Connection {
  /** A tab wants these channels, and no others; `cursor`: it has had all up to there. None: it is gone. */
  want(who: string, wants?: Wants, cursor?: string | null): void;
  /** Something happened to the page. */
  moment(moment: Moment): void;
  /** Says nothing more. */
  close(): void;
}

/**
 * `state` and `cursor` are where another connection, of another tab perhaps, left off; `hidden`: whether nobody looks at
 * any of the pages.
 */
export function openConnection(
  { url, transports, tokens, events }: Settings,
  notes: Notes,
  listener: Listener,
  state: State,
  cursor: string | null,
  hidden: () => boolean,
): Connection {
  const place = new Place();
  const { starts } = place;
  const wanted = new Map<string, Wants>();
  const lines = new Map<number, Line>();
  const timers = new Map<number, ReturnType<typeof setTimeout>>();
  let heardAt = 0;
  let advised = POLL_MS;
  let renewing = false;
  let isWanted = false;
  place.cursor = cursor;

  const renew = (id: number): void => lines.get(id)?.renew?.();
  const machine = openMachine(transports, Math.max(0, transports.indexOf(remembered(url) as TransportName)), state, {
    now: Date.now,
    chance: Math.random,
    hidden,
    offline: () => globalThis.navigator?.onLine === false,
    open,
    close(id) {
      lines.get(id)?.close();
      lines.delete(id);
    },
    renew,
    ready: (transport) => remember(url, transport),
    note: notes.add,
    timer(timer, ms, then) {
      clearTimeout(timers.get(timer));
      if (then) timers.set(timer, setTimeout(then, ms));
    },
    refresh: () =>
      void tokens.refresh().then(
        () => machine.token(),
        (error: unknown) => machine.token("no token: " + error),
      ),
    show: (state) => listener({ state }),
  });

  function open(id: number, transport: TransportName): void {
    const controller = new AbortController();
    const { signal } = controller;
    const line: Line = {
      place,
      signal,
      close: () => controller.abort(),
      events,
      url(names, parameters) {
        const given = Object.entries(parameters).filter(([, value]) => value != null) as [string, string][];
        return url + ["channels", ...(names[0] ? [names] : [])].join("/") + "?" + new URLSearchParams(given);
      },
      token: tokens.get,
      opened: () => machine.opened(id),
      heard() {
        heardAt = Date.now();
        machine.heard(id);
      },
      tell(frame, aside) {
        if (signal.aborted) return;
        const { message, gap, advice, at } = frame;
        if (!aside) {
          place.take(frame);
          if (machine.live?.id !== id) machine.ready(id);
        }
        line.heard();
        if (advice) {
          advised = advice.poll_ms ?? advised;
          machine.advice(advice);
        }
        if (message || gap || at) tell({ message, gap });
      },
      began(group, at) {
        const some = place.began(group);
        place.cursor ??= at;
        if (some) tell({ began: { names: group.names, at } });
      },
      advised: () => advised,
    };
    place.move(place.cursor);
    lines.set(id, line);
    TRANSPORTS[transport](line).catch((error: unknown) => {
      if (!signal.aborted) machine.cut(id, error instanceof CutError ? error.cut : { reason: String(error) });
    });
  }

  function tell(item: Omit<Item, "cursor">): void {
    listener({ item: { ...item, cursor: place.cursor } });
  }

  /** A channel is wanted from `start` on; return whether that changes what is to be asked for. */
  function add(name: string, start: Start | null, after: string | null): boolean {
    const waiting = starts.get(name);
    const here = place.cursor;
    if (!waiting) {
      // Who has begun goes on behind its own cursor.
      start ??= after ? { after } : {};
      starts.set(name, start.after === here ? [] : [start]);
      return true;
    }
    if (!start || waiting.some((one) => same(one, start))) return false;
    if (!waiting.length && (same(start, NOW) || had(start.after, here!))) {
      tell({ began: { names: [name], at: here! } });
      return false;
    }
    waiting.push(start);
    return true;
  }

  return {
    want(who, wants, after = null) {
      let changed = false;
      if (wants) wanted.set(who, wants);
      else wanted.delete(who);
      for (const name of starts.keys()) {
        if (![...wanted.values()].some((one) => name in one)) changed = starts.delete(name);
      }
      for (const name in wants) changed = add(name, wants[name]!, after) || changed;
      if (!changed) return;
      const is = starts.size > 0;
      if (is !== isWanted) return machine.want((isWanted = is));
      // Channels that come one after another become one request.
      if (renewing) return;
      renewing = true;
      queueMicrotask(() => {
        renewing = false;
        for (const { renew } of lines.values()) renew?.();
      });
    },
    moment(moment) {
      const quiet = Date.now() - heardAt;
      const { live } = machine;
      const streams = live && !live.transport.endsWith("polling");
      if (moment === Moment.Wake || (streams && quiet > SILENT_MS)) machine.wake();
      else if (quiet > QUIET_MS && live?.transport === "websocket") renew(live.id);
    },
    close: () => machine.want(false),
  };
}
