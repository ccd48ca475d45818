// WebSocket: one connection, both ways, for as long as it holds.
//
// Each frame is one JSON object whose first key says what it is. A message costs its own bytes and two to four more.
// Nothing resumes by itself here: when the socket closes, the page connects again and names its cursor.

import { Backoff, pause } from "./backoff.js";

/** Listens until `signal` aborts. */
export async function webSocket({ address, cursor, panel, signal }) {
  const backoff = new Backoff();
  panel.connecting();
  while (!signal.aborted) {
    const url = cursor.after(address);
    url.protocol = url.protocol.replace("http", "ws");
    const closed = await listen(new WebSocket(url, "tidings.v1"), { cursor, panel, signal, backoff });
    if (signal.aborted) return;
    if (closed.code >= 4500) return panel.stopped(closed.reason); // the server's word: do not come back
    const wait = backoff.next();
    panel.reconnecting(wait);
    await pause(wait, signal);
  }
}

/** Resolves with the close event when the socket has closed. */
function listen(socket, { cursor, panel, signal, backoff }) {
  return new Promise((resolve) => {
    const ask = panel.ask(socket.url);
    const leave = () => socket.close();
    signal.addEventListener("abort", leave);

    const on = {
      ready({ cursor: place }) {
        ask.opened();
        panel.live();
        cursor.begin(place);
        backoff.reset();
      },
      message(message) {
        if (cursor.pass(message.id)) panel.message(message);
      },
      gap(gap) {
        cursor.leap(gap);
        panel.gap(gap);
      },
    };
    socket.addEventListener("message", (event) => {
      ask.frame(event.data);
      const frame = JSON.parse(event.data);
      for (const [kind, content] of Object.entries(frame)) on[kind]?.(content);
    });
    socket.addEventListener("close", (event) => {
      signal.removeEventListener("abort", leave);
      ask.closed();
      resolve(event);
    });
  });
}
