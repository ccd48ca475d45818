// How long to wait before connecting again, so that clients which were cut together do not come back together.
//
// Invariant: pure; `chance` is a random number from 0 to below 1.

const BASE_MS = 300;
/** Those that a server's end has cut come together: they are to be spread. */
const BASE_CUT_MS = 1000;
const CAP_MS = 20_000;
const CAP_HIDDEN_MS = 60_000;
/** The longest hint that is followed. */
const HINT_MOST_MS = 300_000;

/**
 * Milliseconds to wait after `failures` failures in a row: full jitter, behind the server's hint where there is one.
 * `cut`: the first of them was the end of a connection that worked; `within`: the server names the bound itself.
 */
export function backoff(failures: number, chance: number, hint = 0, hidden?: boolean, cutAt?: number, within?: number): number {
  const bound = within ?? Math.min((cutAt ? BASE_CUT_MS : BASE_MS) * 2 ** failures, hidden ? CAP_HIDDEN_MS : CAP_MS);
  return Math.min(hint, HINT_MOST_MS) + chance * bound;
}
