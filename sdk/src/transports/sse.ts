// Server-Sent Events: one request, and an answer that never ends.
//
// Read from a `fetch` stream with our own parser: the browser's EventSource cannot send a token, says no status, and
// does not show that an answer is being buffered (event_source.ts).

import { openEventStream } from "../event_stream.ts";
import type { Take } from "../event_stream.ts";
import { ask } from "../http.ts";
import type { Ask } from "../http.ts";
import type { Cut } from "../machine.ts";
import type { Frame } from "../wire.ts";
import { begin } from "./answers.ts";
import type { Line, Transport } from "./line.ts";
import { turns } from "./turn.ts";

const TYPE = "text/event-stream";

/**
 * Listen to an event stream, turn by turn. `read` reads the one at `url` to its end, and resolves to the milliseconds
 * that the server then wants to be left alone.
 */
export function listenTo(
  line: Line,
  read: (url: string, take: Take, signal: AbortSignal) => Promise<number | undefined>,
): Promise<void> {
  return turns(line, async (signal) => {
    await begin(line, signal);
    const asked = line.place.asking();
    let cut: Cut = { why: "cut too soon" };
    let last = "";
    const hint = await read(
      line.url(asked.names, { after: line.place.stand }),
      (event, data, id) => {
        const value: unknown = JSON.parse(data);
        const frame = (WORDS.includes(event) ? { [event]: value } : { message: value }) as Frame;
        const { ready, end, gap } = frame;
        if (ready) {
          cut = { why: "cut" };
          line.answered(asked, ready.cursor);
        }
        if (end) cut = ended(end);
        line.tell(frame);
        // The last of several gaps has an id of its own: there the stream goes on (spec §5.3).
        if (gap && id !== last) line.tell({ at: id });
        last = id;
      },
      signal,
    );
    throw { hint, ...cut };
  });
}

export const sse: Transport = (line) =>
  listenTo(line, async (url, take, signal) => {
    const asking: Ask = { headers: { Accept: TYPE }, token: await line.token(), signal };
    const reader = await ask(url, asking, ({ headers, body }) => {
      if (!headers.get("Content-Type")?.startsWith(TYPE)) throw new TypeError();
      return body!.getReader();
    });
    line.opened();
    let retry: number | undefined;
    const feed = openEventStream((event, data, id) => {
      // What was said before is meant for a browser that comes back by itself.
      if (event === "ready") retry = undefined;
      if (event) take(event, data, id);
      else retry = Number(data);
    });
    try {
      for (let part; !(part = await reader.read()).done && !signal.aborted; ) {
        line.heard();
        feed(part.value);
      }
    } catch {
      // It broke off.
    }
    reader.cancel().catch(() => {});
    return retry;
  });

export const WORDS = ["ready", "gap", "advice", "end"];

/** The close code says whether to come back (spec §5.4). Without a close frame it is 1006. */
export function ended({ code = 0, reason = "" }: NonNullable<Frame["end"]>): Cut {
  // The token has run out, or is not taken: with another one it may be.
  const unauthorized = code === 4001 || code === 4501;
  return { why: `ended: ${code} ${reason}`, unauthorized, final: !unauthorized && /^(4[5-9]|100[23789])/.test(String(code)) };
}
