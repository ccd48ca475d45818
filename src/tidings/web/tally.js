// What one transport has done so far, in numbers.
//
// Owns: the counts and the delays. Does not own: how they look (panel.js), what a byte is (cost.js).

const KEPT = 100; // delays the median is taken over

export class Tally {
  requests = 0;
  answers = 0; // complete ones; a stream has none
  empty = 0; // of them, those with nothing in them
  messages = 0;
  down = 0; // bytes
  up = 0; // bytes
  #delays = []; // ms, the newest last

  delayed(delay_ms) {
    this.messages += 1;
    this.#delays.push(delay_ms);
    if (this.#delays.length > KEPT) this.#delays.shift();
  }

  /** The share of answers that were empty, 0 to 1, or null before the first answer. */
  get emptyShare() {
    return this.answers ? this.empty / this.answers : null;
  }

  get last() {
    return this.#delays.at(-1) ?? null;
  }

  get median() {
    if (!this.#delays.length) return null;
    const sorted = this.#delays.toSorted((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  /** Bytes both ways for each message so far, or null before the first. */
  get each() {
    return this.messages ? (this.down + this.up) / this.messages : null;
  }
}
