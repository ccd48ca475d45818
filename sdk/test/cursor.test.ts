import { expect, it } from "vitest";
import { earlier, had, read } from "../src/cursor.ts";
import { vectors } from "./vectors.ts";

interface Cursors {
  read: { name: string; input: string; expected: { epoch: string; position: string } | null }[];
  had: { name: string; input: { cursor: string; id: string }; expected: boolean }[];
}
const cursors = vectors<Cursors>("cursors");

it.each(cursors.read.map((one) => [one.name, one] as const))("read: %s", (_name, { input, expected }) => {
  expect(read(input)).toEqual(expected && [expected.epoch, expected.position]);
});

it.each(cursors.had.map((one) => [one.name, one] as const))("had: %s", (_name, { input, expected }) => {
  expect(had(input.cursor, input.id)).toBe(expected);
});

it("the earlier of two is by number, and of two lives the first", () => {
  expect(earlier(null, "a-5")).toBe("a-5");
  expect(earlier("a-10", "a-9")).toBe("a-9");
  expect(earlier("a-9", "a-10")).toBe("a-9");
  expect(earlier("a-9", "b-1")).toBe("a-9");
});
