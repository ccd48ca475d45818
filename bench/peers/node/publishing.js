/* What every peer of this folder has: an HTTP server that takes `POST /channels/NAME`, and messages rendered as Tidings
 * renders them, once for each.
 *
 * Owns: the bytes, so that all servers of a comparison send as many, and publishing. Does not own: who gets them.
 * usage of each peer: node PEER.js --port PORT [--epoch EPOCH]
 */
import { createServer } from "node:http";
import { parseArgs } from "node:util";

export const { values: options } = parseArgs({
  options: { port: { type: "string" }, epoch: { type: "string", default: "9f3k" }, recovery: { type: "boolean", default: false } },
});

let position = 0;

/**
 * What is between publishers and subscribers: `publish(channel, data)`, where data is JSON as text, and an HTTP server that
 * calls it. `deliver(channel, message)` hands a rendered message to all subscribers; where it returns a promise, the
 * publisher's answer waits for it.
 */
export function publishing(deliver) {
  async function publish(channel, data) {
    position += 1;
    const id = `${options.epoch}-${position}`;
    await deliver(channel, `{"id":"${id}","channel":"${channel}","time":${Date.now()},"data":${data}}`);
    return id;
  }

  // A publisher that is silent for a while must find its connection as it left it.
  const server = createServer({ noDelay: true, keepAliveTimeout: 3_600_000 });
  server.on("request", (request, response) => {
    const channel = /^\/channels\/([\w.~:-]+)$/.exec(request.url)?.[1];
    if (request.method !== "POST" || !channel) {
      response.writeHead(404).end();
      return;
    }
    let data = "";
    request.setEncoding("utf8");
    request.on("data", (chunk) => (data += chunk));
    request.on("end", async () => {
      const body = `{"id":"${await publish(channel, data)}","durability":"memory"}`;
      response.writeHead(201, { "Content-Type": "application/json", "Content-Length": body.length }).end(body);
    });
  });
  return { server, publish };
}

/** Begin to accept, when everything is attached. */
export function listen(server) {
  server.listen({ port: Number(options.port), host: "127.0.0.1", backlog: 4096 });
}

/** Subscribers by channel, for libraries that have no notion of one. */
export class Channels {
  #members = new Map();

  join(name, member) {
    if (!this.#members.has(name)) this.#members.set(name, new Set());
    this.#members.get(name).add(member);
  }

  leave(name, member) {
    const members = this.#members.get(name);
    members?.delete(member);
    if (members?.size === 0) this.#members.delete(name);
  }

  of(name) {
    return this.#members.get(name) ?? [];
  }
}
