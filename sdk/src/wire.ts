// The words that others read or write: the server (spec/protocol.md), and other tabs, perhaps of another release.
//
// Owns: types. Invariant: the names of all members here reach the built file as they are (internal_names.mjs).

import type { Gap, Message, Problem, Start, State } from "./types.ts";

export interface Advice {
  readonly poll_ms?: number;
  readonly retry_ms?: number;
  readonly transport?: string;
  readonly reconnect_within_ms?: number;
}

/** One object of the wire; a WebSocket's frames have this form (spec §5.4), and the others are read into it. */
export interface Frame {
  readonly ready?: { readonly cursor: string; readonly channels?: readonly string[] };
  readonly message?: Message;
  readonly gap?: Gap;
  readonly advice?: Advice;
  readonly ok?: { readonly cursor?: string };
  readonly error?: Problem;
  readonly end?: { readonly code?: number; readonly reason?: string | undefined };
  readonly ref?: unknown;
  /** Not on the wire: an answer's cursor, or the id of a gap on an event stream. */
  readonly at?: string;
}

/** What is said on a WebSocket. */
export interface Command {
  subscribe?: Start & { channels: string[] };
  unsubscribe?: { channels: string[] };
  auth?: { token: string };
  ping?: number;
  ref?: unknown;
}

/** The parameters of a URL; those without a value are left out. */
export interface Parameters {
  after?: string | null | undefined;
  rewind?: number | string | undefined;
  wait?: number | undefined;
}

/** The answer to a poll. */
export interface Answer {
  messages: Message[];
  cursor: string;
  gap?: Gap[];
  more?: boolean;
  advice?: Advice;
}

/** A line of a batch. */
export interface Publish {
  channel: string;
  data: unknown;
  event: string | undefined;
  key: string | undefined;
  idempotency_key: string;
}

/** What an application is told. */
export interface Item {
  message?: Message | undefined;
  gap?: Gap | undefined;
  /** These channels begin behind `at`; with `next`, when they have been told what that asks for. */
  began?: { names: string[]; at: string };
  next?: Start | undefined;
  /** For who asked for this start; without one, for all that have begun. */
  start?: Start | undefined;
  /** Everything up to here was told. */
  cursor: string | null;
}

/** By channel: where it is to begin; nothing where it has begun. */
export type Wants = Record<string, Start | undefined>;

/** What one tab says to the others. */
export interface Call {
  from: string;
  want?: Wants | undefined;
  cursor?: string | null;
  /** This tab is gone. */
  leave?: boolean;
  /** Is anybody leading, and is the connection alive? */
  ping?: boolean;
  /** I lead: say what you want; `anew`: I do not know you yet. */
  lead?: boolean;
  anew?: boolean;
  item?: Item | undefined;
  state?: State | undefined;
}
