// A dashboard. Channels: `machine.readings`, and `machine.processes`, of which only the newest counts.
//
// History and stream are one: the page asks for the readings from the earliest on, and hears what follows behind the
// cursor of the last. So a reload shows the same lines as before, and there is no moment between the two to miss.

import { openCorner } from "/web/corner.js";
import { bytes, timeOfDay } from "/web/words.js";
import { Charts } from "./charts.js";
import { Readings, SPAN } from "./readings.js";

const STALE_MS = 4000; // one comes each second, or two at most

const $ = (id) => document.getElementById(id);
export const readings = new Readings();
const charts = new Charts($("charts"), readings, point);
const corner = openCorner($("corner"), "sse");
let heardAt = 0; // by our clock, which need not be the machine's
let pointed = null; // the time that is pointed at; null: now
let stepped = null; // where the arrow keys are
let due = false;

corner.listen("machine.readings", { after: "earliest" }, {
  message({ data }) {
    if (!readings.take(data)) return;
    heardAt = performance.now();
    cores(data.cores_percent);
    $("about").textContent = about(data);
    refresh();
  },
});
corner.listen("machine.processes", { rewind: 1 }, { message: ({ data }) => processes(data ?? {}) });

/** Draw once for all that comes together: the history is hundreds of messages in one turn. */
function refresh() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}

function draw() {
  if (!readings.count) return;
  charts.update(readings.last.at + (performance.now() - heardAt) / 1000);
  figures();
  const silent = performance.now() - heardAt > STALE_MS;
  document.body.classList.toggle("stale", silent);
  const holes = readings.holes.map(([from, to]) => `${timeOfDay(from * 1000)} to ${timeOfDay(to * 1000)}`);
  $("account").textContent = `${readings.count} readings in the last ${SPAN / 60} minutes, ${holes.length ? `some missing: ${holes.join(", ")}` : "none missing"}. Each is one message.`;
  const when = pointed !== null ? `at ${timeOfDay(readings.at(pointed).at * 1000)}` : silent ? `silent since ${timeOfDay(readings.last.at * 1000)}` : "";
  if ($("when").textContent !== when) $("when").textContent = when;
}

/** The figures above the charts: those of now, or of the time that is pointed at. */
function figures() {
  const row = pointed === null ? readings.last : readings.at(pointed);
  const write = (name, text) => (document.querySelector(`[data-value="${name}"]`).textContent = text);
  write("cpu", row.cpu.toFixed(0));
  for (const name of ["load1", "load5", "load15"]) write(name, row[name].toFixed(2));
  write("memory", bytes(row.memory).join(" "));
  $("memory-of").textContent = `of ${bytes(row.total).join(" ")}`;
  for (const name of ["in", "out", "loopback", "read", "written"]) write(name, `${bytes(row[name]).join(" ")}/s`);
}

function cores(percents) {
  if (!Array.isArray(percents)) return;
  const list = $("cores");
  while (list.children.length < Math.min(percents.length, 256)) list.append(document.createElement("li"));
  percents.slice(0, 256).forEach((percent, i) => list.children[i].style.setProperty("--busy", Number(percent) / 100 || 0));
}

function about({ cores_percent, memory_total_bytes, uptime_seconds }) {
  const days = Math.floor(uptime_seconds / 86_400);
  const hours = Math.floor((uptime_seconds % 86_400) / 3600);
  const minutes = Math.floor((uptime_seconds % 3600) / 60);
  const up = days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : `${minutes} min`;
  return `${cores_percent?.length ?? "?"} processors, ${bytes(memory_total_bytes).join(" ")} of memory, up ${up}.`;
}

function processes({ count, busiest }) {
  if (!Array.isArray(busiest)) return;
  $("process-count").textContent = count;
  const rows = busiest.slice(0, 20).map(({ name, pid, cpu_percent, memory_bytes }) => {
    const row = document.createElement("tr");
    const cells = [name, pid, `${Number(cpu_percent).toFixed(1)} %`, bytes(Number(memory_bytes)).join(" ")];
    for (const cell of cells) row.insertCell().textContent = cell;
    return row;
  });
  $("processes").replaceChildren(...rows);
}

function point(time) {
  pointed = time;
  refresh();
}

$("charts").addEventListener("keydown", ({ key }) => {
  const step = { ArrowLeft: -5, ArrowRight: 5 }[key];
  if (!readings.count || (!step && key !== "Escape")) return;
  stepped = step ? Math.min(readings.last.at, (stepped ?? readings.last.at) + step) : null;
  charts.pointAt(stepped);
});
$("charts").addEventListener("blur", () => {
  if (stepped !== null) charts.pointAt((stepped = null));
});
setInterval(refresh, 1000); // what does not come shows, too
