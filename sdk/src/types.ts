// What the application sees.
//
// Owns: types. Invariant: what is also on the wire has its names there.

export type TransportName = "websocket" | "sse" | "eventsource" | "long-polling" | "polling";

export interface Message<T = unknown> {
  /** The cursor just behind this message. */
  readonly id: string;
  readonly channel: string;
  /** When the log took it, in milliseconds since 1970. */
  readonly time: number;
  readonly event?: string;
  readonly key?: string;
  readonly data: T;
}

/** Messages of one channel that can no longer be had: those between `after` and `resumed`. */
export interface Gap {
  readonly channel: string;
  readonly after: string;
  readonly resumed: string;
  /** The server's reasons, and `buffer`: an iterator of this page was not read. */
  readonly reason: "retention" | "epoch" | "ahead" | "cursor" | "buffer";
}

export interface Receipt {
  readonly id: string;
  readonly durability: "memory" | "stored" | "synced";
  readonly duplicate?: boolean;
}

export type StateName = "idle" | "connecting" | "live" | "recovering" | "offline" | "failed";

export interface State {
  readonly name: StateName;
  /** Why, in plain words; empty where there is nothing to say. */
  readonly reason: string;
  readonly transport?: TransportName | undefined;
}

/** Where a channel begins. With none of them: now. */
export interface Start {
  /** Behind this cursor, or with the `earliest` message that is kept. */
  readonly after?: string;
  /** The last 20 messages, or those of the last "30s". */
  readonly rewind?: number | string;
}

export interface PublishOptions {
  readonly event?: string;
  readonly key?: string;
  /** The same key on the same channel publishes once. Without one, the client makes one. */
  readonly idempotencyKey?: string;
}

export interface Options {
  /** A token, or a function that fetches a fresh one. */
  readonly token?: string | (() => string | Promise<string>);
  /** The transports to try, in this order. */
  readonly transports?: readonly TransportName[];
  /** Keep the cursor over a reload of this tab. */
  readonly persist?: boolean;
  /**
   * One connection for all tabs of this browser: `true` by default, where a token is a JWT of the same claims. A text
   * says whose connection it is, where tokens do not.
   */
  readonly share?: boolean | string;
  /** Messages that an iterator which is not read holds before it says so by a gap; 1,000 by default. */
  readonly bufferMessages?: number;
  /** Messages to publish that wait for the network, at most; 1,000 by default. */
  readonly queueMessages?: number;
  /** And their bytes; 1 MiB by default. */
  readonly queueBytes?: number;
}

export interface Problem {
  readonly code: string;
  readonly status?: number;
  readonly title?: string;
  readonly detail?: string;
  readonly retry?: boolean;
}

/** A refusal, of the server or of this client. */
export class TidingsError extends Error {
  declare readonly code: string;
  declare readonly status: number | undefined;
  declare readonly retry: boolean;

  constructor(problem: Problem) {
    super(problem.detail || problem.title || problem.code);
    Object.assign(this, problem, { name: "TidingsError", retry: !!problem.retry });
  }
}
