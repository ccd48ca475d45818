// The lab: this page publishes to a channel of its own, and hears it over all four transports at once.
//
// Owns: the wiring, the load, and when it is counted anew. Does not own: any transport (the first page's modules).

import { say } from "../aloud.js";
import { Cursor } from "../cursor.js";
import { Interval } from "../interval.js";
import { Listening } from "../listening.js";
import { longPolling } from "../long-polling.js";
import { polling } from "../polling.js";
import { serverSentEvents } from "../sse.js";
import { everyPixel } from "../strip.js";
import { webSocket } from "../websocket.js";
import * as words from "../words.js";
import { Charts } from "./charts.js";
import * as formulas from "./formulas.js";
import { Publisher } from "./publisher.js";
import { Station } from "./station.js";

const DESCRIBE_EVERY = 5; // seconds between two descriptions of what the strips show
const WAIT = 25; // seconds that the long-polls of long-polling.js hang

const find = (id) => document.getElementById(id);
const root = new URL("./", document.baseURI).href;
const channel = `lab-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36).slice(0, 4)}`;
const address = new URL(`channels/${channel}`, root).href;
find("channel").textContent = channel;

const rate = find("rate");
const every = find("interval");
const interval = new Interval(secondsOf(every));
const charts = new Charts(find("delays"), find("bytes"));

const listeners = [
  ["polling", polling],
  ["long-polling", longPolling],
  ["sse", serverSentEvents],
  ["websocket", webSocket],
].map(([id, listen]) => ({
  listen,
  cursor: new Cursor(),
  station: new Station(find(id), { message: (_station, delay_ms) => charts.message(id, delay_ms), state: changed }),
}));
const stations = listeners.map(({ station }) => station);
const publisher = new Publisher(address, rateOf(rate), failed);

// Listening and resting

let wanted = true; // whether messages are to come: not while they are paused

function begin(signal) {
  for (const { listen, cursor, station } of listeners) {
    listen({ address, cursor, panel: station, interval, signal }).catch((error) => {
      station.stopped(error.message);
      throw error; // a fault of this page: the console shows it whole
    });
  }
  if (wanted) publisher.start();
  signal.addEventListener("abort", () => publisher.stop());
}

const listening = new Listening(begin, () => stations.forEach((station) => station.paused()));

// The load

function secondsOf(slider) {
  const seconds = 10 ** slider.valueAsNumber;
  return Number(seconds.toPrecision(2));
}

function rateOf(slider) {
  return Number((10 ** slider.valueAsNumber).toPrecision(2));
}

function inWords(perSecond) {
  return perSecond >= 1 ? `${perSecond} a second` : `one in ${Number((1 / perSecond).toPrecision(2))} s`;
}

function showLoad() {
  for (const [slider, text] of [[rate, inWords(rateOf(rate))], [every, words.seconds(secondsOf(every))]]) {
    find(`${slider.id}-value`).textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }
  find("command").textContent = `tidings lab --rate ${rateOf(rate)} --interval ${secondsOf(every)}`;
}

function anew() {
  for (const station of stations) station.count.anew();
  charts.anew();
}

rate.addEventListener("input", () => {
  publisher.rate = rateOf(rate);
  showLoad();
  anew();
});
every.addEventListener("input", () => {
  interval.seconds = secondsOf(every);
  showLoad();
  anew();
});
find("pause").addEventListener("click", () => {
  wanted = !wanted;
  if (wanted) publisher.start();
  else publisher.stop();
  find("pause").setAttribute("aria-pressed", String(!wanted));
  find("pause").textContent = wanted ? "Pause" : "Go on";
  say(wanted ? "Messages go on" : "Messages are paused");
});
find("one").addEventListener("click", () => publisher.publish());
find("anew").addEventListener("click", () => {
  anew();
  say("Counted anew");
});
find("controls").addEventListener("submit", (event) => event.preventDefault());

function changed(station, text) {
  say(`${station.name}: ${text}`);
}

function failed(reason) {
  const text = reason === null ? "" : `Not published: ${reason}`;
  if (find("failed").textContent !== text) find("failed").textContent = text;
}

// The clocks

function predictions() {
  const rtt = stations[0].count.roundTrip;
  if (rtt === null) return [null, null, null, null];
  const load = { rate: rateOf(rate), interval: interval.seconds, wait: WAIT, rtt };
  find("round-trip").textContent = `${(rtt * 1000).toFixed(1)} ms, measured`;
  const whole = ({ sizes }) => ["request", "head", "envelope", "message"].every((name) => name in sizes);
  const [first, second, ...streams] = stations.map(({ count }) => count);
  const said = [
    whole(first) ? formulas.polling(load, first.sizes) : null,
    whole(second) ? formulas.longPolling(load, second.sizes) : null,
    ...streams.map(({ sizes, opening, messages }) =>
      "message" in sizes ? formulas.stream(load, { message: sizes.message, opening }, messages) : null,
    ),
  ];
  // The message's own way up to the server comes before all else.
  return said.map((one) => one && { ...one, delay: one.delay + rtt / 2 });
}

setInterval(() => {
  const said = predictions();
  stations.forEach((station, i) => station.tick(said[i]));
  charts.read(stations.map(({ count }) => count.bytes));
}, 250);

setInterval(() => {
  for (const station of stations) station.describe();
  charts.describe(stations);
}, DESCRIBE_EVERY * 1000);

everyPixel(find("polling"), 50, (now) => {
  for (const station of stations) station.draw(now);
  charts.draw();
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const station of stations) station.recolour();
  charts.recolour();
});

showLoad();
listening.listen();
