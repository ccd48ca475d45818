// A client's whole state: one cursor, for all its channels together.
//
// Owns: where the client stands, and which messages are new to it. Does not own: how they come.
// Invariant: within one epoch the cursor never goes back, but where the server says so by a gap.
//
// A cursor is `epoch-position`, and otherwise opaque: the epoch says which life of the log it is from, and within one
// epoch positions rise.

export class Cursor {
  #value = null;

  /** The cursor as the server gave it, or null before the first answer. */
  get value() {
    return this.#value;
  }

  /** The address that asks for what follows; without a cursor that is: from now on. */
  after(address, parameters = {}) {
    const url = new URL(address);
    if (this.#value !== null) url.searchParams.set("after", this.#value);
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }

  /** Takes the place where a new stream begins; one that resumes begins where we are. */
  begin(value) {
    this.#value ??= value;
  }

  /** Takes the place behind an answer, unless it is behind what we have. */
  stand(value) {
    if (!this.#has(value)) this.#value = value;
  }

  /** True for a message that is new, and then it is had; false for one that came before. */
  pass(id) {
    if (this.#has(id)) return false;
    this.#value = id;
    return true;
  }

  /** Follows a gap: in another life of the log our position means nothing, so we go on from where it resumed. */
  leap(gap) {
    if (gap.reason === "retention") return; // the same life: the next message moves us
    // One connection may tell one gap for each channel; the smallest place misses nothing.
    if (this.#value === null || epoch(this.#value) !== epoch(gap.resumed) || this.#has(gap.resumed)) {
      this.#value = gap.resumed;
    }
  }

  #has(id) {
    return this.#value !== null && epoch(id) === epoch(this.#value) && position(id) <= position(this.#value);
  }
}

const epoch = (cursor) => cursor.slice(0, cursor.lastIndexOf("-"));
const position = (cursor) => Number(cursor.slice(cursor.lastIndexOf("-") + 1));
