// The client in Node, with a real HTTP server that answers what ours would not.

import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it } from "vitest";
import { connect } from "../src/index.ts";
import type { Client, Options } from "../src/index.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse, body: string) => void): Promise<string> {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part: Buffer) => (body += part.toString()));
    request.on("end", () => answer(request, response, body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function client(url: string, options: Options): Client {
  const made = connect(url, options);
  ends.push(() => made.close());
  return made;
}

function reach(one: Client, name: string): Promise<string> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (one.state.name === name) resolve(one.state.reason);
    };
    one.on("state", look);
    look();
  });
}

const answer = (response: ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status, { "Content-Type": status < 300 ? "application/json" : "application/problem+json" });
  response.end(JSON.stringify(body));
};
const nothing = { messages: [], cursor: "a-1", advice: { poll_ms: 20 } };

it("a token that is not taken is fetched anew, once, and then it goes on", async () => {
  const seen: (string | undefined)[] = [];
  const url = await serve((request, response) => {
    seen.push(request.headers.authorization);
    if (request.headers.authorization === "Bearer 2") answer(response, 200, nothing);
    else answer(response, 401, { code: "bad_token", detail: "It has run out.", retry: false });
  });
  let fetched = 0;
  const one = client(url, { transports: ["polling"], token: async () => String(++fetched) });
  one.channel("news").on(() => {});
  await reach(one, "live");
  expect(fetched).toBe(2);
  expect(seen.slice(0, 2)).toEqual(["Bearer 1", "Bearer 2"]);
});

it("a fresh token that is not taken either ends it, and so does a denial; both say why", async () => {
  for (const [status, code, fetches] of [
    [401, "bad_token", 2],
    [403, "denied", 1],
  ] as const) {
    const url = await serve((_request, response) => answer(response, status, { code, detail: "Not you.", retry: false }));
    let fetched = 0;
    const one = client(url, { transports: ["polling"], token: () => String(++fetched) });
    one.channel("news").on(() => {});
    expect(await reach(one, "failed")).toContain(`${status} ${code}: Not you.`);
    expect(fetched).toBe(fetches);
  }
});

it("channels that begin with their past are told it in one request each, and nothing falls", async () => {
  const asked: string[] = [];
  const past = ["a-1", "a-2", "a-3"].map((id) => ({ id, channel: "news", time: 0, data: id }));
  const url = await serve((request, response) => {
    asked.push(request.url!);
    answer(response, 200, request.url!.includes("earliest") ? { ...nothing, cursor: "a-3", messages: past } : { ...nothing, cursor: "a-3" });
  });
  const one = client(url, { transports: ["polling"] });
  const heard: unknown[] = [];
  one.channel("news", { after: "earliest" }).on(({ data }) => heard.push(data));
  one.channel("chat", { rewind: 1 }).on(() => {});
  await reach(one, "live");
  expect(heard).toEqual(["a-1", "a-2", "a-3"]);
  expect(asked.slice(0, 3)).toEqual(["/channels/news?after=earliest", "/channels/chat?rewind=1", "/channels/news,chat?after=a-3"]);
  expect(one.explain().tried.filter((line) => /polling:/.test(line))).toEqual([]);
});

it("a channel that begins at a node that is behind misses nothing, and the others are told nothing twice", async () => {
  const message = (channel: string, id: string) => ({ id, channel, time: 0, data: id });
  const ahead = [message("chat", "a-4"), message("news", "a-5")];
  const url = await serve((request, response) => {
    const asked = request.url!;
    if (asked.includes("rewind")) answer(response, 200, { ...nothing, messages: [message("chat", "a-2")], cursor: "a-3" });
    else if (!asked.includes("after")) answer(response, 200, { ...nothing, cursor: "a-4" });
    else answer(response, 200, { ...nothing, messages: ahead.filter(({ id, channel }) => id > asked.split("=")[1]! && asked.includes(channel)), cursor: "a-5" });
  });
  const one = client(url, { transports: ["polling"] });
  const heard: unknown[] = [];
  one.channel("news").on(({ data }) => heard.push(data));
  await expect.poll(() => heard).toEqual(["a-5"]);
  one.channel("chat", { rewind: 1 }).on(({ data }) => heard.push(data));
  await expect.poll(() => heard).toEqual(["a-5", "a-2", "a-4"]);
  await expect.poll(() => one.explain().cursor).toBe("a-5");
  expect(heard).toEqual(["a-5", "a-2", "a-4"]);
});

it("a start of null is none: the channel begins when the server says so, and now", async () => {
  const asked: string[] = [];
  const url = await serve((request, response) => {
    asked.push(request.url!);
    answer(response, 200, nothing);
  });
  const one = client(url, { transports: ["polling"] });
  one.channel("news", null as unknown as undefined).on(() => {});
  expect(one.explain().began).toEqual([]);
  await expect.poll(() => one.explain().began).toEqual(["news"]);
  expect(asked[0]).toBe("/channels/news");
});

it("what is no answer of the server's is something on the way: another transport is tried", async () => {
  const url = await serve((request, response) => {
    if (request.headers.accept === "text/event-stream") response.end("<h1>Please log in to this network</h1>");
    else answer(response, 200, nothing);
  });
  const one = client(url, { transports: ["sse", "polling"] });
  one.channel("news").on(() => {});
  await reach(one, "live");
  expect(one.state.transport).toBe("polling");
  expect(one.explain().tried.join()).toContain("sse: the answer is of something on the way");
});

it("a stream of which only the head comes is being buffered, and it goes on without it", async () => {
  const url = await serve((request, response) => {
    if (request.headers.accept === "text/event-stream") response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
    else answer(response, 200, nothing);
  });
  const one = client(url, { transports: ["sse", "long-polling"] });
  one.channel("news").on(() => {});
  await reach(one, "live");
  expect(one.state.transport).toBe("long-polling");
});

it("a publish whose answer was lost is sent again with the same key, in its order, and settles once", async () => {
  const bodies: string[] = [];
  const url = await serve((request, response, body) => {
    bodies.push(body);
    if (bodies.length === 1) return request.socket.destroy();
    const lines = body.split("\n").map((line) => JSON.parse(line) as { data: number });
    response.end(lines.map(({ data }) => JSON.stringify(data === 2 ? { code: "bad_key", detail: "No.", retry: false } : { id: `a-${data}`, durability: "memory" })).join("\n"));
  });
  const news = client(url, { transports: ["polling"] }).channel<number>("news");
  const said = await Promise.allSettled([1, 2, 3].map((n) => news.publish(n)));
  expect(said.map((one) => (one.status === "fulfilled" ? one.value.id : (one.reason as { code: string }).code))).toEqual(["a-1", "bad_key", "a-3"]);
  expect(bodies).toHaveLength(2);
  expect(bodies[1]).toBe(bodies[0]);
  expect(new Set(bodies[0]!.split("\n").map((line) => (JSON.parse(line) as { idempotency_key: string }).idempotency_key)).size).toBe(3);
});

it("a closed client says of each publish what became of it", async () => {
  const url = await serve((request) => request.socket.destroy());
  const one = connect(url, { transports: ["polling"] });
  const waiting = one.channel("news").publish(1);
  one.close();
  await expect(waiting).rejects.toMatchObject({ code: "closed" });
  await expect(one.channel("news").publish(2)).rejects.toMatchObject({ code: "closed" });
});

it("an iterator ends when the client is closed", async () => {
  const url = await serve((_request, response) => answer(response, 200, nothing));
  const one = client(url, { transports: ["polling"] });
  const done = (async () => {
    for await (const message of one.channel("news")) expect(message).toBeUndefined();
  })();
  await reach(one, "live");
  one.close();
  await done;
});
