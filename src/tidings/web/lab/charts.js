// The two charts, which draw themselves: each message's delay, and the bytes so far. uPlot keeps the axes.
//
// Owns: what is drawn, and the colours. Does not own: the figures.
// Invariant: a transport is known by its colour and by its shape, at each point or at the end of its line.

import uPlot from "../vendor/uplot/uPlot.esm.js";

const SPAN = 30; // seconds of delays shown
const EVERY = 0.5; // seconds between two readings of the bytes
const READINGS = 2400; // kept: twenty minutes
const KINDS = ["polling", "long-polling", "sse", "websocket"];
const HEIGHT = 230;

const SHAPES = {
  polling: (c, x, y, s) => c.arc(x, y, s, 0, 2 * Math.PI),
  "long-polling": (c, x, y, s) => c.rect(x - s * 0.9, y - s * 0.9, s * 1.8, s * 1.8),
  sse: (c, x, y, s) => polygon(c, [[x, y + s * 1.2], [x - s * 1.2, y - s], [x + s * 1.2, y - s]]),
  websocket: (c, x, y, s) => polygon(c, [[x, y - s * 1.3], [x + s * 1.3, y], [x, y + s * 1.3], [x - s * 1.3, y]]),
};

export class Charts {
  #delays;
  #bytes;
  #points = []; // {kind, at, delay}: seconds since `#origin`, ms
  #readings = [[], ...KINDS.map(() => [])]; // seconds, and kB of each
  #origin = performance.now();
  #places;

  constructor(delays, bytes) {
    this.#places = [delays, bytes];
    this.#make();
    new ResizeObserver(() => this.#fit()).observe(delays);
  }

  /** A message has come. */
  message(kind, delay_ms) {
    this.#points.push({ kind, at: this.#now(), delay: Math.max(delay_ms, 0.1) });
  }

  /** Notes the bytes so far, [polling, long-polling, sse, websocket]. */
  read(bytes) {
    const [times, ...lines] = this.#readings;
    if (times.length && this.#now() - times.at(-1) < EVERY) return;
    times.push(this.#now());
    lines.forEach((line, i) => line.push(bytes[i] / 1000));
    if (times.length > READINGS) for (const column of this.#readings) column.shift();
  }

  /** Begins the bytes at zero; the delays that were seen stay. */
  anew() {
    const before = this.#origin;
    this.#origin = performance.now();
    for (const point of this.#points) point.at -= (this.#origin - before) / 1000;
    for (const column of this.#readings) column.length = 0;
  }

  draw() {
    const now = this.#now();
    this.#points = this.#points.filter(({ at }) => at > now - SPAN - 1);
    this.#delays.setData([[now - SPAN, now], [null, null]], false);
    this.#delays.setScale("x", { min: now - SPAN, max: now });
    this.#bytes.setData(this.#readings, false);
    const most = Math.max(1, ...this.#readings.slice(1).map((line) => line.at(-1) ?? 0));
    this.#bytes.setScale("x", { min: 0, max: Math.max(10, now) });
    this.#bytes.setScale("y", { min: 0, max: most * 1.1 });
  }

  /** Says in words what the charts show. */
  describe(stations) {
    const means = stations.map(({ name, count }) => `${name} ${count.messages ? Math.round(count.delay / count.messages) : "none"}`);
    const sizes = stations.map(({ name, count }) => `${name} ${Math.round(count.bytes / 1000)}`);
    this.#places[0].setAttribute("aria-label", `Mean delay in milliseconds: ${means.join(", ")}`);
    this.#places[1].setAttribute("aria-label", `Kilobytes so far: ${sizes.join(", ")}`);
  }

  /** Draws anew in other colours, when light turns to dark. */
  recolour() {
    this.#delays.destroy();
    this.#bytes.destroy();
    this.#make();
  }

  #now() {
    return (performance.now() - this.#origin) / 1000;
  }

  #make() {
    const [delays, bytes] = this.#places;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: FONT, gap: 4 };
    const common = {
      width: delays.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [10, 12, 0, 0],
    };
    this.#delays = new uPlot(
      {
        ...common,
        scales: { x: { time: false, auto: false, range: (_u, min, max) => [min, max] }, y: { distr: 3, auto: false, range: () => [0.5, 20000] } },
        axes: [
          { ...axis, size: 28, values: (u, ticks) => ticks.map((tick) => ago(u.scales.x.max - tick)) , splits: (u) => [30, 20, 10, 0].map((s) => u.scales.x.max - s) },
          { ...axis, size: 52, splits: () => [1, 10, 100, 1000, 10000], values: (_u, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
        ],
        series: [{}, { stroke: "transparent", points: { show: false } }],
        hooks: { draw: [(u) => this.#drawPoints(u, colour)] },
      },
      [[0, 1], [null, null]],
      delays,
    );
    this.#bytes = new uPlot(
      {
        ...common,
        padding: [10, 26, 0, 0],
        scales: { x: { time: false, auto: false, range: (_u, min, max) => [min, max] }, y: { auto: false, range: (_u, min, max) => [min, max] } },
        axes: [
          { ...axis, size: 28, values: (_u, ticks) => ticks.map((tick) => `${tick} s`) },
          { ...axis, size: 52, values: (_u, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
        ],
        series: [{}, ...KINDS.map((kind) => ({ stroke: colour(kind), width: 2, points: { show: false } }))],
        hooks: { draw: [(u) => this.#drawEnds(u, colour)] },
      },
      this.#readings,
      bytes,
    );
  }

  #drawPoints(u, colour) {
    const size = 3 * devicePixelRatio;
    clipped(u, () => {
      for (const { kind, at, delay } of this.#points) {
        mark(u.ctx, kind, u.valToPos(at, "x", true), u.valToPos(delay, "y", true), size, colour(kind));
      }
    });
  }

  #drawEnds(u, colour) {
    const [times, ...lines] = this.#readings;
    if (!times.length) return;
    KINDS.forEach((kind, i) => {
      const [x, y] = [u.valToPos(times.at(-1), "x", true), u.valToPos(lines[i].at(-1), "y", true)];
      mark(u.ctx, kind, x + 8 * devicePixelRatio, y, 4 * devicePixelRatio, colour(kind));
    });
  }

  #fit() {
    for (const [chart, place] of [[this.#delays, this.#places[0]], [this.#bytes, this.#places[1]]]) {
      if (chart.width !== place.clientWidth) chart.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }
}

const FONT = '12px Inter, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif';

const ago = (seconds) => (Math.round(seconds) ? `${Math.round(seconds)} s ago` : "now");

function mark(c, kind, x, y, size, colour) {
  c.beginPath();
  SHAPES[kind](c, x, y, size);
  c.fillStyle = colour;
  c.fill();
}

function clipped(u, drawing) {
  const { ctx: c, bbox } = u;
  c.save();
  c.beginPath();
  c.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  c.clip();
  drawing();
  c.restore();
}

function polygon(c, [[x, y], ...rest]) {
  c.moveTo(x, y);
  for (const point of rest) c.lineTo(...point);
  c.closePath();
}
