// A transport's last seconds as a drawing: the upper edge is the server's log, the lower edge this browser.
//
// Owns: the moments, how they look, and how often that changes. Does not own: when they came (panel.js).
// Invariant: what did not happen is not drawn; where no connection was, there is no line.
//
// A message is a line from when it was published (above) to when it came (below), so its slant is its delay.

const SPAN = 10_000; // ms from the left edge to the right

/** Calls `draw(now)` as often as a strip as wide as `element` moves by a pixel, but not within `least` ms of the last. */
export function everyPixel(element, least, draw) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let drawn = 0;
  requestAnimationFrame(function frame() {
    const now = Date.now();
    const pixel = SPAN / (element.clientWidth * devicePixelRatio);
    if (now - drawn >= (still.matches ? 1000 : Math.max(pixel, least))) {
      drawn = now;
      draw(now);
    }
    requestAnimationFrame(frame);
  });
}

const MARKS = {
  polling: (c, x, y) => c.arc(x, y, 3, 0, 2 * Math.PI),
  "long-polling": (c, x, y) => c.rect(x - 2.7, y - 2.7, 5.4, 5.4),
  sse: (c, x, y) => path(c, [x, y + 3.6], [x - 3.8, y - 2.8], [x + 3.8, y - 2.8]),
  websocket: (c, x, y) => path(c, [x, y - 4], [x + 4, y], [x, y + 4], [x - 4, y]),
};

export class Strip {
  #canvas;
  #context;
  #kind;
  #asks = []; // {start, opened, end, count, failed}: times in ms, `end` null while it hangs or streams
  #drops = []; // {published, arrived}
  #gaps = []; // {at, from}: ms; `from` is when the last message before it was published, null once it is placed
  #latest = null; // ms, when the last message to come was published
  #colours = {};

  constructor(canvas, kind) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#kind = kind;
    this.recolour();
  }

  /** Reads the colours anew, when light turns to dark. */
  recolour() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ["transport", "ink", "muted", "line", "paper"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  /** A request began; the caller fills in its end. */
  ask(now) {
    const ask = { start: now, opened: null, end: null, count: 0, failed: false };
    this.#asks.push(ask);
    return ask;
  }

  drop(published, arrived) {
    // Now both sides of a hole are known, and it lies between them.
    for (const gap of this.#gaps.filter(({ from }) => from !== null)) {
      Object.assign(gap, { at: (gap.from + published) / 2, from: null });
    }
    this.#drops.push({ published, arrived });
    this.#latest = published;
  }

  tear(now) {
    this.#gaps.push({ at: now, from: this.#latest ?? now });
  }

  draw(now) {
    const { width, height } = this.#fit();
    const c = this.#context;
    const x = (time) => width - 6 - ((now - time) / SPAN) * width;
    const top = 6;
    const bottom = height - 7;
    this.#forget(now);

    c.clearRect(0, 0, width, height);
    c.lineWidth = 1;
    c.strokeStyle = this.#colours.line;
    line(c, 0, top, width, top);
    line(c, 0, bottom, width, bottom);

    c.strokeStyle = c.fillStyle = this.#colours.transport;
    for (const ask of this.#asks) this[this.#kind](c, ask, { x, top, bottom, now });
    for (const { published, arrived } of this.#drops) {
      c.lineWidth = 1.25;
      c.globalAlpha = 0.8;
      line(c, x(published), top, x(arrived), bottom);
      c.globalAlpha = 1;
      this.#mark(x(arrived), bottom, true);
    }
    for (const { at } of this.#gaps) this.#torn(x(at), height);
  }

  // An ask and its answer, there and back at once: a thin upright, and below it the mark of what came. While the answer
  // is out, and where it never came, the upright is short and broken.
  polling(c, ask, { x, top, bottom, now }) {
    const answered = ask.end !== null && !ask.failed;
    const at = x(ask.end ?? now);
    c.lineWidth = 1;
    c.globalAlpha = ask.count ? 0.4 : 0.28;
    c.setLineDash(answered ? [] : [2, 3]);
    line(c, at, answered ? top : (top + bottom) / 2, at, bottom);
    c.setLineDash([]);
    c.globalAlpha = 1;
    if (ask.failed) this.#cross(at, bottom);
    else if (answered && !ask.count) this.#mark(at, bottom, false);
  }

  // The request hangs at the server's edge as a bar, until something comes.
  ["long-polling"](c, ask, { x, top, bottom, now }) {
    const [from, to] = [x(ask.start), x(ask.end ?? now)];
    if (ask.failed) return this.#cross(to, bottom);
    c.globalAlpha = 0.28;
    c.lineWidth = 1;
    line(c, from, top, from, bottom);
    c.globalAlpha = ask.end === null ? 1 : 0.55;
    c.beginPath();
    c.roundRect(from + 0.75, top - 3, Math.max(to - from - 1.5, 1.5), 8, 2.5);
    c.fill();
    c.globalAlpha = 1;
    if (ask.end !== null && !ask.count) this.#mark(to, bottom, false);
  }

  // One answer that goes on: a line along the server's edge, while it is open.
  sse(c, ask, { x, top, bottom, now }) {
    if (ask.failed) return this.#cross(x(ask.end), bottom);
    if (ask.opened === null) return;
    c.lineWidth = 3;
    line(c, x(ask.opened), top, x(ask.end ?? now), top);
  }

  // A line each way.
  websocket(c, ask, places) {
    this.sse(c, ask, places);
    if (ask.opened === null) return;
    c.lineWidth = 1.5;
    line(c, places.x(ask.opened), places.top + 5, places.x(ask.end ?? places.now), places.top + 5);
  }

  #mark(x, y, full) {
    const c = this.#context;
    c.beginPath();
    MARKS[this.#kind](c, x, y);
    c.lineWidth = 1.5;
    c.save();
    if (!full) c.fillStyle = this.#colours.paper;
    c.fill();
    c.restore();
    c.stroke();
  }

  // A request that failed.
  #cross(x, y) {
    const c = this.#context;
    c.save();
    c.strokeStyle = this.#colours.muted;
    c.lineWidth = 1.5;
    line(c, x - 3, y - 3, x + 3, y + 3);
    line(c, x - 3, y + 3, x + 3, y - 3);
    c.restore();
  }

  // A gap: the strip is torn here.
  #torn(x, height) {
    const c = this.#context;
    const teeth = Array.from({ length: 9 }, (_, i) => [x + (i % 2 ? 3 : -3), (i * height) / 8]);
    c.save();
    c.lineJoin = "round";
    for (const [colour, thick] of [[this.#colours.paper, 9], [this.#colours.ink, 1.5]]) {
      for (const side of [-4, 4]) {
        c.beginPath();
        teeth.forEach(([tx, ty], i) => (i ? c.lineTo(tx + side, ty) : c.moveTo(tx + side, ty)));
        c.strokeStyle = colour;
        c.lineWidth = thick;
        c.stroke();
      }
    }
    c.restore();
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  }

  #forget(now) {
    const old = now - SPAN * 1.1;
    this.#asks = this.#asks.filter(({ end }) => end === null || end > old);
    this.#drops = this.#drops.filter(({ arrived }) => arrived > old);
    this.#gaps = this.#gaps.filter(({ at }) => at > old);
  }
}

function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

function path(c, [x, y], ...rest) {
  c.moveTo(x, y);
  for (const point of rest) c.lineTo(...point);
  c.closePath();
}
