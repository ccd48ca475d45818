// The charts, drawn by uPlot: one look, one pointer for all of them.
//
// Owns: scales, lines and the pointer. Does not own: the readings.
// Invariant: heights start at zero; a hole is a hole.

import uPlot from "/web/vendor/uplot/uPlot.esm.js";
import { bytes, timeOfDay } from "/web/words.js";
import { SPAN } from "./readings.js";

const LEAST_SPAN = 60; // seconds, so that the first minute fills the charts, too

const HEIGHT = 150;
const rate = (value) => `${bytes(value).join(" ")}/s`;
// Steps that read well in bytes: 1, 2, 5 of each thousand.
const BYTE_STEPS = Array.from({ length: 13 }, (_, i) => [1, 2, 5].map((step) => step * 10 ** i)).flat();

const CHARTS = {
  cpu: { columns: ["cpu"], top: () => 100, say: (value) => `${value} %` },
  load: { columns: ["load1", "load5", "load15"], least: 1, say: (value) => value.toFixed(1) },
  memory: { columns: ["memory"], top: (last) => last.total, say: (value) => bytes(value).join(" "), steps: BYTE_STEPS },
  network: { columns: ["in", "out", "loopback"], least: 1000, say: rate, steps: BYTE_STEPS },
  disk: { columns: ["read", "written"], least: 1000, say: rate, steps: BYTE_STEPS },
};

export class Charts {
  #root;
  #readings;
  #point;
  #plots = new Map(); // name → uPlot

  /** `point(time)` is told where the pointer is, in seconds; null: nowhere. */
  constructor(root, readings, point) {
    [this.#root, this.#readings, this.#point] = [root, readings, point];
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    new ResizeObserver(() => this.#fit()).observe(root);
    this.#draw();
  }

  /** Show all up to `now`, in seconds: what stops coming leaves the right of the chart empty. */
  update(now) {
    const span = Math.min(SPAN, Math.max(LEAST_SPAN, now - this.#readings.first.at));
    for (const [name, plot] of this.#plots) {
      plot.setData(this.#readings.columns(CHARTS[name].columns), false);
      plot.setScale("x", { min: now - span, max: now });
    }
  }

  /** Put the pointer of all charts at this time. */
  pointAt(time) {
    const [plot] = this.#plots.values();
    plot.setCursor(time === null ? { left: -10, top: -10 } : { left: plot.valToPos(time, "x"), top: 20 });
  }

  #draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const [name, chart] of Object.entries(CHARTS)) {
      this.#plots.get(name)?.destroy();
      const place = this.#root.querySelector(`[data-chart="${name}"] .plot`);
      this.#plots.set(name, new uPlot(this.#options(chart, colour, place.clientWidth), this.#readings.columns(chart.columns), place));
    }
  }

  #options({ columns, top, least, say, steps }, colour, width) {
    const ink = [
      { stroke: colour("ink"), width: 1.5 },
      { stroke: colour("muted"), width: 1.25, dash: [4, 3] },
      { stroke: colour("muted"), width: 0.75 },
    ];
    const axis = { stroke: colour("muted"), font: "12px sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("line"), width: 0.75 };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 4, 0, 0],
      cursor: { sync: { key: "machine" }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: { y: { range: (_, __, max) => [0, top ? top(this.#readings.last ?? { total: 1 }) : Math.max(least, (max ?? 0) * 1.15)] } },
      axes: [
        { ...axis, size: 26, space: 80, grid: { show: false }, values: (_, times) => times.map((time) => timeOfDay(time * 1000).slice(0, time % 60 ? 8 : 5)), incrs: [15, 30, 60, 120, 300] },
        { ...axis, size: 66, gap: 6, space: 38, grid, ...(steps && { incrs: steps }), values: (_, values) => values.map((value) => say(value)) },
      ],
      series: [
        {},
        ...columns.map((_, i) => ({ ...ink[i], spanGaps: false, points: { show: false }, ...(!i && { fill: colour("wash") }) })),
      ],
      hooks: { setCursor: [(plot) => this.#point(plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null)] },
    };
  }

  #fit() {
    for (const [name, plot] of this.#plots) {
      const width = this.#root.querySelector(`[data-chart="${name}"] .plot`).clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }
}
