// The life of a connection: which transport is tried when, what a cut means, and when to come back.
//
// Owns: decisions. Does not own: sockets, timers, clocks and chance (connection.ts), messages and cursors (place.ts).
// Invariant: pure. A step takes a state, an event and the world as it is, and returns the next state and what is to be
// done, all as plain data. A connection that works is closed only when another is ready, when it is silent, or when
// nobody wants it.

import { backoff } from "./backoff.ts";
import { same } from "./same.ts";
import type { Problem, State, TransportName } from "./types.ts";
import type { Advice } from "./wire.ts";

/** Why an attempt or a connection ended: what a transport throws. */
export interface Cut {
  why: string;
  /** Coming back would be of no use. */
  final?: boolean;
  /** The token was refused. */
  unauthorized?: boolean;
  /** It is not this transport's fault: the others would not get through either. */
  unreachable?: boolean;
  /** Milliseconds that the server wants to be left alone. */
  hint?: number | undefined;
  problem?: Problem;
}

/** What happens. */
export const On = { Want: 0, Next: 1, Upgrade: 2, Grace: 3, Wake: 4, Opened: 5, Ready: 6, Heard: 7, Cut: 8, Token: 9, Advice: 10 } as const;
export type Event =
  /** Whether anybody wants a connection. */
  | readonly [on: typeof On.Want, is: boolean]
  /** The timers' own. */
  | readonly [on: typeof On.Next | typeof On.Upgrade | typeof On.Grace]
  /** What looks connected may be dead: the machine slept, the network changed, or it has been silent for long. */
  | readonly [on: typeof On.Wake]
  /** The head of an answer has come, but nothing that follows it; something follows; any sign of life. */
  | readonly [on: typeof On.Opened | typeof On.Ready | typeof On.Heard, id: number]
  | readonly [on: typeof On.Cut, id: number, cut: Cut]
  /** A token was fetched; with an error, it was not. */
  | readonly [on: typeof On.Token, error?: string]
  | readonly [on: typeof On.Advice, advice: Advice];

/** The timers there are; that of an attempt is its id, which is above them all. */
export const Timer = { Next: 0, Probe: 1, Upgrade: 2, Grace: 3 } as const;

/** What is to be done. */
export const Do = { Open: 0, Close: 1, Renew: 2, Remember: 3, Note: 4, Timer: 5, Refresh: 6, Show: 7 } as const;
export type Effect =
  | readonly [what: typeof Do.Open, id: number, transport: TransportName]
  | readonly [what: typeof Do.Close, id: number]
  /** Ask this connection for a sign of life. */
  | readonly [what: typeof Do.Renew, id: number]
  /** This transport got through. */
  | readonly [what: typeof Do.Remember, transport: TransportName]
  /** What happened, for people. */
  | readonly [what: typeof Do.Note, text: string]
  /** Run this timer anew, and tell the event when it is over; without one, stop it. */
  | readonly [what: typeof Do.Timer, timer: number, ms?: number, event?: Event]
  /** Fetch a fresh token, and tell the machine. */
  | readonly [what: typeof Do.Refresh]
  /** Always the last: who is shown a state may want something else at once. */
  | readonly [what: typeof Do.Show, state: State];

/** What the machine cannot know by itself. */
export interface World {
  /** Milliseconds. */
  clock: number;
  /** A random number from 0 to below 1. */
  chance: number;
  /** Whether nobody looks at the page, and whether the browser says that there is no network. */
  hidden: boolean;
  offline: boolean;
}

export interface Machine {
  /** The transports, the best first, and the index of the one to begin with. */
  readonly order: readonly TransportName[];
  at: number;
  /** What is shown. */
  shown: State;
  /** All connections, by their ids, and the one that is ready. */
  links: ReadonlyMap<number, TransportName>;
  live?: number | undefined;
  /** When it was ready; undefined: none ever was. */
  since?: number;
  lastId: number;
  wanted?: boolean;
  /** What went wrong last, and whether there is no coming back. */
  trouble: string;
  failed?: boolean;
  /** What is still to be tried before the next wait. */
  untried: readonly TransportName[];
  /** Failures in a row, and upgrades at all. */
  failures: number;
  upgrades: number;
  /** Milliseconds that the last connection lived. */
  age?: number;
  /** The server's word: come back within so many milliseconds. */
  within?: number | undefined;
  /** Since we were live no token was fetched; one is being fetched; one was. */
  fetch?: 0 | 1 | 2;
  /** The timer runs after which a trouble is shown. */
  grace?: boolean;
}

/** The next transport is started when this one has not been ready for so long. */
export const RACE_MS = 2500;
/** From the response's head to `ready`; later it is being buffered on the way. */
export const BUFFERED_MS = 3000;
export const ATTEMPT_MS = 10_000;
/** After a failure: some networks are slow. */
export const ATTEMPT_MOST_MS = 20_000;
export const PROBE_MS = 2500;
/** Nothing is said of a trouble that is over sooner. */
export const GRACE_MS = 5000;
/** A connection that was good for so long begins the backoff anew. */
export const STEADY_MS = 10_000;
export const TOO_LATE = "no answer";
/** Two lives in a row that differ by no more were ended by the same clock on the way. */
const SAME_AGE_MS = 1000;
/** Who lives longer than that can go on so. A long-poll that is cut may hang for less, down to so long. */
const AGE_MOST_MS = 60_000;
export const HOLD_LEAST_MS = 5000;
export const UPGRADE_MS = 30_000;
const UPGRADE_MOST_MS = 600_000;
/** Browsers may be wrong about being offline, so it is tried all the same, but rarely. */
export const OFFLINE_MS = 20_000;

/** Nothing has happened yet. */
export function begun(order: readonly TransportName[], at: number, shown: State): Machine {
  return { order, at, shown, links: new Map(), lastId: 100, trouble: "", untried: [], failures: 0, upgrades: 0 };
}

export function step(before: Machine, event: Event, { clock, chance, hidden, offline }: World): [Machine, Effect[]] {
  const lines = new Map(before.links);
  const machine: Machine = { ...before, links: lines };
  const { order, live } = machine;
  const effects: Effect[] = [];

  const effect = (...one: Effect): void => void effects.push(one);
  const timer = (which: number, ms: number, ...then: Event): void => effect(Do.Timer, which, ms, then);
  const stop = (...timers: number[]): void => timers.forEach((one) => effect(Do.Timer, one));

  function open(transport: TransportName): void {
    const id = ++machine.lastId;
    lines.set(id, transport);
    timer(id, machine.failures ? ATTEMPT_MOST_MS : ATTEMPT_MS, On.Cut, id, { why: TOO_LATE });
    effect(Do.Open, id, transport);
  }

  function close(id: number): void {
    lines.delete(id);
    stop(id);
    effect(Do.Close, id);
  }

  function closeAll(): void {
    for (const id of lines.keys()) close(id);
    machine.live = undefined;
    stop(Timer.Next, Timer.Probe, Timer.Upgrade);
  }

  /** Connect, where that is wanted and not under way. */
  function begin(): void {
    if (!machine.wanted) closeAll();
    else if (!machine.failed && machine.fetch !== 1 && !lines.size) {
      machine.untried = [...new Set([order[machine.at]!, ...order])];
      tryNext();
    }
  }

  /** Start the next transport that was not tried since the last wait; return whether there was one. */
  function tryNext(): boolean {
    const [next, ...rest] = machine.untried;
    if (!next) return false;
    machine.untried = rest;
    open(next);
    timer(Timer.Next, RACE_MS, On.Next);
    return true;
  }

  /** Wait, then begin anew. */
  function later(hint?: number): void {
    timer(Timer.Next, backoff(machine.failures++, chance, offline ? OFFLINE_MS : hint, hidden, machine.since, machine.within), On.Next);
    machine.within = undefined;
  }

  function scheduleUpgrade(): void {
    timer(Timer.Upgrade, Math.min(UPGRADE_MS * 2 ** machine.upgrades, UPGRADE_MOST_MS), On.Upgrade);
  }

  function cut(id: number, { why, final, unauthorized, unreachable, hint }: Cut): void {
    const transport = lines.get(id);
    if (!transport) return;
    const what = `${transport}: ${why}`;
    effect(Do.Note, what);
    close(id);
    // An upgrade in vain. What works stays.
    if (live && live !== id && !final) return scheduleUpgrade();
    machine.trouble = what;
    machine.live = undefined;
    if (final || (unauthorized && machine.fetch)) {
      closeAll();
      machine.failed = true;
    } else if (unauthorized) {
      closeAll();
      machine.fetch = 1;
      effect(Do.Refresh);
    } else {
      if (live) {
        const age = clock - machine.since!;
        if (Math.abs(age - machine.age!) < SAME_AGE_MS && age < (transport === "long-polling" ? HOLD_LEAST_MS : AGE_MOST_MS)) machine.at = (machine.at + 1) % order.length;
        machine.age = age;
      }
      // What is under way, as an upgrade, goes on.
      if ((live || unreachable || !tryNext()) && !lines.size) later(hint);
    }
  }

  function ready(id: number): void {
    const transport = lines.get(id);
    if (!transport || id === live) return;
    const rank = order.indexOf(transport);
    stop(id, Timer.Next);
    // One that is better, and still under way, may yet take over.
    for (const [one, other] of lines) if (one === live || (one !== id && order.indexOf(other) >= rank)) close(one);
    machine.at = rank;
    machine.live = id;
    machine.since = clock;
    machine.fetch = 0;
    machine.trouble = "";
    scheduleUpgrade();
    effect(Do.Remember, transport);
  }

  if (live && clock - machine.since! >= STEADY_MS) machine.failures = 0;
  switch (event[0]) {
    case On.Want:
      machine.wanted = event[1];
      begin();
      break;
    case On.Next:
      if (!lines.size) begin();
      else if (!live) tryNext();
      break;
    case On.Upgrade:
      // Where it is the best already, or has none to be better than, there is nothing to do.
      if (live && machine.at) {
        if (hidden || lines.size > 1) timer(Timer.Upgrade, UPGRADE_MS, On.Upgrade);
        else open(order[machine.upgrades++ % machine.at]!);
      }
      break;
    case On.Wake:
      machine.failures = 0;
      if (live) {
        timer(Timer.Probe, PROBE_MS, On.Cut, live, { why: "silent" });
        effect(Do.Renew, live);
      } else if (!offline) begin();
      break;
    case On.Opened:
      if (event[1] !== live) timer(event[1], BUFFERED_MS, On.Cut, event[1], { why: "buffered on the way" });
      break;
    case On.Ready:
      ready(event[1]);
      break;
    case On.Heard:
      if (event[1] === live) stop(Timer.Probe);
      return [machine, effects];
    case On.Cut:
      cut(event[1], event[2]);
      break;
    case On.Token:
      machine.fetch = 2;
      if (event[1]) {
        machine.trouble = event[1];
        later();
      } else begin();
      break;
    case On.Advice: {
      const { transport, reconnect_within_ms } = event[1];
      const index = order.indexOf(transport as TransportName);
      if (index >= 0) machine.at = index;
      machine.within = reconnect_within_ms ?? machine.within;
    }
  }

  // Bring what is shown up to date; of a trouble, only when it has lasted.
  const { shown, failed } = machine;
  const calm = failed ? "failed" : machine.live ? "live" : machine.wanted ? "" : "idle";
  if (!calm && event[0] !== On.Grace && shown.name !== "idle") {
    if (!machine.grace) timer(Timer.Grace, GRACE_MS, On.Grace);
    machine.grace = true;
  } else {
    stop(Timer.Grace);
    machine.grace = false;
    const next: State = {
      name: calm || (offline ? "offline" : machine.since ? "recovering" : "connecting"),
      reason: failed || !calm ? machine.trouble : "",
      transport: lines.get(machine.live!) ?? shown.transport,
    };
    if (!same(next, shown)) effect(Do.Show, (machine.shown = next));
  }
  return [machine, effects];
}
