// What a room looks like: entries as elements.
//
// Owns: the list of messages, and whether it follows its end. Does not own: what was said (room.js).
// Text of others is only ever set as text, never as markup.

const TOGETHER_MS = 5 * 60_000; // messages of one person that follow each other stand together

const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long" });

const GAPS = {
  epoch: "The server began anew here. What was said before is only on this page.",
  retention: "Older messages are no longer kept.",
};

export class View {
  #list;
  #waiting; // what of ours was not answered yet stands below all that was
  #scroll;
  #jump;
  #me;
  #edit;
  #rows = new Map(); // entry → its element
  #last = null; // the entry above the next
  #missed = 0;

  constructor({ list, waiting, scroll, jump, me, edit }) {
    [this.#list, this.#waiting, this.#scroll, this.#jump] = [list, waiting, scroll, jump];
    [this.#me, this.#edit] = [me, edit];
    scroll.addEventListener("scroll", () => this.atEnd && this.#follow());
    jump.addEventListener("click", () => this.toEnd());
    // A keyboard that comes up, a window that becomes smaller: the end stays in sight.
    new ResizeObserver(() => this.#missed || this.toEnd()).observe(scroll);
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < 60;
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#follow();
  }

  #follow() {
    this.#missed = 0;
    this.#jump.hidden = true;
  }

  /** Show a whole room, with a line above the `first` that is new. */
  show(entries, first) {
    this.#list.replaceChildren();
    this.#waiting.replaceChildren();
    this.#rows.clear();
    this.#last = null;
    for (const entry of entries) {
      if (entry === first) this.#rule("new", "New");
      this.add(entry, true);
    }
    this.toEnd();
  }

  /** Show an entry that is new or has changed. `quietly`: it is not news. */
  add(entry, quietly = false) {
    const old = this.#rows.get(entry);
    if (old) return this.#fill(old, entry);
    const follows = quietly || this.atEnd;
    if (entry.kind === "gap") this.#rule("gap", GAPS[entry.reason] ?? "Some messages are missing here, and can no longer be had.");
    else this.#list.append(this.#row(entry));
    this.#last = entry;
    if (quietly) return;
    if (follows || entry.who === this.#me) return this.toEnd();
    this.#missed += 1;
    this.#jump.hidden = false;
    this.#jump.textContent = `${this.#missed} new below`;
  }

  /** Show an entry that is on its way, or what became of it. */
  wait(entry) {
    const row = this.#rows.get(entry) ?? element("li", "said together waiting mine");
    row.replaceChildren(element("div", "text", entry.text), element("span", "about quiet", entry.failed ?? "on its way"));
    if (this.#rows.has(entry)) return;
    this.#rows.set(entry, row);
    this.#waiting.append(row);
    this.toEnd();
  }

  remove(entry) {
    this.#rows.get(entry)?.remove();
    this.#rows.delete(entry);
  }

  #row(entry) {
    const last = this.#last;
    if (!last?.time || day.format(last.time) !== day.format(entry.time)) this.#rule("day", day.format(entry.time));
    const together = last?.who === entry.who && last.name === entry.name && entry.time - last.time < TOGETHER_MS
      && this.#list.lastElementChild?.classList.contains("said");
    const row = element("li", `said${together ? " together" : ""}${entry.who === this.#me ? " mine" : ""}`);
    if (!together) {
      row.append(face(element("span", "face"), entry.who, entry.name), element("b", "name", entry.name));
    }
    row.append(element("div", "text"), element("span", "about quiet"));
    this.#rows.set(entry, row);
    this.#fill(row, entry);
    return row;
  }

  #fill(row, entry) {
    row.dataset.id = entry.id;
    row.querySelector(".text").textContent = entry.text;
    const when = element("time", "", time.format(entry.time));
    when.dateTime = new Date(entry.time).toISOString();
    const about = row.querySelector(".about");
    about.replaceChildren(entry.edited ? "edited " : "", when);
    if (entry.who === this.#me) {
      const button = element("button", "plain", "Edit");
      button.type = "button";
      button.addEventListener("click", () => this.#edit(entry));
      about.prepend(button);
    }
  }

  #rule(kind, text) {
    this.#list.append(element("li", "rule " + kind, text));
  }
}

/** A letter on a colour of one's own. */
export function face(place, who, name) {
  let hue = 0;
  for (const letter of who) hue = (hue * 31 + letter.charCodeAt(0) * 137) % 360;
  place.style.setProperty("--hue", hue);
  place.textContent = [...name][0]?.toUpperCase() ?? "?";
  place.setAttribute("aria-hidden", "true");
  return place;
}

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
