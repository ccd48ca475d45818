// What a transport is given, and the shape that all of them have.

import type { Group, Place } from "../place.ts";
import type { Start } from "../types.ts";
import type { Frame, Parameters } from "../wire.ts";

/** One attempt to listen over one transport. */
export interface Line {
  readonly place: Place;
  /** Aborts when the line is closed. */
  readonly signal: AbortSignal;
  close(): void;
  /** The URL of these channels; those without a value are left out. */
  url(names: readonly string[], parameters: Parameters): string;
  token(): Promise<string | undefined>;
  /** The names of events that somebody listens for. */
  events(): Iterable<string>;
  /** The head of the answer is there. */
  opened(): void;
  /** There is life: any byte. */
  heard(): void;
  /** Hand on what was told; `aside`: by a request for this start, not for all channels, so that the cursor stays. */
  tell(frame: Frame, aside?: Start): void;
  /** Channels begin behind `cursor`; with `more`, they are first to be asked for on from there. */
  answered(group: Group, cursor: string, more?: boolean): void;
  /** Milliseconds between polls that the server advised last. */
  advised(): number;
  /** Set by the transport: ask again at once, for what is wanted now. */
  renew?: () => void;
}

/** Listens until it is cut, and then throws a Cut; returns only after `signal` has aborted. */
export type Transport = (line: Line) => Promise<void>;
