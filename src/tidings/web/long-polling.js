// Long-polling: ask, and the server holds its answer until there is one; then ask again at once.
//
// A message comes when it is published, for the request is there already, hanging. Each answer still costs a whole
// request, and what is published between two of them waits for the next: the cursor keeps the place.

import { get, take } from "./answer.js";
import { Backoff, pause } from "./backoff.js";

const HOLD = 25; // seconds we ask the server to hold: below what proxies on the way put up with
const PATIENCE = 10; // seconds beyond the hold until an ask without an answer counts as lost

/** Listens until `signal` aborts. */
export async function longPolling({ address, cursor, panel, signal }) {
  const backoff = new Backoff();
  let hold = 0; // the first ask, and the first after a failure, does not hang: it tells where we stand
  panel.connecting();
  while (!signal.aborted) {
    const ask = panel.ask(cursor.after(address, hold ? { wait: hold } : {}));
    try {
      const answer = await get(ask, { signal, patience: hold + PATIENCE });
      panel.live();
      take(answer, cursor, panel);
      backoff.reset();
      hold = HOLD;
    } catch (error) {
      ask.failed();
      if (signal.aborted) return;
      if (error.final) return panel.stopped(error.message);
      const wait = backoff.next(error.wait);
      panel.reconnecting(wait);
      await pause(wait, signal);
      hold = 0;
    }
  }
}
