// Bytes on the wire, as far as a page can know them.
//
// Owns: what is measured, counted and estimated; the page says which is which. All results are bytes of HTTP/1.1 or
// WebSocket, without TCP and TLS.

const encoder = new TextEncoder();

/** The bytes of a text in UTF-8. */
export const text = (value) => encoder.encode(value).length;

/**
 * An estimate, for a browser does not show the heads it sends: the parts that vary are counted, and the rest
 * (Accept…, Sec-…, Connection) is taken as Chromium sends it.
 */
export function requestHead(url) {
  const { pathname, search } = new URL(url);
  return pathname.length + search.length + location.host.length + navigator.userAgent.length + REST;
}
const REST = 328;

/** Counted from the status line and the headers that the browser shows; it shows all but cookies. */
export function responseHead(response) {
  let bytes = `HTTP/1.1 ${response.status} ${response.statusText}\r\n\r\n`.length;
  for (const [name, value] of response.headers) bytes += name.length + value.length + 4;
  return bytes;
}

/** Estimates for the heads that a page cannot see at all: what opening a stream sends beyond another request, and its answer. */
export const OPENING = {
  sse: { up: 57, down: 198 },
  websocket: { up: 80, down: 202 },
};

/** An event as the event stream carries it: its id, its name where it has one, its data on one line. */
export function event({ lastEventId, type, data }) {
  const name = type === "message" ? 0 : `event: ${type}\n`.length;
  return `id: ${lastEventId}\n`.length + name + text(data) + "data: \n\n".length;
}

/** A WebSocket frame from the server: its payload and its head (RFC 6455 §5.2). */
export function frame(payload) {
  const size = text(payload);
  return size + (size > 65535 ? 10 : size > 125 ? 4 : 2);
}
