import { describe, expect, it } from "vitest";
import { openEventStream } from "../src/event_stream.ts";
import { vectors } from "./vectors.ts";

interface Case {
  name: string;
  input: { text?: string; hex?: string; cuts: number[] | "every" };
  expected: { event: string; data: string; id: string; retry_ms: number | null }[];
}

const { parse } = vectors<{ parse: Case[] }>("event_stream");

function read(bytes: Uint8Array, cuts: number[]) {
  const events: { event: string; data: string; id: string }[] = [];
  let retry: number | undefined;
  const feed = openEventStream((event, data, id) => {
    if (event) events.push({ event, data, id });
    else retry = Number(data);
  });
  for (const [index, from] of [0, ...cuts].entries()) feed(bytes.slice(from, cuts[index] ?? bytes.length));
  return { events, retry };
}

function ways(bytes: Uint8Array, cuts: number[] | "every"): number[][] {
  if (cuts !== "every") return [cuts];
  const places = Array.from({ length: Math.max(0, bytes.length - 1) }, (_, index) => index + 1);
  return [[], places, ...places.map((place) => [place])];
}

describe("an event stream is read alike, wherever its bytes are cut", () => {
  it.each(parse.map((one) => [one.name, one] as const))("%s", (_name, { input, expected }) => {
    const bytes = input.hex !== undefined ? Uint8Array.from(Buffer.from(input.hex, "hex")) : new TextEncoder().encode(input.text);
    for (const cuts of ways(bytes, input.cuts)) {
      const { events, retry } = read(bytes, cuts);
      // A `retry` alone is no event here: it is noted.
      expect(events).toEqual(expected.filter((one) => one.event !== "retry").map(({ event, data, id }) => ({ event, data, id })));
      expect(retry).toBe(expected.map((one) => one.retry_ms).findLast((one) => one !== null));
    }
  });
});

it("a line without an end is given up, instead of filling the memory", () => {
  const feed = openEventStream(() => {});
  const piece = new TextEncoder().encode("x".repeat(1024 * 1024));
  expect(() => {
    for (let times = 0; times < 10; times++) feed(piece);
  }).toThrow();
});
