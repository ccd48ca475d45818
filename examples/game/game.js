// A game in real time. Channels: `game.inputs` (which way each player pushes), `game.world` (the referee's word, 30 a second).
//
// The page moves nothing by itself: it says which way it pushes, and draws what the referee says happened. So the time from
// hand to eye is that of the transport, and it is measured: each input has a number, and the world says which it heeded.

import { TRANSPORTS, openCorner } from "/web/corner.js";
import { Arena, hue } from "./arena.js";
import { World } from "./world.js";

const AGAIN_MS = 1000; // an input is said again, so that the referee knows that we are there
const BETWEEN_MS = 50; // between two inputs, at least
const SILENT_MS = 2000;
const MEASURED = 20;
const KEYS = {
  ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0],
  KeyW: [0, -1], KeyS: [0, 1], KeyA: [-1, 0], KeyD: [1, 0],
};

const $ = (id) => document.getElementById(id);
const me = Math.random().toString(36).slice(2, 12);
const world = new World();
const arena = new Arena($("arena"));
const corner = openCorner($("corner"), "websocket", { share: false });

let name = localStorage.getItem("game name") ?? `disc ${me.slice(0, 3)}`;
const held = new Set(); // keys
let stick = null; // {x, y, dx, dy}: a finger
let said = { dx: 0, dy: 0, at: 0 };
let number = 0;
const sent = new Map(); // number → when, of inputs that were not seen to be heeded
let heardAt = null;
let drawn = { at: 0, players: {} };

/** What is on the screen, and since when (milliseconds since 1970). */
export const onScreen = () => drawn;
export const id = me;

corner.listen("game.world", { rewind: 1 }, {
  message({ data }) {
    heardAt = performance.now();
    world.take(data, heardAt);
  },
});

// Steering

function direction() {
  if (stick) return stick;
  let [dx, dy] = [0, 0];
  for (const key of held) [dx, dy] = [dx + KEYS[key][0], dy + KEYS[key][1]];
  const length = Math.hypot(dx, dy) || 1;
  return { dx: dx / length, dy: dy / length };
}

/** Say which way we push, when that has changed, or was not said for long. */
function say() {
  const { dx, dy } = direction();
  const now = performance.now();
  const changed = Math.abs(dx - said.dx) > 0.05 || Math.abs(dy - said.dy) > 0.05;
  if (now - said.at < (changed ? BETWEEN_MS : AGAIN_MS)) return;
  said = { dx, dy, at: now };
  number += 1;
  sent.set(number, now);
  const round = (value) => Math.round(value * 100) / 100;
  // One that is lost is made up for by the next.
  corner.publish("game.inputs", { id: me, name, dx: round(dx), dy: round(dy), n: number }, { key: me }).catch(() => {});
}

addEventListener("keydown", (event) => {
  if (!KEYS[event.code] || event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  held.add(event.code);
  say();
});
addEventListener("keyup", ({ code }) => {
  if (held.delete(code)) say();
});
addEventListener("blur", () => held.clear());
$("arena").addEventListener("pointerdown", (event) => {
  $("arena").setPointerCapture(event.pointerId);
  stick = { x: event.offsetX, y: event.offsetY, dx: 0, dy: 0 };
});
$("arena").addEventListener("pointermove", ({ offsetX, offsetY }) => {
  if (!stick) return;
  const [dx, dy] = [(offsetX - stick.x) / 44, (offsetY - stick.y) / 44];
  const length = Math.max(1, Math.hypot(dx, dy));
  Object.assign(stick, { dx: dx / length, dy: dy / length });
  say();
});
for (const end of ["pointerup", "pointercancel"]) {
  $("arena").addEventListener(end, () => {
    stick = null;
    say();
  });
}
addEventListener("pagehide", () => void corner.publish("game.inputs", { id: me, leave: true }, { key: me }).catch(() => {}));
setInterval(say, AGAIN_MS / 4);
say();

// From hand to eye

const delays = new Map(); // transport → the last delays, in milliseconds
const rows = new Map();
let steadyAt = performance.now() + 1000;

for (const [transport, { name }] of Object.entries(TRANSPORTS)) {
  const row = document.createElement("li");
  row.className = transport;
  row.innerHTML = '<span class="name"></span><span class="bar"></span><span class="figure">not tried</span>';
  row.querySelector(".name").textContent = name;
  rows.set(transport, row);
  $("delays").append(row);
}

/** The world that is drawn now has heeded our inputs up to `n`. */
function measure(n, now) {
  for (const [input, at] of sent) {
    if (input > n) break;
    sent.delete(input);
    if (at < steadyAt) continue;
    const list = delays.get(corner.transport) ?? [];
    delays.set(corner.transport, [...list, now - at].slice(-MEASURED));
  }
}
/** What was on its way during a switch is nobody's, and the first second behind it is not typical of anybody. */
corner.watch(() => {
  steadyAt = performance.now() + 1000;
});

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

function showDelays() {
  const medians = new Map([...delays].map(([transport, list]) => [transport, median(list)]));
  const most = Math.max(100, ...medians.values());
  for (const [transport, ms] of medians) {
    const row = rows.get(transport);
    row.classList.add("tried");
    row.style.setProperty("--share", ms / most);
    row.querySelector(".figure").textContent = `${Math.round(ms)} ms`;
  }
  const now = medians.get(corner.transport);
  $("delay").textContent = now === undefined ? "–" : Math.round(now);
}

// The picture

function frame(now) {
  requestAnimationFrame(frame);
  const picture = world.at(now);
  if (!picture) return;
  measure(picture.players.get(me)?.n ?? 0, now);
  arena.draw(picture, me, stick);
  const players = Object.fromEntries([...picture.players].map(([id, { x, y }]) => [id, [x, y]]));
  drawn = { at: performance.timeOrigin + now, players };
}
requestAnimationFrame(frame);

function showScores() {
  const players = [...(world.last?.players ?? [])].sort(([, a], [, b]) => b.points - a.points);
  const shown = players.slice(0, 8);
  const own = players.find(([id]) => id === me);
  if (own && !shown.includes(own)) shown.push(own);
  const list = shown.map(([id, { name, points }]) => {
    const row = document.createElement("li");
    row.className = id === me ? "mine" : "";
    row.innerHTML = '<span class="disc"></span><span class="name"></span><span class="points"></span>';
    row.firstElementChild.style.setProperty("--hue", hue(id));
    row.querySelector(".name").textContent = name;
    row.querySelector(".points").textContent = points;
    return row;
  });
  $("scores").replaceChildren(...list);
}

setInterval(() => {
  showDelays();
  showScores();
  const silent = heardAt === null || performance.now() - heardAt > Math.max(SILENT_MS, 2 * world.delay);
  const full = !silent && world.last.players.size >= 60 && !world.last.players.has(me);
  const notice = heardAt === null ? "Waiting for the referee." : silent ? "The referee is silent: the picture stands still." : full ? "The arena is full: you are watching." : "";
  if ($("notice").textContent !== notice) $("notice").textContent = notice;
}, 250);

$("name").value = name;
$("name").addEventListener("change", () => {
  name = $("name").value.trim() || name;
  $("name").value = name;
  localStorage.setItem("game name", name);
});
$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  $("arena").focus();
});
$("arena").focus();
