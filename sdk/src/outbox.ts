// Publishing: in order, acknowledged, and over the network's failures without doubling.
//
// Owns: what waits to be published. It goes by POST, over no matter which transport we listen: as batches, so that
// however much waits, one request is under way (spec §6.4).
// Invariant: bounded by count and bytes. A retry has the same idempotency key, within the time that the server
// remembers it; after that, whoever published is told that it is not known.

import { backoff } from "./backoff.ts";
import { ask } from "./http.ts";
import type { Cut } from "./machine.ts";
import type { Settings } from "./settings.ts";
import { TidingsError } from "./types.ts";
import type { Problem, PublishOptions, Receipt } from "./types.ts";
import { unique } from "./unique.ts";
import type { Publish } from "./wire.ts";

const LINES = 100;
const BATCH_BYTES = 200_000;
/** What a browser still sends for a page that goes away is at most 64 KiB. */
const LAST_BYTES = 60_000;
/** The server remembers keys for ten minutes. */
const KNOWN_MS = 9 * 60_000;
const CLOSED = { code: "closed" };

interface Entry {
  line: string;
  bytes: number;
  triedAt?: number;
  resolve(receipt: Receipt): void;
  reject(error: TidingsError): void;
}

export interface Outbox {
  publish(channel: string, data: unknown, options: PublishOptions): Promise<Receipt>;
  /** Try now what waits. */
  hurry(): void;
  /** The page may go away: hand all to the browser that it still takes. */
  flush(): void;
  close(): void;
}

export function openOutbox({ url, tokens, queueMessages = 1000, queueBytes = 1024 * 1024 }: Settings): Outbox {
  const waiting = new Set<Entry>();
  let bytes = 0;
  let busy = false;
  let closed = false;
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function settle(entry: Entry, said: Partial<Receipt> & Partial<Problem>): void {
    if (!waiting.delete(entry)) return;
    bytes -= entry.bytes;
    if (said.id) entry.resolve(said as Receipt);
    else entry.reject(new TidingsError(said as Problem));
  }

  function batch(most: number): Entry[] {
    const now = Date.now();
    const taken: Entry[] = [];
    for (const entry of waiting) {
      if (entry.triedAt && now - entry.triedAt > KNOWN_MS) {
        settle(entry, { code: "unknown_outcome", detail: "It may have been published." });
      } else if ((most -= entry.bytes) < 0 && taken.length) break;
      else {
        entry.triedAt ??= now;
        if (taken.push(entry) === LINES) break;
      }
    }
    return taken;
  }

  /** Send a batch; resolves to the milliseconds to wait before the next. */
  async function send(last = false): Promise<number> {
    const entries = batch(last ? LAST_BYTES : BATCH_BYTES);
    if (!entries[0]) return 0;
    let hint: number | undefined;
    try {
      const body = entries.map(({ line }) => line).join("\n");
      const headers = { "Content-Type": "application/x-ndjson" };
      const answer = await ask(url + "publish", { headers, token: await tokens.get(), body, keepalive: last }, (response) => response.text());
      const lines = answer.split("\n");
      let again = false;
      entries.forEach((entry, index) => {
        const said = JSON.parse(lines[index]!) as Receipt & Problem;
        if (said.retry) again = true;
        else settle(entry, said);
      });
      if (!again) return (failures = 0);
    } catch (error) {
      const { unauthorized, final, problem, why, hint: wait } = error as Cut;
      hint = wait;
      // A token is fetched anew at once, and then as often as the backoff allows.
      if (unauthorized && failures < 3) tokens.current = undefined;
      else if (final || unauthorized) for (const entry of entries) settle(entry, problem ?? { code: "refused", detail: why });
    }
    return backoff(failures++, Math.random(), hint);
  }

  function run(): void {
    if (busy || timer || !waiting.size) return;
    busy = true;
    // What is published in one turn is one batch.
    queueMicrotask(async () => {
      const ms = await send();
      busy = false;
      if (ms) timer = setTimeout(hurry, ms);
      else run();
    });
  }

  function hurry(): void {
    clearTimeout(timer);
    timer = undefined;
    run();
  }

  return {
    hurry,
    publish: (channel, data, { event, key, idempotencyKey }) =>
      new Promise((resolve, reject) => {
        const said: Publish = { channel, data, event, key, idempotency_key: idempotencyKey ?? unique() };
        const line = JSON.stringify(said);
        const entry = { line, bytes: new TextEncoder().encode(line).length + 1, resolve, reject };
        if (closed || waiting.size >= queueMessages || bytes + entry.bytes > queueBytes) {
          const full = { code: "queue_full", detail: `${waiting.size} messages wait already.`, retry: true };
          return reject(new TidingsError(closed ? CLOSED : full));
        }
        waiting.add(entry);
        bytes += entry.bytes;
        run();
      }),
    flush: () => void send(true),
    close() {
      closed = true;
      void send(true).then(() => {
        clearTimeout(timer);
        for (const entry of waiting) settle(entry, CLOSED);
      });
    },
  };
}
