// The wire view: the requests, answers, events and frames of one transport as they pass, the newest first.
//
// Owns: its list. Does not own: what passes. Invariant: what came from the wire is only ever text, never markup.

import * as words from "../words.js";

const ROWS = 40; // kept; the list scrolls in itself
const LONG = 400; // characters of one thing shown

export class Wire {
  #list;
  #hanging = new Map(); // row → when its request went out (ms)

  constructor(list) {
    this.#list = list;
  }

  /** Something went up: a request. While it `hangs`, its row says for how long. Returns the row. */
  up(text, { hangs = false } = {}) {
    const row = this.#row("up", "↑", text);
    if (hangs) {
      row.classList.add("hanging");
      row.append(element("span", "since", ""));
      this.#hanging.set(row, performance.now());
      this.tick();
    }
    return row;
  }

  /** Something came down: an answer's head and body, an event, a frame. `nothing` says that it held nothing. */
  down(text, { nothing = false } = {}) {
    const row = this.#row("down", "↓", text);
    if (nothing) row.classList.add("nothing");
    return row;
  }

  /** A request hangs no longer: it was answered after so long, or it failed. */
  answered(row) {
    const since = this.#hanging.get(row);
    if (since === undefined) return;
    this.#hanging.delete(row);
    row.classList.remove("hanging");
    row.querySelector(".since").textContent = `hung ${words.seconds((performance.now() - since) / 1000)}`;
  }

  /** Writes how long what hangs has hung. */
  tick() {
    const now = performance.now();
    for (const [row, since] of this.#hanging) {
      row.querySelector(".since").textContent = `hangs, ${((now - since) / 1000).toFixed(1)} s`;
    }
  }

  #row(kind, arrow, text) {
    const row = element("li", kind);
    const mark = element("span", "arrow", arrow);
    mark.setAttribute("aria-label", kind === "up" ? "sent" : "came");
    mark.setAttribute("role", "img");
    const shown = text.length > LONG ? `${text.slice(0, LONG)} …` : text;
    row.append(mark, element("code", "", shown));
    this.#list.prepend(row);
    while (this.#list.children.length > ROWS) {
      this.#hanging.delete(this.#list.lastChild);
      this.#list.lastChild.remove();
    }
    return row;
  }
}

function element(name, className, textContent = "") {
  return Object.assign(document.createElement(name), { className, textContent });
}
