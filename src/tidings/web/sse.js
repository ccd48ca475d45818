// Server-Sent Events: one request, and an answer that never ends.
//
// The browser's EventSource does the listening: when the stream is cut it asks again by itself, and sends the id of the
// last event it saw as Last-Event-ID, so the server goes on exactly behind it. Any status but 200 ends it for good,
// though, and then it is on us to begin a new one with our own copy of the cursor.

import { Backoff, pause } from "./backoff.js";

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
    const end = (ended) => {
      source.close();
      signal.removeEventListener("abort", leave);
      ask.closed();
      resolve(ended);
    };
    const leave = () => end({});
    signal.addEventListener("abort", leave);

    source.addEventListener("ready", (event) => {
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
      const { code, reason } = JSON.parse(event.data);
      if (code >= 4500) end({ final: true, reason }); // below that the stream is only cut, and `error` follows
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) return end({});
      ask.closed();
      panel.reconnecting(); // the browser waits as long as the server's `retry:` said, and asks again
      ask = panel.ask(source.url);
    });
  });
}
