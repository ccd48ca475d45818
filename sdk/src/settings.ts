// What the options mean for a connection.

import { openTokens } from "./tokens.ts";
import type { Tokens } from "./tokens.ts";
import type { Options, TransportName } from "./types.ts";

export interface Settings extends Options {
  /** Ends with a slash. */
  url: string;
  transports: readonly TransportName[];
  tokens: Tokens;
  /** Whose connection it is: tabs of the same identity may share one. Null: nobody else's. */
  identity(): Promise<string | null>;
  /** The events that somebody listens for by name. */
  events(): Iterable<string>;
}

export function settle(url: string | URL | undefined, options: Options, events: () => Iterable<string>): Settings {
  const { token, share = true, transports = ["websocket", "sse", "long-polling", "polling"] } = options;
  // Outside of a page, and without a URL, this throws.
  const { origin, pathname } = new URL(url ?? "/", globalThis.location?.href);
  const tokens = openTokens(token);
  return {
    ...options,
    url: (origin + pathname).replace(/^ws/, "http").replace(/\/?$/, "/"),
    transports,
    tokens,
    events,
    async identity() {
      // EventSource hands on only events that are asked for by name, and the other tabs' names are not known.
      if (!share || transports.includes("eventsource")) return null;
      if (typeof share === "string") return share;
      return token ? tokens.claims() : "";
    },
  };
}
