import { describe, expect, it } from "vitest";
import { backoff } from "../src/backoff.ts";
import { ATTEMPT_MOST_MS, ATTEMPT_MS, begun, BUFFERED_MS, Do, GRACE_MS, OFFLINE_MS, On, PROBE_MS, RACE_MS, STEADY_MS, step, Timer, UPGRADE_MS } from "../src/machine.ts";
import type { Cut, Event, Machine } from "../src/machine.ts";
import type { State, TransportName } from "../src/types.ts";
import type { Advice } from "../src/wire.ts";

const ORDER = ["websocket", "sse", "long-polling", "polling"] as const;

/** Steps one after another: a state, and what its effects have come to. Time is a number, and a timer is an event to come. */
class Stage {
  machine: Machine;
  now = 1e6;
  chance = 0.5;
  hidden = false;
  noNetwork = false;
  shown: State = { name: "idle", reason: "" };
  open = new Map<number, TransportName>();
  timers = new Map<number, { at: number; event: Event }>();
  opened: TransportName[] = [];
  renewed: number[] = [];
  refreshes = 0;
  notes: string[] = [];

  constructor(order: readonly TransportName[] = ORDER, at = 0) {
    this.machine = begun(order, at, this.shown);
  }

  happen(...event: Event): this {
    const before = structuredClone(this.machine);
    const world = { clock: this.now, chance: this.chance, hidden: this.hidden, offline: this.noNetwork };
    const [machine, effects] = step(this.machine, event, world);
    expect(this.machine, "a step leaves what it was given as it is").toEqual(before);
    this.machine = machine;
    for (const effect of effects) {
      switch (effect[0]) {
        case Do.Open:
          this.open.set(effect[1], effect[2]);
          this.opened.push(effect[2]);
          break;
        case Do.Close:
          this.open.delete(effect[1]);
          break;
        case Do.Renew:
          this.renewed.push(effect[1]);
          break;
        case Do.Note:
          this.notes.push(effect[1]);
          break;
        case Do.Timer:
          if (effect[3]) this.timers.set(effect[1], { at: this.now + effect[2]!, event: effect[3] });
          else this.timers.delete(effect[1]);
          break;
        case Do.Refresh:
          this.refreshes++;
          break;
        case Do.Show:
          this.shown = effect[1];
          expect(effect, "what is shown is the last").toBe(effects.at(-1));
      }
    }
    return this;
  }

  start(): this {
    return this.want(true);
  }

  want(is: boolean): this {
    return this.happen(On.Want, is);
  }

  /** Both changes of the network are told as a wake. */
  offline(is: boolean): this {
    this.noNetwork = is;
    return this.wake();
  }

  wake(): this {
    return this.happen(On.Wake);
  }

  token(error?: string): this {
    return error ? this.happen(On.Token, error) : this.happen(On.Token);
  }

  advise(advice: Advice): this {
    return this.happen(On.Advice, advice);
  }

  id(transport: TransportName): number {
    const found = [...this.open].findLast(([, one]) => one === transport);
    if (!found) throw new Error(`${transport} is not under way`);
    return found[0];
  }

  head(transport: TransportName): this {
    return this.happen(On.Opened, this.id(transport));
  }

  ready(transport: TransportName): this {
    return this.happen(On.Ready, this.id(transport));
  }

  cut(transport: TransportName, cut: Partial<Cut> = {}): this {
    return this.happen(On.Cut, this.id(transport), { why: "cut", ...cut });
  }

  pass(ms: number): this {
    const end = this.now + ms;
    for (;;) {
      const [next] = [...this.timers].filter(([, { at }]) => at <= end).sort(([, one], [, other]) => one.at - other.at);
      if (!next) break;
      this.timers.delete(next[0]);
      this.now = Math.max(this.now, next[1].at);
      this.happen(...next[1].event);
    }
    this.now = end;
    return this;
  }

  get under(): TransportName[] {
    return [...this.open.values()];
  }

  get live(): TransportName | undefined {
    return this.machine.links.get(this.machine.live!);
  }

  /** Milliseconds until it comes back. */
  get retry(): number {
    return this.timers.get(Timer.Next)!.at - this.now;
  }
}

describe("beginning", () => {
  it("tries the best transport, and the next when it is not ready soon", () => {
    const stage = new Stage().start();
    expect(stage.under).toEqual(["websocket"]);
    stage.pass(RACE_MS - 1);
    expect(stage.under).toEqual(["websocket"]);
    stage.pass(1);
    expect(stage.under).toEqual(["websocket", "sse"]);
    stage.ready("sse");
    expect(stage.live).toBe("sse");
    expect(stage.under, "the better one may yet come").toEqual(["websocket", "sse"]);
    stage.ready("websocket");
    expect(stage.under).toEqual(["websocket"]);
  });

  it("goes on at once when a transport falls", () => {
    const stage = new Stage().start().cut("websocket").cut("sse");
    expect(stage.under).toEqual(["long-polling"]);
  });

  it("does not try the others where no transport would get through, and waits", () => {
    const stage = new Stage().start().cut("websocket").cut("sse", { unreachable: true });
    expect(stage.under).toEqual([]);
    expect(stage.timers.has(Timer.Next)).toBe(true);
    stage.pass(300);
    expect(stage.opened).toEqual(["websocket", "sse", "websocket"]);
  });

  it("takes a head without `ready` for buffering, and says so", () => {
    const stage = new Stage(["sse", "polling"]).start();
    stage.head("sse").pass(BUFFERED_MS);
    expect(stage.notes).toContain("sse: buffered on the way");
    expect(stage.under).toEqual(["polling"]);
  });

  it("gives up what hangs, though later each round: some networks are slow", () => {
    const stage = new Stage(["sse"]).start().pass(ATTEMPT_MS);
    expect(stage.under).toEqual([]);
    stage.pass(300);
    expect(stage.under).toEqual(["sse"]);
    stage.pass(ATTEMPT_MOST_MS - 1000);
    expect(stage.under).toEqual(["sse"]);
  });

  it("begins with the transport that worked last time, and goes round", () => {
    const stage = new Stage(ORDER, 2).start();
    expect(stage.under).toEqual(["long-polling"]);
    stage.cut("long-polling").cut("websocket").cut("sse");
    expect(stage.under).toEqual(["polling"]);
    stage.cut("polling");
    expect(stage.timers.has(Timer.Next)).toBe(true);
  });
});

describe("upgrading", () => {
  it("tries what is better again, ever more rarely, and keeps what works", () => {
    const stage = new Stage().start().cut("websocket").ready("sse");
    for (const wait of [UPGRADE_MS, 2 * UPGRADE_MS, 4 * UPGRADE_MS]) {
      stage.pass(wait - 1);
      expect(stage.under).toEqual(["sse"]);
      stage.pass(1);
      expect(stage.under).toEqual(["sse", "websocket"]);
      stage.cut("websocket");
      expect(stage.live).toBe("sse");
    }
  });

  it("closes the working one only when the better one is ready", () => {
    const stage = new Stage().start().cut("websocket").ready("sse").pass(UPGRADE_MS);
    expect(stage.under).toEqual(["sse", "websocket"]);
    stage.ready("websocket").pass(1e6);
    expect(stage.under).toEqual(["websocket"]);
  });

  it("goes on with an upgrade that is under way when the working one is cut", () => {
    const stage = new Stage().start().cut("websocket").ready("sse").pass(UPGRADE_MS).cut("sse");
    expect(stage.under).toEqual(["websocket"]);
    expect(stage.timers.has(Timer.Next)).toBe(false);
  });
});

describe("coming back", () => {
  const live = (): Stage => new Stage().start().ready("websocket").pass(STEADY_MS);

  it("waits a random part of a bound that doubles, to a cap", () => {
    const stage = live();
    stage.chance = 0.999;
    const waits: number[] = [];
    for (let times = 0; times < 9; times++) {
      const transport = stage.under[0]!;
      stage.cut(transport, { unreachable: true });
      const wait = stage.retry;
      waits.push(Math.round(wait));
      stage.pass(wait);
    }
    expect(waits).toEqual([999, 1998, 3996, 7992, 15984, 19980, 19980, 19980, 19980]);
  });

  it("a connection that held begins the backoff anew, one that did not does not", () => {
    const stage = live();
    stage.chance = 0.999;
    stage.cut("websocket").pass(1000).ready("websocket").cut("websocket");
    expect(stage.retry).toBeGreaterThan(1000);
    stage.pass(2000).ready("websocket").pass(STEADY_MS).cut("websocket");
    expect(stage.retry).toBeLessThan(1000);
  });

  it("waits for the server's hint first", () => {
    const stage = live().cut("websocket", { hint: 7000 });
    expect(stage.retry).toBeGreaterThanOrEqual(7000);
  });

  it("comes back at a random time within the server's window, once", () => {
    const stage = live().advise({ reconnect_within_ms: 8000 }).cut("websocket");
    expect(stage.retry).toBe(4000);
    stage.pass(4000).cut("websocket").cut("sse", { unreachable: true });
    expect(stage.retry, "the second of its own bounds, half of it").toBe(1000);
  });

  it("takes the transport that the server advises at the next connection", () => {
    const stage = live().advise({ transport: "polling" });
    expect(stage.under).toEqual(["websocket"]);
    stage.cut("websocket").pass(500);
    expect(stage.under).toEqual(["polling"]);
  });

  it("leaves a transport that lives twice as long as before: a clock on the way cuts it", () => {
    for (const age of [0, 5000, 15_000, 59_000]) {
      const stage = new Stage().start().ready("websocket").pass(age).cut("websocket").pass(1000);
      expect(stage.under, "once is chance").toEqual(["websocket"]);
      stage.ready("websocket").pass(age + 900).cut("websocket").pass(2000);
      expect(stage.under).toEqual(["sse"]);
    }
  });

  it("stays with one that lives for longer, or each time for another while", () => {
    for (const [one, other] of [
      [60_000, 60_000],
      [5000, 7000],
    ] as const) {
      const stage = new Stage().start().ready("websocket").pass(one).cut("websocket").pass(1000);
      stage.ready("websocket").pass(other).cut("websocket").pass(2000);
      expect(stage.under).toEqual(["websocket"]);
    }
  });

  it("stays with long-polling, which can hang for less, unless it is cut sooner than that", () => {
    for (const [age, then] of [
      [20_000, "long-polling"],
      [3000, "polling"],
    ] as const) {
      const stage = new Stage(["long-polling", "polling"]).start();
      stage.ready("long-polling").pass(age).cut("long-polling").pass(1000);
      stage.ready("long-polling").pass(age).cut("long-polling").pass(2000);
      expect(stage.under).toEqual([then]);
    }
  });

  it("tries what a clock cuts ever more rarely", () => {
    const stage = new Stage().start();
    for (let times = 0; times < 2; times++) stage.ready("websocket").pass(5000).cut("websocket").pass(2000);
    stage.ready("sse").pass(UPGRADE_MS).ready("websocket").pass(5000).cut("websocket").pass(500);
    expect(stage.under, "it is known how long it lives").toEqual(["sse"]);
    stage.ready("sse").pass(2 * UPGRADE_MS - 1);
    expect(stage.under).toEqual(["sse"]);
    stage.pass(1);
    expect(stage.under).toEqual(["sse", "websocket"]);
  });

  it("does not come back where it is of no use, and says why", () => {
    const stage = live().cut("websocket", { final: true, why: "403 denied" });
    expect(stage.shown).toMatchObject({ name: "failed", reason: "websocket: 403 denied" });
    stage.wake().want(true).offline(false).pass(1e6);
    expect(stage.under).toEqual([]);
  });
});

describe("tokens", () => {
  it("are refreshed once, and then it is tried again", () => {
    const stage = new Stage(["sse"]).start().cut("sse", { unauthorized: true });
    expect(stage.refreshes).toBe(1);
    expect(stage.under).toEqual([]);
    stage.wake();
    expect(stage.under, "not before the token is there").toEqual([]);
    stage.token();
    expect(stage.under).toEqual(["sse"]);
    stage.cut("sse", { unauthorized: true, why: "401 again" });
    expect(stage.shown).toMatchObject({ name: "failed", reason: "sse: 401 again" });
  });

  it("may be refreshed again after the connection was good", () => {
    const stage = new Stage(["sse"]).start().cut("sse", { unauthorized: true }).token().ready("sse");
    stage.cut("sse", { unauthorized: true });
    expect(stage.refreshes).toBe(2);
  });

  it("that cannot be fetched are fetched later", () => {
    const stage = new Stage(["sse"]).start().cut("sse", { unauthorized: true }).token("no");
    expect(stage.timers.has(Timer.Next)).toBe(true);
    expect(stage.shown.name).not.toBe("failed");
  });
});

describe("waking", () => {
  const live = (): Stage => new Stage().start().ready("websocket").pass(STEADY_MS);

  it("asks for a sign of life, and comes back at once where there is none", () => {
    const stage = live().wake();
    const id = stage.id("websocket");
    expect(stage.renewed).toEqual([id]);
    stage.pass(PROBE_MS - 1);
    expect(stage.under).toEqual(["websocket"]);
    stage.pass(1);
    expect(stage.open.has(id)).toBe(false);
    stage.pass(500);
    expect(stage.under).toEqual(["websocket"]);
  });

  it("keeps what gives one", () => {
    const stage = live().wake();
    const id = stage.id("websocket");
    stage.happen(On.Heard, id);
    stage.pass(60_000);
    expect(stage.open.has(id)).toBe(true);
  });

  it("does not wait any longer, where it was waiting", () => {
    const stage = live().cut("websocket", { hint: 60_000 }).wake();
    expect(stage.under).toEqual(["websocket"]);
  });

  it("offline it tries rarely, and online at once", () => {
    const stage = live().offline(true).pass(PROBE_MS);
    expect(stage.under).toEqual([]);
    stage.pass(OFFLINE_MS - 1);
    expect(stage.under).toEqual([]);
    stage.offline(false);
    expect(stage.under).toEqual(["websocket"]);
  });

  it("wanted by nobody, it holds nothing; wanted again, it goes on", () => {
    const stage = live().want(false);
    expect(stage.under).toEqual([]);
    expect(stage.shown.name).toBe("idle");
    stage.want(true);
    expect(stage.under).toEqual(["websocket"]);
  });
});

describe("what is shown", () => {
  it("a trouble, only when it has lasted", () => {
    const stage = new Stage().start();
    expect(stage.shown.name).toBe("connecting");
    stage.ready("websocket").pass(STEADY_MS);
    stage.cut("websocket", { unreachable: true, why: "gone" }).pass(GRACE_MS - 1);
    expect(stage.shown.name).toBe("live");
    stage.pass(1);
    expect(stage.shown).toEqual({ name: "recovering", reason: "websocket: gone", transport: "websocket" });
    stage.ready(stage.under[0]!);
    expect(stage.shown).toEqual({ name: "live", reason: "", transport: "websocket" });
  });

  it("nothing of a trouble that was over sooner", () => {
    const stage = new Stage().start().ready("websocket").pass(STEADY_MS).cut("websocket").pass(500);
    const { shown } = stage;
    stage.ready("websocket").pass(60_000);
    expect(stage.shown).toBe(shown);
  });
});

it("whatever happens, in whatever order, it holds no more than it needs and never gets stuck", () => {
  for (let seed = 1; seed <= 300; seed++) {
    let state = seed * 2654435761;
    const draw = (below: number): number => ((state = (state * 1103515245 + 12345) >>> 0) >>> 8) % below;
    const stage = new Stage(ORDER, draw(4)).start();
    let wanted = true;
    for (let turn = 0; turn < 60; turn++) {
      stage.chance = draw(1000) / 1000;
      const one = stage.under[draw(Math.max(1, stage.under.length))];
      switch (draw(12)) {
        case 0:
          stage.want((wanted = !wanted));
          break;
        case 1:
          stage.hidden = draw(2) === 0;
          break;
        case 2:
          stage.offline(draw(2) === 0);
          break;
        case 3:
          stage.wake();
          break;
        case 4:
        case 5:
        case 6:
          if (one) stage.ready(one);
          break;
        case 7:
        case 8:
          if (one) stage.cut(one, { unreachable: draw(2) === 0, ...(draw(3) ? {} : { hint: draw(5000) }) });
          break;
        case 9:
          if (one) stage.head(one);
          break;
        default:
          stage.pass(draw(20_000));
      }
      const { live, links } = stage.machine;
      if (live) expect(links.has(live), `seed ${seed}: what is ready is open`).toBe(true);
      expect(stage.open).toEqual(links);
      expect(stage.open.size).toBeLessThanOrEqual(ORDER.length + 1);
      if (!wanted) expect(stage.open.size).toBe(0);
    }
    // And where nothing is in the way, it gets through.
    if (!wanted) stage.want(true);
    stage.offline(false);
    for (let seconds = 0; !stage.under.length; seconds++) {
      expect(seconds, `seed ${seed}: it waits for ever`).toBeLessThan(61);
      stage.pass(1000);
    }
    if (!stage.live) stage.ready(stage.under[0]!);
    expect(stage.shown.name).toBe("live");
  }
});

it("the backoff is random between 0 and its bound, and longer where nobody looks", () => {
  expect(backoff(0, 0)).toBe(0);
  expect(backoff(3, 0.5)).toBe(1200);
  expect(backoff(1000, 1)).toBe(20_000);
  expect(backoff(1000, 1, 0, true)).toBe(60_000);
  expect(backoff(0, 0.5, 0, false, 1), "behind a connection that worked").toBe(500);
  expect(backoff(5, 0.5, 100, false, 1, 8000), "the server's own bound").toBe(4100);
  expect(backoff(0, 0, 1e9)).toBe(300_000);
});
