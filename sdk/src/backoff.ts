// How long to wait before connecting again, so that clients which were cut together do not come back together.
//
// Invariant: pure; `chance` is a random number from 0 to below 1.

const BASE_MS = 300;
const CAP_MS = 20_000;
const CAP_HIDDEN_MS = 60_000;
/** The longest hint that is followed. */
const HINT_MOST_MS = 300_000;

/** Milliseconds to wait after `failures` failures in a row: full jitter, behind the server's hint where there is one. */
export function backoff(failures: number, chance: number, hint = 0, hidden = false): number {
  const bound = Math.min(BASE_MS * 2 ** failures, hidden ? CAP_HIDDEN_MS : CAP_MS);
  return Math.min(hint, HINT_MOST_MS) + chance * bound;
}
