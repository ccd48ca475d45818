// The server's clock as this browser sees it.
//
// A message carries the server's time, and a delay is the difference of two clocks. On one machine they are one. Where
// they clearly differ (a message seems to come before it was sent, or none ever came within a second) the fastest message
// of all transports stands for no delay at all.

const TRUSTED = 1000; // ms

class Clock {
  #fastest = Infinity;

  /** Notes that a message of server time `time` has come at `now`; both ms since the epoch. */
  saw(time, now) {
    this.#fastest = Math.min(this.#fastest, now - time);
  }

  /** Milliseconds by which this browser is ahead of the server, or 0 where the clocks agree. */
  get ahead() {
    return this.#fastest < 0 || (this.#fastest > TRUSTED && this.#fastest < Infinity) ? this.#fastest : 0;
  }
}

export const clock = new Clock();
