import { describe, expect, it } from "vitest";
import { further, had, read } from "../src/cursor.ts";
import { openPlace } from "../src/place.ts";
import type { Message } from "../src/types.ts";
import { vectors } from "./vectors.ts";

interface Vector<Input, Expected> {
  name: string;
  input: Input;
  expected: Expected;
}
type Both = { cursor: string; id: string };
interface Cursors {
  read: Vector<string, { epoch: string; position: string } | null>[];
  partitions: Vector<string, { epoch: string; positions: Record<string, string> } | null>[];
  had: Vector<Both, boolean>[];
  take: Vector<Both, string>[];
  told: Vector<{ cursor: string; messages: { name: string; id: string }[] }, { taken: string[]; cursor: string }>[];
}
const cursors = vectors<Cursors>("cursors");
const named = <T extends { name: string }>(some: T[]): [string, T][] => some.map((one) => [one.name, one]);

it.each(named(cursors.read))("read: %s", (_name, { input, expected }) => {
  expect(read(input)).toEqual(expected ? [expected.epoch, { "": BigInt(expected.position) }] : []);
});

it.each(named(cursors.partitions))("read, of a log with partitions: %s", (_name, { input, expected }) => {
  const [epoch, positions = {}] = read(input);
  const texts = Object.fromEntries(Object.entries(positions).map(([partition, position]) => [partition, String(position)]));
  expect(epoch && { epoch, positions: texts }).toEqual(expected ?? undefined);
});

it.each(named(cursors.had))("had: %s", (_name, { input, expected }) => {
  expect(had(input.cursor, input.id)).toBe(expected);
});

it.each(named(cursors.take))("taking: %s", (_name, { input, expected }) => {
  expect(further(input.cursor, input.id)).toBe(expected);
});

it.each(named(cursors.told))("told: %s", (_name, { input, expected }) => {
  const place = openPlace(input.cursor);
  const taken = input.messages.filter(({ id }) => !place.take({ message: { id } as Message }));
  expect(taken.map(({ name }) => name)).toEqual(expected.taken);
  expect(place.stand).toBe(expected.cursor);
});

describe("whatever is told again, in whatever interleaving", () => {
  it("is taken exactly once", () => {
    for (let seed = 1; seed <= 300; seed++) {
      let state = seed * 2654435761;
      const draw = (below: number): number => ((state = (state * 1103515245 + 12345) >>> 0) >>> 8) % below;
      const most = [3 + draw(6), 3 + draw(6), 3 + draw(6)];
      const place = openPlace("e-0.0-1.0-4.0");
      const got: string[] = [];
      for (let cut = 0; got.length < most[0]! + most[1]! + most[2]!; cut++) {
        expect(cut, `seed ${seed}`).toBeLessThan(1000);
        // What was sent is sent from the cursor, or from one before it: an answer was lost, or two connections overlap.
        const at = (place.stand!.match(/\d+(?=-|$)/g) ?? []).map((position) => draw(2) ? Number(position) : draw(Number(position) + 1));
        for (let left = draw(12); left; left--) {
          const which = draw(3);
          if (at[which]! >= most[which]!) continue;
          at[which]!++;
          const id = `e-0.${at[0]}-1.${at[1]}-4.${at[2]}`;
          if (!place.take({ message: { id } as Message })) got.push(`${which}:${at[which]}`);
        }
      }
      expect(new Set(got).size, `seed ${seed}`).toBe(got.length);
      for (const which of [0, 1, 2]) {
        const numbers = got.filter((one) => one.startsWith(`${which}:`)).map((one) => Number(one.slice(2)));
        expect(numbers, `seed ${seed}`).toEqual(numbers.map((_, index) => index + 1));
      }
    }
  });
});

it("the lower of two is by number, in each partition; of two lives it is the first", () => {
  expect(further(null, "a-5", true)).toBe("a-5");
  expect(further("a-10", "a-9", true)).toBe("a-9");
  expect(further("a-9", "a-10", true)).toBe("a-9");
  expect(further("a-9", "b-1", true)).toBe("a-9");
  expect(further("a-0.7-1.9", "a-0.5", true)).toBe("a-0.5-1.9");
  expect(further("a-0.5-1.9", "a-0.7-1.8-2.3", true)).toBe("a-0.5-1.8-2.3");
});
