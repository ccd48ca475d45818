// The format text/event-stream (WHATWG HTML §9.2), read from bytes that are cut anywhere.
//
// Owns: lines and fields. Does not own: what events mean (transports/sse.ts).

/** The most that one line may hold before the stream counts as broken: a message is at most 64 KiB. */
const LINE_MOST = 4 * 1024 * 1024;

/** What a stream said: an event, with the last id that the stream named; or without an event, the milliseconds of `retry:`. */
export type Take = (event: string, data: string, id: string) => void;

/** Returns what takes bytes, and hands on the events that they complete. */
export function openEventStream(take: Take): (bytes: Uint8Array) => void {
  // With `stream` it keeps letters that are cut, and takes a byte order mark off the beginning.
  const decoder = new TextDecoder();
  let rest = "";
  let skipLineFeed = false;
  let event = "";
  /** Each line of it behind a line feed. */
  let data = "";
  let id = "";

  return (bytes) => {
    let text = decoder.decode(bytes, { stream: true });
    if (text) {
      // A CR at the very end is a line end already; the LF that may follow belongs to it.
      if (skipLineFeed) text = text.replace(/^\n/, "");
      skipLineFeed = text.endsWith("\r");
    }
    const lines = (rest + text).split(/\r\n?|\n/);
    rest = lines.pop()!;
    if (rest.length > LINE_MOST) throw new RangeError();
    for (const line of lines) {
      const [field, value = ""] = line.split(/: ?(.*)/s);
      if (!line) {
        if (data) take(event || "message", data.slice(1), id);
        event = data = "";
      } else if (field === "data") data += "\n" + value;
      else if (field === "event") event = value;
      else if (field === "id" && !value.includes("\0")) id = value;
      else if (field === "retry" && /^\d+$/.test(value)) take("", value, id);
    }
  };
}
