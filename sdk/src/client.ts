// The application's client: its channels, its state, and what it remembers over a reload.

import { openChannel } from "./channel.ts";
import type { Channel, Ear } from "./channel.ts";
import { openInbox } from "./inbox.ts";
import { note } from "./notes.ts";
import { openOutbox } from "./outbox.ts";
import { Moment, watch } from "./page.ts";
import { settle } from "./settings.ts";
import { openSource } from "./share.ts";
import type { Role, Source } from "./share.ts";
import { kept } from "./storage.ts";
import type { Options, Start, State } from "./types.ts";

/** What is told of the connection, for people. */
export interface Explanation {
  readonly state: State;
  readonly role: Role;
  readonly cursor: string | null;
  /** The channels that are listened to, and those of them that the server has begun to tell. */
  readonly channels: string[];
  readonly began: string[];
  /** What was tried and why it fell, and what was told; oldest first. */
  readonly tried: string[];
  readonly told: string[];
}

export interface Client {
  /** How the connection stands. A trouble shows when it has lasted for five seconds. */
  readonly state: State;
  /** The channel of this name; `start` counts where it was not asked for before. */
  channel<T = unknown>(name: string, start?: Start): Channel<T>;
  /** Hear of every change of the state; returns how to stop. */
  on(event: "state", then: (state: State) => void): () => void;
  /** What was tried, when, and why each fell. */
  explain(): Explanation;
  /** Stop for good. What waits to be published is sent once more. */
  close(): void;
}

const SAVE_MS = 500;

export function openClient(address: string | URL | undefined, options: Options): Client {
  const channels = new Map<string, { channel: Channel; ears: Set<Ear> }>();
  const listening = (): Ear[] => [...channels.values()].flatMap(({ ears }) => [...ears]);
  const settings = settle(address, options, () => listening().map(({ event = "message" }) => event));
  const { url, persist, bufferMessages = 1000 } = settings;
  const tried: string[] = [];
  const told: string[] = [];
  const inbox = openInbox();
  const { seats } = inbox;
  const outbox = openOutbox(settings);
  const listeners = new Set<(state: State) => void>();
  let state: State = { name: "idle", reason: "" };
  let source: Source | undefined;
  let saved: Record<string, Start> = {};
  let saving: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  function save(): void {
    clearTimeout(saving);
    saving = undefined;
    if (!persist) return;
    const starts = { ...saved };
    for (const [name, { start }] of seats) starts[name] = start ?? { after: inbox.stand! };
    kept("sessionStorage", url, [inbox.stand, starts]);
  }

  function show(next: State): void {
    state = next;
    note(told, `state ${next.name} ${next.reason}`);
    listeners.forEach((then) => then(next));
  }

  if (persist) [inbox.stand, saved] = kept<[string | null, Record<string, Start>]>("sessionStorage", url) ?? [null, {}];
  const unwatch = watch((moment) => {
    if (moment === Moment.Suspend) {
      save();
      outbox.flush();
    } else if (moment !== Moment.Tick) outbox.hurry();
    source?.moment(moment);
  });
  void settings.identity().then((identity) => {
    if (closed) return;
    source = openSource(settings, tried, inbox, identity, () => state, ({ item, state: next }) => {
      if (next) show(next);
      if (!item) return;
      const { message, gap } = item;
      if (message) note(told, `message ${message.id} ${message.channel}`);
      if (gap) note(told, JSON.stringify({ gap }));
      inbox.take(item);
      if (persist) saving ??= setTimeout(save, SAVE_MS);
    });
  });

  return {
    get state() {
      return state;
    },
    channel<T>(name: string, start?: Start | null) {
      if (!/^[\w.~:-]{1,200}$/.test(name)) throw new TypeError("no channel name: " + name);
      let found = channels.get(name);
      if (!found) {
        const ears = new Set<Ear>();
        const channel = openChannel(name, ears, outbox.publish, bufferMessages, (tell) => {
          if (tell) seats.set(name, { tell, start: saved[name] ?? start ?? {} });
          else seats.delete(name);
          delete saved[name];
          source?.wants();
        });
        channels.set(name, (found = { channel, ears }));
      }
      return found.channel as Channel<T>;
    },
    on(_event, then) {
      listeners.add(then);
      return () => listeners.delete(then);
    },
    explain: () => ({
      state,
      role: source?.role() ?? "alone",
      cursor: inbox.stand,
      channels: [...seats.keys()],
      began: [...seats].flatMap(([name, { start }]) => (start ? [] : name)),
      tried: [...tried],
      told: [...told],
    }),
    close() {
      closed = true;
      unwatch();
      save();
      source?.close();
      outbox.close();
      for (const ear of listening()) ear.end?.();
      show({ name: "idle", reason: "closed" });
      listeners.clear();
    },
  };
}
