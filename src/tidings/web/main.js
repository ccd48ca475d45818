// The page: four transports on the same two channels, each with its own cursor and panel.
//
// Owns: the wiring, when to listen and when to rest, and the clock that draws. Does not own: any transport.
// Invariant: whatever stops the listening, each cursor is kept, and listening goes on exactly behind it.

import { say } from "./aloud.js";
import { requestHead } from "./cost.js";
import { clock } from "./clock.js";
import { Cursor } from "./cursor.js";
import { Interval } from "./interval.js";
import { fillLines } from "./lines.js";
import { Listening } from "./listening.js";
import { longPolling } from "./long-polling.js";
import { Machine } from "./machine.js";
import { Panel } from "./panel.js";
import { polling } from "./polling.js";
import { publishFrom } from "./publish.js";
import { serverSentEvents } from "./sse.js";
import { everyPixel } from "./strip.js";
import * as words from "./words.js";
import { webSocket } from "./websocket.js";

const DESCRIBE_EVERY = 5; // seconds between two descriptions of what the strips show

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

function begin(signal) {
  for (const { listen, cursor, panel } of listeners) {
    listen({ address, cursor, panel, interval, signal }).catch((error) => {
      panel.stopped(error.message);
      throw error; // a fault of this page: the console shows it whole
    });
  }
}

const listening = new Listening(begin, () => panels.forEach((panel) => panel.paused()));

// What is heard

function heard(panel, message, delay_ms) {
  if (message.channel === "machine") machine.take(message, panel.name);
  else say(`${panel.name} after ${words.milliseconds(delay_ms)} milliseconds: ${message.data}`);
}

function changed(panel, text) {
  say(`${panel.name}: ${text}`);
}

// The clocks: figures four times a second, strips as often as they move by a pixel

setInterval(() => {
  const now = Date.now();
  machine.tick(now);
  for (const panel of panels) panel.tick(now);
}, 250);

setInterval(() => {
  for (const panel of panels) panel.describe();
  const off = Math.round(clock.ahead);
  find("clock-note").textContent = off
    ? `The two clocks differ by about ${words.count(Math.abs(off))} ms; the fastest message counts as no delay.`
    : "";
}, DESCRIBE_EVERY * 1000);

everyPixel(find("polling"), 30, (now) => {
  for (const panel of panels) panel.draw(now);
});

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
listening.listen();
