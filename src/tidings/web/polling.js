// Polling: ask, take what there is, wait a while, ask again.
//
// The server never waits: it answers at once with what follows the cursor, and mostly that is nothing. So each message
// waits for the next ask, and each ask costs a whole request. It works wherever a page loads at all.

import { get, take } from "./answer.js";
import { Backoff, pause } from "./backoff.js";

const PATIENCE = 10; // seconds until an ask without an answer counts as lost

/** Listens until `signal` aborts. `interval` is the time between two asks; it may change at any moment. */
export async function polling({ address, cursor, panel, interval, signal }) {
  const backoff = new Backoff();
  panel.connecting();
  while (!signal.aborted) {
    const asked = performance.now();
    const ask = panel.ask(cursor.after(address));
    try {
      const answer = await get(ask, { signal, patience: PATIENCE });
      panel.live();
      interval.advise(answer.advice?.poll_ms);
      take(answer, cursor, panel);
      backoff.reset();
      if (!answer.more) await interval.passed(asked, signal);
    } catch (error) {
      ask.failed();
      if (signal.aborted) return;
      if (error.final) return panel.stopped(error.message);
      const wait = Math.max(interval.seconds, backoff.next(error.wait));
      panel.reconnecting(wait);
      await pause(wait, signal); // the answer may have been lost on its way: the same cursor asks for it again
    }
  }
}
