// One room: what was said in it, as the log tells it, and how much of that is new to us.
//
// Owns: messages, edits, and the mark up to where we have read (kept in this browser). Does not own: what it looks like.
// Invariant: `entries` are in the log's order; a message is there once.

const MOST = 2000; // entries kept on this page

export class Room {
  entries = []; // {kind: "said", id, time, who, name, text, edited} and {kind: "gap", id, reason}
  #byId = new Map();
  #key;
  #mark; // the id of the last message that was read

  constructor(name) {
    this.name = name;
    this.#key = "chat read " + name;
    this.#mark = localStorage.getItem(this.#key);
  }

  /** Take a message; return the entry that is new or has changed. */
  take({ id, time, event, data }) {
    const { who, name, text, of } = data ?? {};
    // Anybody may publish here: what is no message of a chat is passed over.
    if (typeof text !== "string" || typeof who !== "string") return null;
    if (event === "edit") {
      const entry = this.#byId.get(of);
      // Only who said it may mend it.
      if (entry?.who !== who) return null;
      return Object.assign(entry, { text, edited: true });
    }
    if (this.#byId.has(id)) return null;
    const entry = { kind: "said", id, time, who, name: String(name || "somebody").slice(0, 30), text, nonce: data.nonce };
    this.#byId.set(id, entry);
    return this.#add(entry);
  }

  /** Messages are missing here, and no longer to be had. */
  gap({ resumed, reason }) {
    return this.#add({ kind: "gap", id: resumed, reason });
  }

  #add(entry) {
    this.entries.push(entry);
    if (this.entries.length > MOST) this.#byId.delete(this.entries.shift().id);
    return entry;
  }

  /** What others said since we looked. Of a mark that has left the log, all is newer. */
  unread(me) {
    const at = this.entries.findLastIndex(({ id }) => id === this.#mark);
    return this.entries.slice(at + 1).filter(({ kind, who }) => kind === "said" && who !== me);
  }

  read() {
    const last = this.entries.at(-1)?.id;
    if (!last || last === this.#mark) return;
    this.#mark = last;
    localStorage.setItem(this.#key, last);
  }

  /** The last message of ours, to be mended. */
  lastOf(me) {
    return this.entries.findLast(({ who }) => who === me);
  }
}
