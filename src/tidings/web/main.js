// The page: four transports on the same two channels, each with its own cursor and panel.
//
// Owns: the wiring, when to listen and when to rest, and the clock that draws. Does not own: any transport.
// Invariant: whatever stops the listening, each cursor is kept, and listening goes on exactly behind it.

import { requestHead } from "./cost.js";
import { clock } from "./clock.js";
import { Cursor } from "./cursor.js";
import { Interval } from "./interval.js";
import { fillLines } from "./lines.js";
import { longPolling } from "./long-polling.js";
import { Machine } from "./machine.js";
import { Panel } from "./panel.js";
import { polling } from "./polling.js";
import { publishFrom } from "./publish.js";
import { serverSentEvents } from "./sse.js";
import { SPAN } from "./strip.js";
import * as words from "./words.js";
import { webSocket } from "./websocket.js";

const HIDDEN_FOR = 30; // seconds after which a hidden page rests
const ASLEEP = 10; // seconds the clock must jump for the machine to have slept
const SAY_EVERY = 5; // seconds between two things said aloud

const find = (id) => document.getElementById(id);
const root = new URL("./", document.baseURI).href;
const address = new URL("channels/machine,notes", root).href;

const slider = find("interval");
const advised = find("advised");
const interval = new Interval(slider.valueAsNumber, showInterval);
const machine = new Machine(find("machine"), find("machine-state"));

const listeners = [
  ["polling", polling],
  ["long-polling", longPolling],
  ["sse", serverSentEvents],
  ["websocket", webSocket],
].map(([id, listen]) => ({ listen, cursor: new Cursor(), panel: new Panel(find(id), { message: heard, state: changed }) }));
const panels = listeners.map(({ panel }) => panel);

// Listening and resting

let listening = null; // what ends it

function listen() {
  if (listening) return;
  listening = new AbortController();
  const { signal } = listening;
  for (const { listen: begin, cursor, panel } of listeners) {
    begin({ address, cursor, panel, interval, signal }).catch((error) => {
      panel.stopped(error.message);
      throw error; // a fault of this page: the console shows it whole
    });
  }
}

function rest() {
  listening?.abort();
  listening = null;
}

// A browser has six connections for an origin over all its tabs, and two of them are ours: a page nobody sees gives them
// back. An open socket would also keep the page out of the back/forward cache.
let hiding;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.visibilityState === "visible") return listen();
  hiding = setTimeout(() => {
    rest();
    for (const panel of panels) panel.paused();
  }, HIDDEN_FOR * 1000);
});
addEventListener("pagehide", rest);
addEventListener("pageshow", listen);
addEventListener("online", () => {
  if (!listening) return;
  rest();
  listen();
});

// What is heard

function heard(panel, message, delay_ms) {
  if (message.channel === "machine") machine.take(message, panel.name);
  else say(`${panel.name} after ${words.milliseconds(delay_ms)} milliseconds: ${message.data}`);
}

function changed(panel, text) {
  say(`${panel.name}: ${text}`);
}

// Said aloud politely, and no more often than one can listen: what has piled up is said together, the newest last.
let piled = [];
let saying = null;
function say(text) {
  piled = [...piled, text].slice(-4);
  saying ??= setTimeout(() => {
    find("said").textContent = piled.join(". ");
    piled = [];
    saying = null;
  }, SAY_EVERY * 1000);
}

// The clocks: figures four times a second, strips as often as they move by a pixel

let ticked = Date.now();
setInterval(() => {
  const now = Date.now();
  if (now - ticked > ASLEEP * 1000 && listening) {
    rest(); // connections that slept look open and may be dead
    listen();
  }
  ticked = now;
  machine.tick(now);
  for (const panel of panels) panel.tick(now);
}, 250);

setInterval(() => {
  for (const panel of panels) panel.describe();
  const off = Math.round(clock.ahead);
  find("clock-note").textContent = off
    ? `The two clocks differ by about ${words.count(Math.abs(off))} ms; the fastest message counts as no delay.`
    : "";
}, SAY_EVERY * 1000);

const still = matchMedia("(prefers-reduced-motion: reduce)");
let drawn = 0;
function draw() {
  const now = Date.now();
  const pixel = SPAN / (find("polling").clientWidth * devicePixelRatio);
  if (now - drawn >= (still.matches ? 1000 : Math.max(pixel, 30))) {
    drawn = now;
    for (const panel of panels) panel.draw(now);
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const panel of panels) panel.recolour();
});

// The controls

slider.addEventListener("input", () => (interval.seconds = slider.valueAsNumber));
advised.addEventListener("change", () => (interval.followsAdvice = advised.checked));
function showInterval() {
  const { seconds, followsAdvice } = interval;
  panels[0].patience = 5 + seconds;
  advised.checked = followsAdvice;
  slider.value = seconds; // an advice beyond its end shows as its end, and as it is in words
  const text = words.seconds(seconds);
  find("interval-value").textContent = text;
  slider.setAttribute("aria-valuetext", text);
}
showInterval();

publishFrom(find("publish"), new URL("channels/notes", root), find("published"));
fillLines(find("lines"), root);
find("head-estimate").textContent = words.count(Math.round(requestHead(address) / 10) * 10);
listen();
