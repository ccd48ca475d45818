// The time between two asks of polling: as it was set, or as the server advises.
//
// Owns: which of the two holds, and the waiting, which either may change in its midst. Does not own: what shows it.

const LEAST = 0.05; // seconds: below that a slip of the server's would have us hammer it

export class Interval {
  #set; // seconds
  #advised = null; // seconds, as the server said last
  #follows = false;
  #waiting = new Set();
  #changed;

  /** `changed()` is called whenever another interval holds. */
  constructor(seconds, changed = () => {}) {
    this.#set = seconds;
    this.#changed = changed;
  }

  get seconds() {
    return this.#follows ? (this.#advised ?? this.#set) : this.#set;
  }

  /** Sets the interval; from then on the advice is only noted. */
  set seconds(seconds) {
    this.#follows = false;
    this.#set = seconds;
    this.#look();
  }

  get followsAdvice() {
    return this.#follows;
  }

  set followsAdvice(follows) {
    this.#set = this.seconds; // who ends it stays where the advice had led
    this.#follows = follows;
    this.#look();
  }

  /** Notes the server's advice, in milliseconds; an answer without one changes nothing. */
  advise(poll_ms) {
    if (!(poll_ms > 0)) return;
    const before = this.seconds;
    this.#advised = Math.max(poll_ms / 1000, LEAST);
    if (this.seconds !== before) this.#look();
  }

  /** Resolves when the interval has passed since `start` (performance.now, ms), or as soon as `signal` aborts. */
  passed(start, signal) {
    return new Promise((resolve) => {
      let timer;
      const look = () => {
        clearTimeout(timer);
        const left = start + this.seconds * 1000 - performance.now();
        if (left > 0 && !signal.aborted) {
          timer = setTimeout(look, left);
          return;
        }
        this.#waiting.delete(look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#waiting.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  #look() {
    for (const look of [...this.#waiting]) look();
    this.#changed();
  }
}
