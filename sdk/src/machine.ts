// The life of a connection: which transport is tried when, what a cut means, and when to come back.
//
// Owns: decisions. Does not own: sockets, clocks and chance (its world, connection.ts), messages and cursors (place.ts).
// Invariant: a connection that works is closed only when another is ready, when it is silent, or when nobody wants it.

import { backoff } from "./backoff.ts";
import { same } from "./same.ts";
import type { Problem, State, TransportName } from "./types.ts";
import type { Advice } from "./wire.ts";

/** Why an attempt or a connection ended. */
export interface Cut {
  reason: string;
  /** Coming back would be of no use. */
  final?: boolean;
  /** The token was refused. */
  auth?: boolean;
  /** It is not this transport's fault: the others would not get through either. */
  unreachable?: boolean;
  /** Milliseconds that the server wants to be left alone. */
  wait?: number | undefined;
  problem?: Problem;
}

/** The timers there are; that of an attempt is its id, which is above them all. */
export const Timer = { Race: 0, Retry: 1, Probe: 2, Steady: 3, Upgrade: 4, Grace: 5 } as const;

/** What the machine asks for, and what it does not know by itself. */
export interface World {
  /** Milliseconds. */
  now(): number;
  /** A random number from 0 to below 1. */
  chance(): number;
  /** Whether nobody looks at the page, and whether the browser says that there is no network. */
  hidden(): boolean;
  offline(): boolean;
  open(id: number, transport: TransportName): void;
  close(id: number): void;
  /** Ask this connection for a sign of life. */
  renew(id: number): void;
  /** It is the one from now on. */
  ready(transport: TransportName): void;
  /** What happened, for people. */
  note(text: string): void;
  /** Run this timer anew; without `then`, stop it. */
  timer(timer: number, ms?: number, then?: () => void): void;
  /** Fetch a fresh token, and tell the machine. */
  refresh(): void;
  show(state: State): void;
}

export interface Machine {
  /** The connection that is ready. */
  readonly live: Readonly<Live> | undefined;
  /** Whether anybody wants a connection. */
  want(is: boolean): void;
  /** What looks connected may be dead: the machine slept, the network changed, or it has been silent for long. */
  wake(): void;
  /** The head of an answer has come, but nothing that follows it; something follows; any sign of life. */
  opened(id: number): void;
  ready(id: number): void;
  heard(id: number): void;
  cut(id: number, why: Cut): void;
  /** A token was fetched; with an error, it was not. */
  token(error?: string): void;
  advice(advice: Advice): void;
}

interface Live {
  id: number;
  transport: TransportName;
  since: number;
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
export const STEADY_MS = 5000;
export const TOO_LATE = "no answer in time";
/** Short lives in a row after which another transport is tried. */
const STRIKES = 3;
export const UPGRADE_MS = 30_000;
const UPGRADE_MOST_MS = 600_000;
/** Browsers may be wrong about being offline, so it is tried all the same, but rarely. */
export const OFFLINE_MS = 20_000;

/** `order`: the transports, the best first; `at`: the index of the one to begin with; `shown`: what is shown now. */
export function openMachine(order: readonly TransportName[], at: number, shown: State, world: World): Machine {
  const { timer } = world;
  /** What is under way, and what is ready. */
  const attempts = new Map<number, TransportName>();
  let live: Live | undefined;
  let wasLive = false;
  let lastId = 100;
  let wanted = false;
  /** Why there is no coming back, and what went wrong last. */
  let failed = "";
  let reason = "";
  /** Transports tried since the last wait. */
  let tried: TransportName[] = [];
  /** In a row: failures, short lives on one transport, upgrades in vain. */
  let failures = 0;
  let strikes = 0;
  let upgrades = 0;
  /** The server's word: come back within so many milliseconds. */
  let within: number | undefined;
  /** A token is being fetched; one was, since we were live. */
  let refreshing = false;
  let refreshed = false;
  /** The timer runs after which a trouble is shown. */
  let grace = false;

  const stop = (...timers: number[]): void => timers.forEach((one) => timer(one));

  function open(transport: TransportName): void {
    const id = ++lastId;
    attempts.set(id, transport);
    timer(id, failures ? ATTEMPT_MOST_MS : ATTEMPT_MS, () => cut(id, { reason: TOO_LATE }));
    world.note("trying " + transport);
    world.open(id, transport);
  }

  function close(id: number): void {
    attempts.delete(id);
    timer(id);
    world.close(id);
  }

  function closeAll(): void {
    for (const id of attempts.keys()) close(id);
    if (live) close(live.id);
    live = undefined;
    stop(Timer.Race, Timer.Retry, Timer.Probe, Timer.Steady, Timer.Upgrade);
  }

  function fail(why: string): void {
    closeAll();
    failed = why;
  }

  /** Connect, where that is wanted and not under way. */
  function begin(): void {
    if (!wanted) closeAll();
    else if (!failed && !refreshing && !live && !attempts.size) {
      stop(Timer.Retry);
      tried = [];
      tryNext();
    }
    show();
  }

  /** Start the next transport that was not tried since the last wait; return whether there was one. */
  function tryNext(): boolean {
    const next = [order[at]!, ...order].find((one) => !tried.includes(one));
    if (!next) return false;
    tried.push(next);
    open(next);
    timer(Timer.Race, RACE_MS, () => live || tryNext());
    return true;
  }

  /** Wait, then begin anew. */
  function later(hint?: number): void {
    const chance = world.chance();
    const ms = backoff(failures++, chance, hint, world.hidden());
    timer(Timer.Retry, Math.max(within === undefined ? ms : within * chance, world.offline() ? OFFLINE_MS : 0), begin);
    within = undefined;
    stop(Timer.Race);
  }

  function scheduleUpgrade(): void {
    if (at) timer(Timer.Upgrade, Math.min(UPGRADE_MS * 2 ** upgrades, UPGRADE_MOST_MS), upgrade);
    else stop(Timer.Upgrade);
  }

  function upgrade(): void {
    if (world.hidden() || attempts.size) timer(Timer.Upgrade, UPGRADE_MS, upgrade);
    else open(order[upgrades % at]!);
  }

  function cut(id: number, why: Cut): void {
    const last = live?.id === id && live;
    const transport = last ? last.transport : attempts.get(id);
    if (!transport) return;
    const what = `${transport}: ${why.reason}`;
    world.note(what);
    close(id);
    if (why.final) fail(what);
    else if (live && !last) {
      // An upgrade in vain. What works stays.
      upgrades++;
      scheduleUpgrade();
    } else {
      reason = what;
      live = undefined;
      stop(Timer.Probe, Timer.Steady, Timer.Upgrade);
      if (why.auth) {
        if (refreshed) fail(reason);
        else {
          closeAll();
          refreshed = refreshing = true;
          world.refresh();
        }
      } else if (last) {
        if (world.now() - last.since >= STEADY_MS) strikes = 0;
        else if (++strikes >= STRIKES) {
          strikes = 0;
          at = (at + 1) % order.length;
        }
        // What is under way, as an upgrade, goes on.
        if (!attempts.size) later(why.wait);
      } else if ((why.unreachable || !tryNext()) && !attempts.size) later(why.wait);
    }
    show();
  }

  /** Bring what is shown up to date; of a trouble, only when it has lasted. */
  function show(now?: boolean): void {
    const trouble = wanted && !failed && !live;
    if (trouble && !now && shown.name !== "idle") {
      if (!grace) timer(Timer.Grace, GRACE_MS, () => show(true));
      grace = true;
      return;
    }
    stop(Timer.Grace);
    grace = false;
    const next: State = {
      name: failed ? "failed" : !trouble ? (live ? "live" : "idle") : world.offline() ? "offline" : wasLive ? "recovering" : "connecting",
      reason: failed || (trouble ? reason : ""),
      transport: live?.transport ?? shown.transport,
    };
    if (!same(next, shown)) world.show((shown = next));
  }

  return {
    get live() {
      return live;
    },
    want(is) {
      wanted = is;
      begin();
    },
    wake() {
      if (live) {
        const { id } = live;
        timer(Timer.Probe, PROBE_MS, () => {
          failures = 0;
          cut(id, { reason: "silent" });
        });
        world.renew(id);
      } else if (!world.offline()) {
        failures = 0;
        begin();
      }
      show();
    },
    opened(id) {
      if (attempts.has(id)) timer(id, BUFFERED_MS, () => cut(id, { reason: "buffered on the way" }));
    },
    ready(id) {
      const transport = attempts.get(id);
      if (!transport) return;
      const rank = order.indexOf(transport);
      attempts.delete(id);
      timer(id);
      stop(Timer.Race, Timer.Probe);
      if (live) close(live.id);
      // One that is better, and still under way, may yet take over.
      for (const [one, other] of attempts) if (order.indexOf(other) >= rank) close(one);
      if (at !== rank) strikes = upgrades = 0;
      at = rank;
      live = { id, transport, since: world.now() };
      wasLive = true;
      refreshed = false;
      reason = "";
      timer(Timer.Steady, STEADY_MS, () => {
        failures = strikes = 0;
      });
      scheduleUpgrade();
      world.note(transport + " is ready");
      world.ready(transport);
      show();
    },
    heard(id) {
      if (id === live?.id) stop(Timer.Probe);
    },
    cut,
    token(error) {
      refreshing = false;
      if (error) {
        reason = error;
        later();
        show();
      } else begin();
    },
    advice({ transport, reconnect_within_ms }) {
      const index = order.indexOf(transport as TransportName);
      if (index >= 0) at = index;
      within = reconnect_within_ms ?? within;
    },
  };
}
