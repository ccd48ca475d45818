// A transport that asks again and again: each turn ends early when the line is renewed or closed.

import type { Line } from "./line.ts";

/** Take one turn after another until the line is closed. A turn may throw when it was ended early. */
export async function turns(line: Line, take: (signal: AbortSignal) => Promise<void>): Promise<void> {
  while (!line.signal.aborted) {
    const turn = new AbortController();
    const { signal } = turn;
    const end = (): void => turn.abort();
    line.renew = end;
    line.signal.addEventListener("abort", end, { signal });
    try {
      await take(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    end();
  }
}
