// The messages of the lab: published by this page at moments of chance, whatever becomes of those before.
//
// Owns: when one is due. Does not own: who hears it. Invariant: open loop. A message says when it was due, not when it was
// sent, so that a page or a server that is late cannot hide it.

const LATEST = 2000; // ms that the page may have slept, after which it does not make up for it

export class Publisher {
  #address;
  #rate;
  #due = null; // ms since the epoch, of the next message
  #timer;
  #number = 0;
  #failed;
  #waits = []; // the next ones, for a rate of one a second

  /** `rate` is messages a second. `failed(reason)` is told when one could not be published, null when it could. */
  constructor(address, rate, failed) {
    this.#address = address;
    this.#rate = rate;
    this.#failed = failed;
  }

  get running() {
    return this.#due !== null;
  }

  start() {
    if (this.running) return;
    this.#due = now();
    this.#next();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#due = null;
  }

  set rate(rate) {
    this.#rate = rate;
    if (!this.running) return;
    // What was dealt at the old rate counts no more: a wait by chance has no memory.
    clearTimeout(this.#timer);
    this.#due = now();
    this.#next();
  }

  /** Publishes one message, due at `due_ms`, or now. */
  async publish(due_ms = now()) {
    this.#number += 1;
    const body = JSON.stringify({ n: this.#number, due_ms: Math.round(due_ms * 10) / 10 });
    try {
      const response = await fetch(this.#address, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      await response.arrayBuffer();
      this.#failed(null);
    } catch (error) {
      this.#failed(error instanceof TypeError ? "nobody answers; is the server running?" : error.message);
    }
  }

  #next() {
    if (!this.#waits.length) this.#waits = deal();
    this.#due += (this.#waits.pop() / this.#rate) * 1000;
    if (now() - this.#due > LATEST) this.#due = now();
    this.#timer = setTimeout(() => {
      this.publish(this.#due);
      this.#next();
    }, this.#due - now());
  }
}

const DECK = 20;

// Waits by chance (exponential, mean 1) that are not thrown but dealt: the means of the distribution's equal parts,
// shuffled. So a minute has as many short and long ones as an hour, and the figures settle soon.
function deal() {
  const primitive = (left) => (left > 0 ? left - left * Math.log(left) : 0);
  const waits = Array.from({ length: DECK }, (_, i) => DECK * (primitive(1 - i / DECK) - primitive(1 - (i + 1) / DECK)));
  for (let i = DECK - 1; i > 0; i -= 1) {
    const j = Math.floor(Math.random() * (i + 1));
    [waits[i], waits[j]] = [waits[j], waits[i]];
  }
  return waits;
}

const now = () => performance.timeOrigin + performance.now();
