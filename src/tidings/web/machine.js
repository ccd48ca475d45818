// The machine's figures, from the messages of the feed: whichever transport brings one first.
//
// Owns: the elements of the strip. Invariant: a pause of the feed is a hole in its lines, never bridged.

import * as words from "./words.js";

const SPAN = 60_000; // ms shown
const HOLE = 2_000; // ms between two readings from which on the feed counts as interrupted
const STALE = 5_000; // ms

export class Machine {
  #root;
  #state;
  #readings = []; // {time, cpu, memory, total, in, out, loopback}, by rising time (ms); sizes in bytes
  #heard = null;

  constructor(root, state) {
    this.#root = root;
    this.#state = state;
  }

  take({ time, data }, transport) {
    if (time <= (this.#readings.at(-1)?.time ?? 0)) return;
    const reading = {
      time,
      cpu: data?.cpu_percent,
      memory: data?.memory_used_bytes,
      total: data?.memory_total_bytes,
      in: data?.network_in_bytes_per_second,
      out: data?.network_out_bytes_per_second,
      loopback: data?.loopback_bytes_per_second,
    };
    // Anybody may publish to the channel; what is not a whole reading is not one of the feed's.
    if (!Object.values(reading).every(Number.isFinite)) return;
    this.#heard = Date.now();
    this.#readings.push(reading);
    while (this.#readings[0].time < time - SPAN) this.#readings.shift();

    this.#write("cpu", reading.cpu.toFixed(0));
    this.#line("cpu", 100);
    this.#amount("memory", reading.memory, "");
    this.#write("memory-of", `of ${words.bytes(reading.total).join(" ")}`);
    this.#line("memory", reading.total);
    for (const name of ["in", "out", "loopback"]) {
      this.#amount(name, reading[name], "/s");
      this.#line(name, Math.max(1000, ...this.#readings.map((one) => one[name])));
    }
    this.#say(`twice a second, on channel machine; first here by ${transport}`, "live");
  }

  tick(now) {
    if (this.#heard !== null && now - this.#heard > STALE) {
      this.#say(`the feed is silent since ${words.timeOfDay(this.#heard)}`, "stale");
    }
  }

  #amount(name, bytes, per) {
    const [number, unit] = words.bytes(bytes);
    this.#write(name, number);
    this.#root.querySelector(`[data-unit="${name}"]`).textContent = unit + per;
  }

  // Drawn from zero, so that heights compare.
  #line(name, top) {
    const svg = this.#root.querySelector(`[data-line="${name}"]`);
    const end = this.#readings.at(-1).time;
    let before = -Infinity;
    const steps = this.#readings.map((reading) => {
      const x = 240 - ((end - reading.time) / SPAN) * 240;
      const y = 34.5 - Math.min(1, reading[name] / top) * 33;
      const step = `${reading.time - before > HOLE ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
      before = reading.time;
      return step;
    });
    svg.firstElementChild.setAttribute("d", steps.join(""));
  }

  #write(name, text) {
    const place = this.#root.querySelector(`[data-value="${name}"]`);
    if (place.textContent !== text) place.textContent = text;
  }

  #say(text, state) {
    if (this.#state.textContent !== text) this.#state.textContent = text;
    this.#root.dataset.state = state;
  }
}
