// One connection to the server, over whichever transport gets through: it runs the machine's effects.
//
// Owns: sockets, timers and chance, and whose channels are wanted. Does not own: decisions (machine.ts), the cursor's
// rules (place.ts), what an application has had (inbox.ts).
// Invariant: items are told in the order in which they came, each with the cursor behind it.

import { further, had } from "./cursor.ts";
import { begun, Do, On, step } from "./machine.ts";
import type { Cut, Effect, Event } from "./machine.ts";
import { note } from "./notes.ts";
import { Moment } from "./page.ts";
import { NOW, openPlace } from "./place.ts";
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
  wants(who: string, wants?: Wants, cursor?: string | null): void;
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
  notes: string[],
  listener: Listener,
  state: State,
  cursor: string | null,
  hidden: () => boolean,
): Connection {
  const place = openPlace(cursor);
  const { starts } = place;
  const wanted = new Map<string, Wants>();
  const lines = new Map<number, Line>();
  const timers: Record<number, ReturnType<typeof setTimeout>> = {};
  let heardAt = 0;
  let advised = POLL_MS;
  let renewing = false;

  let machine = begun(transports, Math.max(0, transports.indexOf(remembered(url) as TransportName)), state);

  function run(effect: Effect): void {
    switch (effect[0]) {
      case Do.Open:
        return open(effect[1], effect[2]);
      case Do.Close:
        lines.get(effect[1])?.close();
        lines.delete(effect[1]);
        return;
      case Do.Renew:
        return lines.get(effect[1])?.renew?.();
      case Do.Remember:
        note(notes, effect[1] + " is ready");
        return remember(url, effect[1]);
      case Do.Note:
        return note(notes, effect[1]);
      case Do.Timer:
        clearTimeout(timers[effect[1]]);
        if (effect[3]) timers[effect[1]] = setTimeout(happened, effect[2], ...effect[3]);
        return;
      case Do.Refresh:
        return void tokens.refresh().then(
          () => happened(On.Token),
          (error: unknown) => happened(On.Token, "no token: " + error),
        );
      case Do.Show:
        listener({ state: effect[1] });
    }
  }

  /** Tell the machine what happens, and do what it says. */
  function happened(...event: Event): void {
    const world = { clock: Date.now(), chance: Math.random(), hidden: hidden(), offline: globalThis.navigator?.onLine === false };
    const [next, effects] = step(machine, event, world);
    machine = next;
    effects.forEach(run);
  }

  function open(id: number, transport: TransportName): void {
    const controller = new AbortController();
    const { signal } = controller;
    note(notes, "trying " + transport);
    const line: Line = {
      place,
      signal,
      close: () => controller.abort(),
      events,
      url(names, parameters) {
        const given = Object.entries(parameters).filter(([, value]) => value != null) as [string, string][];
        return url + "channels" + (names[0] ? "/" + names : "") + "?" + new URLSearchParams(given);
      },
      token: tokens.get,
      opened: () => happened(On.Opened, id),
      heard() {
        heardAt = Date.now();
        happened(On.Heard, id);
      },
      tell(frame, aside) {
        if (signal.aborted) return;
        line.heard();
        const { message, gap, advice, at } = frame;
        if (!aside) {
          // Two connections at a switch tell the same, and with partitions each in an order of its own.
          if (place.take(frame)) return;
          if (machine.live !== id) happened(On.Ready, id);
        }
        if (advice) {
          advised = advice.poll_ms ?? advised;
          happened(On.Advice, advice);
        }
        if (message || gap || at) tell({ message, gap, start: aside });
      },
      answered(group, at, more) {
        // Who asks for the same from now on is to be told what was told of it already.
        const next = more ? { after: at } : undefined;
        const start = place.answered(group, next);
        // Another node may have answered, that has not come so far.
        if (!next) place.stand = further(place.stand, at, true);
        if (start) tell({ began: { names: group.names, at }, start, next });
      },
      advised: () => advised,
    };
    place.move(place.stand);
    lines.set(id, line);
    TRANSPORTS[transport](line).catch((error: unknown) => {
      if (!signal.aborted) happened(On.Cut, id, (error as Cut).why ? (error as Cut) : { why: String(error) });
    });
  }

  function tell(item: Omit<Item, "cursor">): void {
    listener({ item: { ...item, cursor: place.stand } });
  }

  /** A channel is wanted from `start` on; return whether that changes what is to be asked for. */
  function add(name: string, start: Start | undefined, after: string | null): boolean {
    const known = starts.get(name);
    const waiting = known ?? [];
    const here = place.stand;
    if (!known) {
      // Who has begun goes on behind its own cursor.
      start ??= after ? { after } : {};
      starts.set(name, waiting);
    }
    if (!start || waiting.some((one) => same(one, start))) return false;
    const isHere = known ? !waiting[0] && (same(start, NOW) || had(start.after, here!)) : start.after === here;
    if (isHere) tell({ began: { names: [name], at: here! }, start });
    else waiting.push(start);
    return !known || !isHere;
  }

  return {
    wants(who, wants, after = null) {
      let changed = false;
      if (wants) wanted.set(who, wants);
      else wanted.delete(who);
      for (const name of starts.keys()) {
        if (![...wanted.values()].some((one) => name in one)) changed = starts.delete(name);
      }
      for (const name in wants) changed = add(name, wants[name], after) || changed;
      if (!changed) return;
      const is = starts.size > 0;
      if (is !== machine.wanted) return happened(On.Want, is);
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
      const transport = machine.links.get(live!) ?? "polling";
      const streams = !transport.endsWith("polling");
      if (moment === Moment.Wake || (streams && quiet > SILENT_MS)) happened(On.Wake);
      else if (quiet > QUIET_MS && transport === "websocket") lines.get(live!)?.renew?.();
    },
    close: () => happened(On.Want, false),
  };
}
