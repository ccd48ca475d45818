// WebSocket: one connection, both ways. Each frame is one JSON object whose first key says what it is (spec §5.4).

import { refused, unreachable } from "../http.ts";
import type { Cut } from "../machine.ts";
import type { Group } from "../place.ts";
import type { Start } from "../types.ts";
import type { Command, Frame } from "../wire.ts";
import type { Line } from "./line.ts";
import { ended } from "./sse.ts";

const TOKEN_REF = 0;

export async function webSocket(line: Line): Promise<void> {
  const { place, signal } = line;
  const token = await line.token();
  if (signal.aborted) return;
  const asked = place.asking();
  // The channels that this connection has, and what was asked and not answered, by its `ref`.
  const has = new Set(asked.names);
  const asking = new Map<unknown, Group>();
  let ref = 0;
  let opened = false;
  // Without a channel the connection has no cursor.
  const url = line.url(asked.names, { after: has.size ? place.stand : null }).replace("http", "ws");
  const socket = new WebSocket(url, "tidings.v1");

  return new Promise((_resolve, cut: (why: Cut) => void) => {
    const say = (command: Command): void => socket.send(JSON.stringify(command));

    function leave(channels: string[]): void {
      for (const name of channels) has.delete(name);
      if (channels[0]) say({ unsubscribe: { channels } });
    }

    function enter(group: Group, start: Start): void {
      const { names } = group;
      // What it has already it would leave as it is.
      leave(names.filter((name) => has.has(name)));
      for (const name of names) has.add(name);
      asking.set(++ref, group);
      say({ subscribe: { channels: names, ...start }, ref });
    }

    /** Ask for what is wanted and not had, and give back what is not wanted. */
    function sync(): void {
      leave([...has].filter((name) => !place.starts.has(name)));
      // While this one was under way, channels may have begun over another.
      const names = place.asking().names.filter((name) => !has.has(name));
      if (names[0]) enter({ names, starts: [] }, { after: place.stand! });
      const underWay = (): (Start | undefined)[] => [...asking.values()].flatMap(({ starts }) => starts);
      for (let group; (group = place.apart(underWay())); ) enter(group, group.starts[0]!);
    }

    signal.addEventListener("abort", () => socket.close());
    socket.onopen = () => {
      opened = true;
      line.opened();
      if (token) say({ auth: { token }, ref: TOKEN_REF });
    };
    const closed = (end: NonNullable<Frame["end"]>): void => cut(opened ? ended(end) : { why: unreachable(url) });
    socket.onclose = closed;
    // Where the page's policy forbids it, Chromium says only this.
    socket.onerror = () => setTimeout(closed, 0, { code: 1006 });
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return;
      const frame = JSON.parse(data as string) as Frame;
      const { ok, error } = frame;
      const group = asking.get(frame.ref);
      asking.delete(frame.ref);
      if (frame.ready) {
        line.renew = () => {
          sync();
          say({ ping: 1 });
        };
        line.answered(asked, frame.ready.cursor);
        line.tell(frame);
        sync();
      } else if (ok && group) {
        // The one cursor may go back, for the new channels' sake (spec §5.4, a later `subscribe`).
        place.move(ok.cursor!);
        line.answered(group, ok.cursor!);
        sync();
      } else if (error && group) {
        cut(refused(error));
      } else if (error && frame.ref === TOKEN_REF) {
        // An open server takes no tokens, and needs none.
        if (error.code !== "not_implemented") cut({ ...refused(error), final: false, unauthorized: true });
      } else if (!ok && !error) line.tell(frame);
    };
  });
}
