// How long to wait before asking again after a failure, so that many clients do not come back at once.
//
// Owns: the waits. Does not own: what is a failure.
// Invariant: a wait is random between 0 and a bound that doubles from 0.3 s to 20 s, unless the server named it.

const BASE = 0.3; // seconds
const CAP = 20; // seconds

export class Backoff {
  #failures = 0;

  /** The next wait in seconds; `hint` is the server's own (Retry-After), and wins. */
  next(hint) {
    const bound = Math.min(CAP, BASE * 2 ** this.#failures++);
    return hint ?? Math.random() * bound;
  }

  reset() {
    this.#failures = 0;
  }
}

/** Resolves after `seconds`, or as soon as `signal` aborts. */
export function pause(seconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
