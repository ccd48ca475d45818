// The vectors that the server's tests read, too.

import { readFileSync } from "node:fs";

export function vectors<T>(file: string): T {
  // In the repository; a copy elsewhere is told where they are.
  const folder = process.env["TIDINGS_VECTORS"] ?? new URL("../../spec/vectors", import.meta.url).pathname;
  return JSON.parse(readFileSync(`${folder}/${file}.json`, "utf8")) as T;
}
