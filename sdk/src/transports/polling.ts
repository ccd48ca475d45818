// Polling and long-polling: ask, and ask again.
//
// They differ only in where the waiting is: with polling here, between the answers; with long-polling at the server,
// which holds its answer until there is one.

import { listen } from "./answers.ts";
import type { Line, Transport } from "./line.ts";
import { turns } from "./turn.ts";

/** Seconds that an answer may hang: below what proxies on the way put up with. */
const HOLD = 25;
const HOLD_LEAST = 5;
/** And below what something on this way puts up with; the last question that was cut had waited for `cutAt` seconds. */
let hold = HOLD;
let cutAt = 0;
/** Two cuts at ages that differ by no more were made by the same clock. */
const SAME_AGE = 1;

export const polling: Transport = (line) =>
  turns(line, async (signal) => {
    if (!(await listen(line, signal))) await pause(line.advised(), signal);
  });

export function longPolling(line: Line): Promise<void> {
  // The first ask does not hang: it tells where we stand, and that the way is open. So does one for a sign of life.
  let next = 0;
  return turns(line, async (signal) => {
    const wait = next;
    const asked = Date.now();
    next = 0;
    try {
      await listen(line, signal, wait);
      next = hold;
    } catch (error) {
      // Something on the way cuts what hangs: hang for less than it allows.
      const age = (Date.now() - asked) / 1000;
      if (!signal.aborted) {
        if (age >= HOLD_LEAST && Math.abs(age - cutAt) < SAME_AGE) hold = Math.max(HOLD_LEAST, hold / 2);
        cutAt = age;
      }
      throw error;
    }
  });
}

/** Resolves after `ms`, or when the turn ends. */
function pause(ms: number, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
    signal.addEventListener("abort", resolve);
  });
}
