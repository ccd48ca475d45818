// One panel: what a transport tells while it listens, as state, numbers, strip and list.
//
// Owns: the elements of its panel. Does not own: the listening (polling.js, long-polling.js, sse.js, websocket.js).
// Invariant: text of messages is only ever text, never markup.

import { clock } from "./clock.js";
import * as cost from "./cost.js";
import { Strip } from "./strip.js";
import { Tally } from "./tally.js";
import * as words from "./words.js";

const NOTES = 4; // latest notes and gaps shown
const FEED = 2; // latest messages of the feed shown
const FEED_CHANNEL = "machine";
const STALE = 5; // seconds without a message of a feed that beats twice a second

export class Panel {
  name;
  #kind;
  #root;
  #strip;
  #tally = new Tally();
  #state = "";
  #heardFeed = null; // ms, when the feed was last heard
  #again = null; // ms, when the next try is due
  #told = null; // the gap told last, {row, channels, reason, at}
  #on; // {message(panel, message, delay_ms), state(panel, text)}: what others want to know

  /** `root` is the panel's section; its id is the transport's. */
  constructor(root, on) {
    this.#root = root;
    this.#kind = root.id;
    this.#on = on;
    const heading = root.querySelector("h2");
    this.name = heading.textContent.trim();
    root.querySelector("header").append(element("p", { className: "state" }));
    root.append(document.getElementById("panel-body").content.cloneNode(true));
    this.#strip = new Strip(root.querySelector("canvas"), this.#kind);
    this.#find(".latest h3").id = `${this.#kind}-latest`;
    for (const list of root.querySelectorAll("ol")) list.setAttribute("aria-labelledby", `${this.#kind}-latest`);
  }

  // What the transports tell: states

  connecting() {
    this.#become("connecting", "connecting");
  }

  live() {
    if (this.#state !== "stale") this.#become("live", "live");
  }

  /** `seconds` until the next try, where it is known. */
  reconnecting(seconds) {
    this.#again = seconds === undefined ? null : Date.now() + seconds * 1000;
    this.#become("reconnecting", this.#untilAgain(Date.now()));
  }

  stopped(reason) {
    this.#become("stopped", `stopped: ${reason}`);
  }

  paused() {
    this.#become("paused", "paused while hidden");
  }

  // What the transports tell: requests, messages, gaps

  /** A request goes out to `url`; the result is told how it ends. */
  ask(url) {
    const tally = this.#tally;
    const drawn = this.#strip.ask(Date.now());
    tally.requests += 1;
    // Counted when it has been answered: of one that failed nobody knows what was sent.
    const sent = cost.requestHead(url) + (cost.OPENING[this.#kind]?.up ?? 0);
    return {
      url,
      /** A whole answer has come. */
      answered(response, body, { messages, gap }) {
        tally.answers += 1;
        tally.up += sent;
        tally.down += cost.responseHead(response) + cost.text(body);
        if (!messages.length && !gap) tally.empty += 1;
        Object.assign(drawn, { end: Date.now(), count: messages.length });
      },
      failed() {
        Object.assign(drawn, { end: Date.now(), failed: true });
      },
      /** A stream is open; what it carries is told piece by piece. */
      opened: () => {
        tally.up += sent;
        tally.down += cost.OPENING[this.#kind].down;
        drawn.opened = Date.now();
      },
      event(event) {
        tally.down += cost.event(event);
      },
      frame(payload) {
        tally.down += cost.frame(payload);
      },
      closed() {
        drawn.end ??= Date.now();
        drawn.failed = drawn.opened === null;
      },
    };
  }

  message(message) {
    const now = Date.now();
    clock.saw(message.time, now);
    const delay = Math.max(0, now - clock.ahead - message.time);
    this.#tally.delayed(delay);
    this.#strip.drop(now - delay, now);
    const feed = message.channel === FEED_CHANNEL;
    if (feed) {
      this.#heardFeed = now;
      if (this.#state === "stale") this.#become("live", "live");
    }
    const data = typeof message.data === "string" ? message.data : JSON.stringify(message.data);
    const row = element("li", { className: "message" });
    row.dataset.id = message.id;
    row.append(
      element("span", { className: "text", textContent: feed ? `${message.channel} ${data}` : data, title: data }),
      element("span", { className: "delay", textContent: `${words.milliseconds(delay)} ms` }),
    );
    this.#list(feed ? ".feed" : ".notes", row, feed ? FEED : NOTES);
    this.#on.message(this, message, delay);
  }

  gap({ channel, reason }) {
    const why = {
      retention: "they are older than what is kept",
      epoch: "the server began a new log",
      ahead: "the server is behind us",
      cursor: "the place is not known",
    }[reason];
    const now = Date.now();
    this.#strip.tear(now);
    // One break tells a gap for each channel, all at once: they are one line here.
    if (this.#told?.reason !== reason || now - this.#told.at > 1000) {
      const row = element("li", { className: "gap" });
      this.#told = { row, channels: [], reason, at: now };
      this.#list(".notes", row, NOTES);
    }
    const { row, channels } = this.#told;
    channels.push(channel);
    row.textContent = `gap in ${channels.join(" and ")}: messages are missing, ${why ?? reason}`;
  }

  // What the page asks for

  /** Looks whether the feed has fallen silent, and writes the numbers; called a few times a second. */
  tick(now) {
    if (this.#state === "live" && this.#heardFeed !== null && now - this.#heardFeed > this.#patience) {
      this.#become("stale", `stale since ${words.timeOfDay(this.#heardFeed)}`);
    }
    if (this.#state === "reconnecting") this.#become("reconnecting", this.#untilAgain(now));
    const tally = this.#tally;
    const { median, last, each, emptyShare } = tally;
    this.#write("median", median === null ? "–" : words.milliseconds(median));
    this.#write("last", last === null ? "–" : `${words.milliseconds(last)} ms`);
    this.#write("each", each === null ? "–" : words.count(Math.round(each)));
    this.#write("messages", words.count(tally.messages));
    this.#write("requests", words.count(tally.requests));
    this.#write("empty", emptyShare === null ? "–" : `${words.count(tally.empty)} (${words.percent(emptyShare)})`);
    this.#write("down", words.bytes(tally.down).join(" "));
    this.#write("up", words.bytes(tally.up).join(" "));
  }

  /** Seconds a silence is put up with: longer where polling asks seldom. */
  patience = STALE;

  get #patience() {
    return this.patience * 1000;
  }

  draw(now) {
    this.#strip.draw(now);
  }

  recolour() {
    this.#strip.recolour();
  }

  /** Says in words what the strip shows, for who does not see it. */
  describe() {
    const { requests, messages, median } = this.#tally;
    const delay = median === null ? "" : `, median delay ${words.milliseconds(median)} ms`;
    const label = `${this.name}: ${words.count(messages)} messages by ${words.count(requests)} requests${delay}`;
    this.#find("canvas").setAttribute("aria-label", label);
  }

  #become(state, text) {
    const shown = this.#find(".state");
    if (shown.textContent !== text) shown.textContent = text;
    if (this.#state === state) return;
    this.#state = this.#root.dataset.state = state;
    this.#on.state(this, text);
  }

  #untilAgain(now) {
    const left = Math.ceil((this.#again - now) / 1000);
    return left > 1 ? `reconnecting in ${left} s` : "reconnecting";
  }

  #list(selector, row, most) {
    const list = this.#find(selector);
    list.prepend(row);
    while (list.children.length > most) list.lastChild.remove();
  }

  #write(figure, text) {
    const place = this.#find(`[data-figure="${figure}"]`);
    if (place.textContent !== text) place.textContent = text;
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
