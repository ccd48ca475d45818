import { expect, it } from "vitest";
import { openInbox } from "../src/inbox.ts";
import type { Gap, Message, Start } from "../src/types.ts";
import type { Item } from "../src/wire.ts";

function seated(...channels: [string, Start?][]) {
  const inbox = openInbox();
  const told: unknown[] = [];
  for (const [name, start] of channels) {
    inbox.seats.set(name, { start, tell: (kind, what) => told.push(kind === "gap" ? what : (what as Message).id) });
  }
  inbox.wants();
  const message = (id: string, channel = "news", start?: Start): void => {
    inbox.take({ message: { id, channel, time: 0, data: null } as Message, start, cursor: start ? inbox.stand : id });
  };
  const gap = (reason: Gap["reason"], after: string, resumed: string, channel = "news"): Gap => {
    const made = { channel, after, resumed, reason };
    inbox.take({ gap: made, cursor: inbox.stand });
    return made;
  };
  return { inbox, told, message, gap };
}

it("whatever is told twice, in whatever overlap, is handed on once and in order", () => {
  // Two connections that overlap, as at a switch: each tells an unbroken part, and a seed draws how they interleave.
  for (let seed = 1; seed <= 200; seed++) {
    let state = seed * 2654435761;
    const draw = (below: number): number => ((state = (state * 1103515245 + 12345) >>> 0) >>> 8) % below;
    const { told, message } = seated(["news"]);
    const old = Array.from({ length: 10 }, (_, index) => index + 1);
    const from = 1 + draw(10);
    const fresh = Array.from({ length: 20 - from }, (_, index) => from + index);
    // The new one is ready, and only then is the old one closed.
    const overlap = draw(old.length + 1);
    old.slice(0, overlap).forEach((n) => message(`a-${n}`));
    const rest = old.slice(overlap);
    while (rest.length && fresh.length && fresh[0]! <= overlap + 1) message(`a-${(draw(2) ? rest : fresh).shift()}`);
    if (overlap + 1 >= from || !rest.length) fresh.forEach((n) => message(`a-${n}`));
    const numbers = told.map((id) => Number(String(id).slice(2)));
    expect(numbers).toEqual([...new Set(numbers)].sort((one, other) => one - other));
  }
});

it("one channel's rewind does not bring another channel's messages again", () => {
  const { told, message } = seated(["news"], ["chat", { rewind: 5 }]);
  message("a-7");
  message("a-3", "chat", { rewind: 5 });
  message("a-5", "news");
  message("a-6", "chat", { rewind: 5 });
  message("a-8");
  expect(told).toEqual(["a-7", "a-3", "a-6", "a-8"]);
});

it("a channel that was cut before it had begun goes on where it was", () => {
  const { inbox, message } = seated(["news", { rewind: 5 }]);
  message("a-3", "news", { rewind: 5 });
  // Who leads is at it; another would be asked for the rest.
  expect(inbox.wants()).toEqual({ news: { rewind: 5 } });
  expect(inbox.wants(true)).toEqual({ news: { after: "a-3" } });
  inbox.take({ began: { names: ["news"], at: "a-4" }, start: { rewind: 5 }, cursor: "a-4" });
  inbox.take({ began: { names: ["news"], at: "a-4" }, start: { after: "a-3" }, cursor: "a-4" });
  expect(inbox.wants()).toEqual({ news: undefined });
  expect(inbox.wants(true)).toEqual({ news: { after: "a-4" } });
});

it("a first channel's past is told before there is any cursor", () => {
  const { told, message } = seated(["news", { after: "earliest" }], ["chat", { rewind: 1 }]);
  for (const id of ["a-1", "a-2"]) message(id, "news", { after: "earliest" });
  expect(told).toEqual(["a-1", "a-2"]);
});

it("who comes beside others, and waits for its past, is not passed over by what they are told", () => {
  for (const start of [{ after: "a-5" }, { after: "earliest" }, { rewind: 6 }]) {
    const { inbox, told, message } = seated(["news", start]);
    inbox.wants(true);
    // Who leads has not heard of it yet.
    message("a-8");
    for (const id of ["a-6", "a-7", "a-8"]) message(id, "news", start);
    // The same is asked for by another tab, from elsewhere; and that answer is not ours.
    message("a-9", "news", { rewind: 1 });
    inbox.take({ began: { names: ["news"], at: "a-9" }, start: { rewind: 1 }, cursor: "a-8" });
    inbox.take({ began: { names: ["news"], at: "a-8" }, start, cursor: "a-8" });
    message("a-9");
    expect(told).toEqual(["a-6", "a-7", "a-8", "a-9"]);
  }
});

it("who asks for a past of which another tab was told a part already takes its own, from its start", () => {
  const first = seated(["news", { rewind: 9 }]);
  const second = seated(["news", { rewind: 9 }]);
  const tell = (item: Item): void => [first, second].forEach(({ inbox }) => inbox.take(item));
  const message = (id: string, start: Start): void => tell({ message: { id, channel: "news", time: 0, data: null }, start, cursor: null });
  first.message("a-1", "news", { rewind: 9 });
  first.inbox.take({ began: { names: ["news"], at: "a-1" }, start: { rewind: 9 }, next: { after: "a-1" }, cursor: null });
  // Here the second tab asks.
  message("a-2", { after: "a-1" });
  tell({ began: { names: ["news"], at: "a-2" }, start: { after: "a-1" }, cursor: null });
  message("a-1", { rewind: 9 });
  message("a-2", { rewind: 9 });
  tell({ began: { names: ["news"], at: "a-2" }, start: { rewind: 9 }, cursor: null });
  for (const { inbox, told } of [first, second]) {
    expect(told).toEqual(["a-1", "a-2"]);
    expect(inbox.wants()).toEqual({ news: undefined });
  }
});

it("who has begun is not passed over by what another tab begins with", () => {
  const { told, message } = seated(["news"]);
  message("a-5");
  message("a-9", "news", { rewind: 1 });
  message("a-7", "news", { after: "a-6" });
  // This follows all that it has had, as for a tab that was taken to be gone.
  message("a-6", "news", { after: "a-5" });
  message("a-7");
  message("a-9");
  expect(told).toEqual(["a-5", "a-6", "a-7", "a-9"]);
});

it("where each channel stood is not forgotten before a new leader says that it comes from there", () => {
  const { inbox, message } = seated(["news"], ["chat"]);
  message("a-5");
  for (const stand of [null, "a-20"]) {
    expect(inbox.wants(true)).toEqual({ news: { after: "a-5" }, chat: { after: "a-5" } });
    inbox.take({ message: { id: "a-9", channel: "else", time: 0, data: null }, cursor: stand });
  }
  inbox.take({ began: { names: ["news"], at: "a-21" }, start: { after: "a-5" }, cursor: "a-21" });
  expect(inbox.wants(true)).toEqual({ news: { after: "a-21" }, chat: { after: "a-5" } });
});

it("a channel that begins now is not told what is older", () => {
  const { inbox, told, message } = seated(["news", {}]);
  inbox.take({ began: { names: ["news"], at: "a-10" }, start: {}, cursor: "a-5" });
  message("a-8");
  message("a-11");
  expect(told).toEqual(["a-11"]);
});

it("a gap is told once, also when the stream was cut behind it", () => {
  for (const [reason, after, resumed, next] of [
    ["epoch", "a-9", "b-0", "b-1"],
    ["retention", "a-9", "a-40", "a-41"],
    ["ahead", "a-9", "a-4", "a-5"],
  ] as const) {
    const { told, message, gap } = seated(["news"]);
    message("a-9");
    const one = gap(reason, after, resumed);
    gap(reason, after, resumed);
    message(next);
    expect(told).toEqual(["a-9", one, next]);
  }
});

it("a gap that another tab fell into is not told to who has had what follows it", () => {
  const { told, message, gap } = seated(["news"]);
  message("b-50");
  gap("retention", "b-2", "b-40");
  gap("epoch", "a-2", "b-40");
  expect(told).toEqual(["b-50"]);
});

it("behind `ahead`, messages of the position that was lost are new", () => {
  const { told, message, gap } = seated(["news"]);
  message("a-900");
  const one = gap("ahead", "a-900", "a-12");
  message("a-13");
  expect(told).toEqual(["a-900", one, "a-13"]);
});

it("with partitions, what another connection tells again in another order is handed on once", () => {
  const { told, message } = seated(["news"], ["chat"]);
  message("a-0.1-3.0");
  message("a-0.1-3.1", "chat");
  // Another leader begins before both, and tells them the other way round.
  message("a-0.0-3.1", "chat");
  message("a-0.1-3.1");
  message("a-0.2-3.1");
  expect(told).toEqual(["a-0.1-3.0", "a-0.1-3.1", "a-0.2-3.1"]);
});

it("with partitions, a channel that waits for what it missed is not passed over by the others' messages", () => {
  const { inbox, told, message } = seated(["news"], ["chat"]);
  message("a-0.1-3.1");
  expect(inbox.wants(true)).toEqual({ news: { after: "a-0.1-3.1" }, chat: { after: "a-0.1-3.1" } });
  // The leader is further, and tells news at once what is new, and chat apart what it missed.
  const start = { after: "a-0.1-3.1" };
  inbox.take({ began: { names: ["news"], at: "a-0.5-3.4" }, start, cursor: "a-0.5-3.4" });
  inbox.take({ message: { id: "a-0.6-3.4", channel: "news", time: 0, data: null }, cursor: "a-0.6-3.4" });
  inbox.take({ message: { id: "a-3.2", channel: "chat", time: 0, data: null }, start, cursor: "a-0.6-3.4" });
  inbox.take({ began: { names: ["chat"], at: "a-3.4" }, start, cursor: "a-0.6-3.4" });
  message("a-0.6-3.5", "chat");
  message("a-0.6-3.4", "chat");
  expect(told).toEqual(["a-0.1-3.1", "a-0.6-3.4", "a-3.2", "a-0.6-3.5"]);
});
