// Server-Sent Events: one request, and an answer that never ends.
//
// The browser's EventSource does the listening: when the stream is cut it asks again by itself, and sends the id of the
// last event it saw as Last-Event-ID, so the server goes on exactly behind it. Any status but 200 ends it for good,
// though, and then it is on us to begin a new one with our own copy of the cursor. The server ends streams now and then on
// purpose, with an event `end` that says whether to come back.

import { Backoff, pause } from "./backoff.js";

const MOVE = 2; // seconds that coming back may take, where the server asked for it, before it is worth a word

/** Listens until `signal` aborts. */
export async function serverSentEvents({ address, cursor, panel, signal }) {
  const backoff = new Backoff();
  panel.connecting();
  while (!signal.aborted) {
    const ended = await listen(new EventSource(cursor.after(address)), { cursor, panel, signal, backoff });
    if (signal.aborted) return;
    if (ended.final) return panel.stopped(ended.reason);
    const wait = backoff.next();
    panel.reconnecting(wait);
    await pause(wait, signal);
  }
}

/** Resolves when this EventSource will not come back by itself. */
function listen(source, { cursor, panel, signal, backoff }) {
  return new Promise((resolve) => {
    let ask = panel.ask(source.url);
    let moved = false; // the server has asked us to come back
    let late; // the timer of a move that takes long
    const end = (ended) => {
      clearTimeout(late);
      source.close();
      signal.removeEventListener("abort", leave);
      ask.closed();
      resolve(ended);
    };
    const leave = () => end({});
    signal.addEventListener("abort", leave);

    source.addEventListener("ready", (event) => {
      clearTimeout(late);
      ask.opened();
      ask.event(event);
      panel.live();
      cursor.begin(JSON.parse(event.data).cursor);
      backoff.reset();
    });
    // Messages without an `event` come here. A named one comes only to who listens for that name: EventSource's own rule.
    source.addEventListener("message", (event) => {
      ask.event(event);
      const message = JSON.parse(event.data);
      if (cursor.pass(message.id)) panel.message(message);
    });
    source.addEventListener("gap", (event) => {
      ask.event(event);
      const gap = JSON.parse(event.data);
      cursor.leap(gap);
      panel.gap(gap);
    });
    source.addEventListener("end", (event) => {
      ask.event(event);
      const { code, reason } = JSON.parse(event.data);
      if (code >= 4500) return end({ final: true, reason });
      moved = true; // `error` follows, as after every cut
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) return end({});
      ask.closed();
      // The browser waits as long as the server's `retry:` said, and asks again.
      clearTimeout(late);
      if (moved) late = setTimeout(() => panel.reconnecting(), MOVE * 1000);
      else panel.reconnecting();
      moved = false;
      ask = panel.ask(source.url);
    });
  });
}
