// What one transport has done since the counting began.
//
// Owns: the counts, and the sizes of its latest exchanges, which the formulas want. Does not own: how they look.

const TRIPS = 21; // round trips the median is taken over

export class Count {
  sizes = {}; // {request, head, envelope, message}, of the latest exchanges; they outlive a new beginning
  #trips = []; // ms, the newest last

  constructor() {
    this.anew();
  }

  /** Begins at zero. */
  anew() {
    Object.assign(this, { since: performance.now(), requests: 0, answers: 0, empty: 0, messages: 0, bytes: 0, opening: 0, delay: 0 });
  }

  /** Notes how long a question took that was answered at once. */
  took(ms) {
    this.#trips.push(ms);
    if (this.#trips.length > TRIPS) this.#trips.shift();
  }

  delayed(delay_ms) {
    this.messages += 1;
    this.delay += delay_ms;
  }

  /** Seconds for a round trip, or null before the first. */
  get roundTrip() {
    return this.#trips.length ? this.#trips.toSorted((a, b) => a - b)[this.#trips.length >> 1] / 1000 : null;
  }

  /** The measured figures, as the formulas have them; null where there is none yet. */
  get figures() {
    const each = (total) => (this.messages ? total / this.messages : null);
    return {
      requests: each(this.requests),
      empty: this.answers ? this.empty / this.answers : null,
      bytes: each(this.bytes),
      delay: each(this.delay / 1000),
    };
  }
}
