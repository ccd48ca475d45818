// Server-Sent Events by the browser's own EventSource, for who asks for it.
//
// It sends no token, and hands on only messages without an `event`, and those whose event somebody listens for by name.

import type { Transport } from "./line.ts";
import { listenTo, WORDS } from "./sse.ts";

export const eventSource: Transport = (line) =>
  listenTo(line, async (url, take, signal) => {
    const source = new EventSource(url);
    await new Promise<unknown>((resolve) => {
      for (const name of [...WORDS, "message", ...line.events()]) {
        source.addEventListener(name, ({ type, data, lastEventId }: MessageEvent<string>) => take(type, data, lastEventId));
      }
      source.onopen = line.opened;
      // It would come back by itself, but not to other channels, and not over another transport.
      source.onerror = resolve;
      signal.addEventListener("abort", resolve);
    });
    source.close();
    return undefined;
  });
