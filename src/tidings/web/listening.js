// When a page listens, and when it rests.
//
// Owns: the moments at which listening begins and ends. Does not own: what is listened to; the cursors are the page's.

const HIDDEN_FOR = 30; // seconds after which a hidden page rests
const ASLEEP = 10; // seconds the clock must jump for the machine to have slept

export class Listening {
  #begin;
  #now = null; // what ends it

  /** `begin(signal)` listens until the signal; `paused()` is told when a page that nobody sees has come to rest. */
  constructor(begin, paused) {
    this.#begin = begin;
    // A browser has six connections for an origin over all its tabs, and two or three of them are ours: a page nobody
    // sees gives them back. An open socket would also keep the page out of the back/forward cache.
    let hiding;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hiding);
      if (document.visibilityState === "visible") return this.listen();
      hiding = setTimeout(() => {
        this.rest();
        paused();
      }, HIDDEN_FOR * 1000);
    });
    addEventListener("pagehide", () => this.rest());
    addEventListener("pageshow", () => this.listen());
    addEventListener("online", () => this.again());
    let ticked = Date.now();
    setInterval(() => {
      const now = Date.now();
      if (now - ticked > ASLEEP * 1000) this.again();
      ticked = now;
    }, 250);
  }

  listen() {
    if (this.#now) return;
    this.#now = new AbortController();
    this.#begin(this.#now.signal);
  }

  rest() {
    this.#now?.abort();
    this.#now = null;
  }

  /** Listens anew, where it listens: connections may look open and be dead. */
  again() {
    if (!this.#now) return;
    this.rest();
    this.listen();
  }
}
