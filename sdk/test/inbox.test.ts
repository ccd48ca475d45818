import { expect, it } from "vitest";
import { openInbox } from "../src/inbox.ts";
import type { Gap, Message, Start } from "../src/types.ts";

function seated(...channels: [string, Start?][]) {
  const inbox = openInbox();
  const told: unknown[] = [];
  for (const [name, start] of channels) {
    inbox.seats.set(name, { start, tell: (kind, what) => told.push(kind === "gap" ? what : (what as Message).id) });
  }
  const message = (id: string, channel = "news"): void => {
    inbox.take({ message: { id, channel, time: 0, data: null } as Message, cursor: id });
  };
  const gap = (reason: Gap["reason"], after: string, resumed: string, channel = "news"): Gap => {
    const made = { channel, after, resumed, reason };
    inbox.take({ gap: made, cursor: inbox.cursor });
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
  message("a-3", "chat");
  message("a-5", "news");
  message("a-6", "chat");
  message("a-8");
  expect(told).toEqual(["a-7", "a-3", "a-6", "a-8"]);
});

it("a channel that was cut before it had begun goes on where it was", () => {
  const { inbox, message } = seated(["news", { rewind: 5 }]);
  message("a-3");
  expect(inbox.wants()).toEqual({ news: { after: "a-3" } });
  inbox.take({ began: { names: ["news"], at: "a-4" }, cursor: "a-4" });
  expect(inbox.wants()).toEqual({ news: null });
  expect(inbox.wants(true)).toEqual({ news: { after: "a-4" } });
});

it("a channel that begins now is not told what is older", () => {
  const { inbox, told, message } = seated(["news", {}]);
  inbox.take({ began: { names: ["news"], at: "a-10" }, cursor: "a-5" });
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
