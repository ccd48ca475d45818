// The time between two asks of polling, which the slider changes while polling waits for it.

export class Interval {
  #seconds;
  #waiting = new Set();

  constructor(seconds) {
    this.#seconds = seconds;
  }

  get seconds() {
    return this.#seconds;
  }

  set seconds(seconds) {
    this.#seconds = seconds;
    for (const look of [...this.#waiting]) look();
  }

  /** Resolves when the interval has passed since `start` (performance.now, ms), or as soon as `signal` aborts. */
  passed(start, signal) {
    return new Promise((resolve) => {
      let timer;
      const look = () => {
        clearTimeout(timer);
        const left = start + this.#seconds * 1000 - performance.now();
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
}
