// What the WebSocket transport says, where a real server could not be made to meet the moment.

import { afterEach, beforeEach, expect, it } from "vitest";
import { openPlace } from "../src/place.ts";
import type { Place } from "../src/place.ts";
import type { Line } from "../src/transports/line.ts";
import { webSocket } from "../src/transports/websocket.ts";
import type { Frame } from "../src/wire.ts";

class Socket {
  static last: Socket;
  readyState = 1;
  said: Record<string, unknown>[] = [];
  onmessage: (event: { data: string }) => void = () => {};
  onclose: (event: { code: number; reason: string }) => void = () => {};
  constructor(readonly url: string) {
    Socket.last = this;
  }
  send(text: string): void {
    this.said.push(JSON.parse(text) as Record<string, unknown>);
  }
  close(): void {}
  tell(frame: Frame): void {
    this.onmessage({ data: JSON.stringify(frame) });
  }
}

const real = globalThis.WebSocket;
beforeEach(() => Object.assign(globalThis, { WebSocket: Socket }));
afterEach(() => Object.assign(globalThis, { WebSocket: real }));

async function open(place: Place, token?: string) {
  const line: Line = {
    place,
    signal: new AbortController().signal,
    url: (names, { after }) => `http://x/channels/${names.join()}?after=${after}`,
    token: async () => token,
    events: () => [],
    close() {},
    opened() {},
    heard() {},
    tell: (frame) => void place.take(frame),
    answered: (group) => void place.answered(group),
    advised: () => 0,
  };
  const ended = webSocket(line).catch((error: unknown) => error);
  await Promise.resolve();
  return { line, socket: Socket.last, ended };
}

it("subscribes to what began over another transport while it was under way, from the cursor on", async () => {
  const place = openPlace(null);
  place.stand = "a-5";
  place.starts.set("news", []);
  const { socket } = await open(place);
  expect(socket.url).toContain("ws://x/channels/news?after=a-5");
  place.starts.set("chat", []);
  place.stand = "a-9";
  socket.tell({ ready: { cursor: "a-5" } });
  expect(socket.said).toEqual([{ subscribe: { channels: ["chat"], after: "a-9" }, ref: 1 }]);
});

it("takes the cursor of `ok` also backwards: a cut behind it must find the older messages", async () => {
  const place = openPlace(null);
  place.stand = "a-5";
  place.starts.set("news", []);
  const { socket, line } = await open(place);
  socket.tell({ ready: { cursor: "a-5" } });
  place.starts.set("chat", [{ rewind: 2 }]);
  line.renew!();
  expect(socket.said[0]).toEqual({ subscribe: { channels: ["chat"], rewind: 2 }, ref: 1 });
  line.renew!();
  expect(socket.said.filter((one) => "subscribe" in one), "it is asked for once").toHaveLength(1);
  socket.tell({ ok: { cursor: "a-2" }, ref: 1 });
  expect(place.stand).toBe("a-2");
  expect(place.starts.get("chat")).toEqual([]);
});

it("asks again for a channel that it has, where an earlier start is wanted", async () => {
  const place = openPlace(null);
  place.stand = "a-5";
  place.starts.set("news", []);
  const { socket, line } = await open(place);
  socket.tell({ ready: { cursor: "a-5" } });
  place.starts.set("news", [{ after: "a-1" }]);
  line.renew!();
  expect(socket.said.slice(0, 2)).toEqual([
    { unsubscribe: { channels: ["news"] } },
    { subscribe: { channels: ["news"], after: "a-1" }, ref: 1 },
  ]);
});

it("goes by the range of a close code, and by 4001 and 4501 to another token", async () => {
  for (const [code, expected] of [
    [1006, {}],
    [4005, { final: false, unauthorized: false }],
    [4399, { final: false, unauthorized: false }],
    [4507, { final: true, unauthorized: false }],
    [1009, { final: true, unauthorized: false }],
    [4001, { final: false, unauthorized: true }],
    [4501, { final: false, unauthorized: true }],
  ] as const) {
    const place = openPlace(null);
    place.starts.set("news", [{}]);
    const { socket, ended } = await open(place);
    (socket as unknown as WebSocket).onopen!(new Event("open"));
    socket.onclose({ code, reason: "" });
    expect(await ended, String(code)).toMatchObject(expected);
  }
});

it("says its token first, and goes on where the server is open", async () => {
  const place = openPlace(null);
  place.starts.set("news", [{}]);
  const { socket } = await open(place, "secret");
  (socket as unknown as WebSocket).onopen!(new Event("open"));
  expect(socket.said).toEqual([{ auth: { token: "secret" }, ref: 0 }]);
  expect(socket.url).not.toContain("secret");
  socket.tell({ error: { code: "not_implemented" }, ref: 0 });
  socket.tell({ ready: { cursor: "a-5" } });
  expect(place.stand).toBe("a-5");
});
