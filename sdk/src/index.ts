// Tidings in the browser: one client over WebSocket, Server-Sent Events, long-polling and polling.

import { openClient } from "./client.ts";
import type { Client } from "./client.ts";
import type { Options } from "./types.ts";

export type { Channel } from "./channel.ts";
export type { Client, Explanation } from "./client.ts";
export * from "./types.ts";

/** A client of the server at `url`; without one, of the server that this page came from. */
export function connect(url?: string | URL, options?: Options): Client;
export function connect(options?: Options): Client;
export function connect(url?: string | URL | Options, options: Options = {}): Client {
  return typeof url === "string" || url instanceof URL ? openClient(url, options) : openClient(undefined, url ?? options);
}
