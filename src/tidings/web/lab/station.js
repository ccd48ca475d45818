// One transport's place in the lab: its strip, its figures beside the formulas, and its wire.
//
// Owns: the elements of its section. Does not own: the listening, which is the first page's own modules; they tell a
// station what they tell a panel there.

import * as cost from "../cost.js";
import { Strip } from "../strip.js";
import * as words from "../words.js";
import { Count } from "./count.js";
import { Wire } from "./wire.js";

export class Station {
  name;
  count = new Count();
  #kind;
  #root;
  #strip;
  #wire;
  #state = "";
  #again = null; // ms, when the next try is due
  #on; // {message(station, delay_ms), state(station, text)}

  /** `root` is the section; its id is the transport's. */
  constructor(root, on) {
    this.#root = root;
    this.#kind = root.id;
    this.#on = on;
    this.name = root.querySelector("h2").textContent.trim();
    root.querySelector("header").append(Object.assign(document.createElement("p"), { className: "state" }));
    root.append(document.getElementById("panel-body").content.cloneNode(true));
    this.#strip = new Strip(root.querySelector("canvas"), this.#kind);
    const title = root.querySelector(".wire h3");
    title.id = `${this.#kind}-wire`;
    const list = root.querySelector(".wire ol");
    list.setAttribute("aria-labelledby", `${this.#kind}-title ${title.id}`);
    this.#wire = new Wire(list);
  }

  // What the transports tell: states

  connecting() {
    this.#become("connecting", "connecting");
  }

  live() {
    this.#become("live", "live");
  }

  reconnecting(seconds) {
    this.#again = seconds === undefined ? null : Date.now() + seconds * 1000;
    this.#become("reconnecting", this.#untilAgain());
  }

  stopped(reason) {
    this.#become("stopped", `stopped: ${reason}`);
  }

  paused() {
    this.#become("paused", "paused while hidden");
  }

  // What the transports tell: requests and what comes of them

  ask(url) {
    const { count } = this;
    const drawn = this.#strip.ask(Date.now());
    const start = performance.now();
    const { pathname, search } = new URL(url);
    const hangs = search.includes("wait=");
    const streams = this.#kind in cost.OPENING;
    const sent = cost.requestHead(url) + (cost.OPENING[this.#kind]?.up ?? 0);
    const row = this.#wire.up(`GET ${pathname}${search}${EXTRA[this.#kind] ?? ""}`, { hangs });
    count.requests += 1;
    return {
      url,
      answered: (response, body, { messages, gap }) => {
        const head = cost.responseHead(response);
        const nothing = !messages.length && !gap;
        count.answers += 1;
        count.empty += nothing;
        count.bytes += sent + head + cost.text(body);
        // The first question has no cursor in it, and is shorter than all others.
        if (search.includes("after=")) count.sizes.request = sent;
        sizesOf(count.sizes, head, body, messages);
        if (!hangs) count.took(performance.now() - start);
        this.#wire.answered(row);
        this.#wire.down(`${response.status} ${response.statusText}  ${body}`, { nothing });
        Object.assign(drawn, { end: Date.now(), count: messages.length });
      },
      failed: () => {
        this.#wire.answered(row);
        this.#wire.down("no answer", { nothing: true });
        Object.assign(drawn, { end: Date.now(), failed: true });
      },
      opened: () => {
        const opening = sent + cost.OPENING[this.#kind].down;
        count.bytes += opening;
        count.opening += opening;
        this.#wire.down(OPENED[this.#kind]);
        drawn.opened = Date.now();
      },
      event: (event) => {
        const size = cost.event(event);
        count.bytes += size;
        if (event.type === "message") count.sizes.message = size;
        else count.opening += size;
        const name = event.type === "message" ? "" : `event: ${event.type}\n`;
        this.#wire.down(`id: ${event.lastEventId}\n${name}data: ${event.data}`);
      },
      frame: (payload) => {
        const size = cost.frame(payload);
        count.bytes += size;
        if (payload.startsWith('{"message"')) count.sizes.message = size;
        else count.opening += size;
        this.#wire.down(payload);
      },
      closed: () => {
        if (streams && drawn.end === null) this.#wire.down("closed", { nothing: true });
        drawn.end ??= Date.now();
        drawn.failed = drawn.opened === null;
      },
    };
  }

  message(message) {
    const now = performance.timeOrigin + performance.now();
    const due = Number(message.data?.due_ms);
    if (!Number.isFinite(due)) return; // somebody else's: a channel is open to all
    const delay = Math.max(0, now - due);
    this.count.delayed(delay);
    this.#strip.drop(now - delay, now);
    this.#on.message(this, delay);
  }

  gap({ channel, reason }) {
    this.#strip.tear(Date.now());
    this.#on.state(this, `gap in ${channel}: ${reason}`);
  }

  // What the page asks for

  /** Writes the figures, and beside them what the formula said: `said` is null before there is something to say. */
  tick(said) {
    if (this.#state === "reconnecting") this.#become("reconnecting", this.#untilAgain());
    this.#wire.tick();
    const { figures, messages } = this.count;
    for (const [name, write] of Object.entries(WRITTEN)) {
      this.#write(`[data-figure="${name}"]`, figures[name], write);
      this.#write(`[data-said="${name}"]`, figures[name] === null ? null : (said?.[name] ?? null), write);
    }
    this.#write('[data-figure="messages"]', messages, words.count);
  }

  draw(now) {
    this.#strip.draw(now);
  }

  recolour() {
    this.#strip.recolour();
  }

  /** Says in words what the strip shows, for who does not see it. */
  describe() {
    const { requests, messages } = this.count;
    const label = `${this.name}: ${words.count(messages)} messages by ${words.count(requests)} requests`;
    this.#root.querySelector("canvas").setAttribute("aria-label", label);
  }

  #become(state, text) {
    const shown = this.#root.querySelector(".state");
    if (shown.textContent !== text) shown.textContent = text;
    if (this.#state === state) return;
    this.#state = this.#root.dataset.state = state;
    this.#on.state(this, text);
  }

  #untilAgain() {
    const left = Math.ceil((this.#again - Date.now()) / 1000);
    return left > 1 ? `reconnecting in ${left} s` : "reconnecting";
  }

  #write(selector, value, write) {
    const place = this.#root.querySelector(selector);
    const text = value === null ? "–" : write(value);
    if (place.textContent !== text) place.textContent = text;
  }
}

const EXTRA = { sse: "\nAccept: text/event-stream", websocket: "\nUpgrade: websocket" };
const OPENED = { sse: "200 OK, and it does not end", websocket: "101 Switching Protocols" };

const WRITTEN = {
  delay: (seconds) => `${short(seconds * 1000)} ms`,
  bytes: (size) => `${words.count(Math.round(size))} B`,
  requests: short,
  empty: words.percent,
};

function short(value) {
  return value >= 99.5 ? words.count(Math.round(value)) : value.toFixed(value >= 9.95 ? 1 : 2);
}

// What an answer was made of. Its head has the length of its body in it, whose digits are counted apart.
function sizesOf(sizes, head, body, messages) {
  const all = cost.text(body);
  sizes.head = head - String(all).length;
  // The server sends what was published as it is, and this page publishes no other JSON than its own.
  const inside = messages.map((message) => cost.text(JSON.stringify(message)));
  const separators = Math.max(0, inside.length - 1);
  sizes.envelope = all - inside.reduce((sum, size) => sum + size, 0) - separators;
  if (inside.length) sizes.message = inside.at(-1);
}
