import { describe, expect, it } from "vitest";
import { openPlace } from "../src/place.ts";
import type { Place } from "../src/place.ts";
import type { Gap, Message, Start } from "../src/types.ts";
import { vectors } from "./vectors.ts";

const { follow } = vectors<{ follow: { name: string; input: { cursor: string; gaps: Gap[] }; expected: string }[] }>("gaps");
const message = (id: string, channel = "news"): Message => ({ id, channel, time: 0, data: null });

function at(cursor: string | null, channels: Record<string, Start[]> = {}): Place {
  const place = openPlace(cursor);
  for (const name in channels) place.starts.set(name, channels[name]!);
  return place;
}

describe("the cursor behind gaps", () => {
  it.each(follow.map((one) => [one.name, one] as const))("%s", (_name, { input, expected }) => {
    // An answer's cursor, or the id of the last gap on an event stream, ends the group; so does a message.
    for (const end of ["at", "message"] as const) {
      const place = at(input.cursor);
      for (const gap of input.gaps) place.take({ gap });
      expect(place.stand, "a stream cut among gaps asks again with the old cursor").toBe(input.cursor);
      if (end === "at") place.take({ at: expected });
      else place.take({ message: message("8aaa-1") });
      expect(place.stand === expected || end === "message").toBe(true);
    }
  });

  it("a stream cut among its gaps begins again before the first", () => {
    const place = at("8aaa-7");
    place.take({ gap: follow[1]!.input.gaps[0]! });
    place.move(place.stand);
    place.take({ message: message("8aaa-8") });
    expect(place.stand).toBe("8aaa-8");
  });
});

describe("the cursor", () => {
  it("follows messages, and an answer only forwards", () => {
    const place = at(null);
    place.take({ ready: { cursor: "a-5" } });
    expect(place.stand).toBe("a-5");
    place.take({ ready: { cursor: "a-9" } });
    expect(place.stand).toBe("a-5");
    place.take({ message: message("a-12") });
    place.take({ message: message("a-11") });
    place.take({ at: "a-10" });
    expect(place.stand).toBe("a-12");
    place.take({ at: "b-1" });
    expect(place.stand).toBe("b-1");
  });
});

describe("what is asked for", () => {
  it("at first all channels that begin now go into one request, and nothing else is asked", () => {
    const place = at(null, { a: [{}], b: [{}] });
    expect(place.asking().names).toEqual(["a", "b"]);
    expect(place.apart()).toBeUndefined();
  });

  it("with a cursor, a channel that begins now is asked for apart: the cursor would bring what is older", () => {
    const place = at("a-5", { a: [], b: [{}], c: [{}] });
    expect(place.asking().names).toEqual(["a"]);
    expect(place.apart()?.names).toEqual(["b", "c"]);
  });

  it("a rewind is each channel's own, and the same cursor is one request", () => {
    const place = at("a-5", { a: [{ rewind: 5 }], b: [{ rewind: 5 }], c: [{ after: "a-1" }], d: [{ after: "a-1" }] });
    const groups = [];
    for (let group; (group = place.apart()); place.answered(group)) groups.push(group.names);
    expect(groups).toEqual([["a"], ["b"], ["c", "d"]]);
    expect(place.asking().names).toEqual(["a", "b", "c", "d"]);
  });

  it("a start that was answered is not asked again, and one that came meanwhile is", () => {
    const place = at("a-5", { a: [{ rewind: 1 }] });
    const group = place.apart()!;
    place.starts.get("a")!.push({ rewind: 2 });
    expect(place.answered(group)).toEqual({ rewind: 1 });
    expect(place.answered(group)).toBeUndefined();
    expect(place.apart()?.starts).toEqual([{ rewind: 2 }]);
  });

  it("a start of which there is more goes on behind what was told, and the same start again is another", () => {
    const place = at("a-9", { a: [{ after: "a-1" }], b: [{ after: "a-1" }] });
    expect(place.answered(place.apart()!, { after: "a-5" })).toEqual({ after: "a-1" });
    place.starts.get("a")!.push({ after: "a-1" });
    const asked = [];
    for (let group; (group = place.apart()); place.answered(group)) asked.push([group.names, group.starts[0]]);
    expect(asked).toEqual([
      [["a", "b"], { after: "a-5" }],
      [["a"], { after: "a-1" }],
    ]);
  });
});
