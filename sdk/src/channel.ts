// One channel, as the application has it.
//
// Invariant: it is subscribed to as long as somebody listens, by `on` or by an iterator.

import type { Outbox } from "./outbox.ts";
import type { Gap, Message, PublishOptions, Receipt } from "./types.ts";

export interface Channel<T = unknown> extends AsyncIterable<Message<T>> {
  readonly name: string;
  /** Hear every message, those of one `event`, or the gaps; returns how to stop. */
  on(then: (message: Message<T>) => void): () => void;
  on(event: "gap", then: (gap: Gap) => void): () => void;
  on(event: string, then: (message: Message<T>) => void): () => void;
  /** Publish; resolves when the server has it. While there is no network it waits. Rejects with TidingsError. */
  publish(data: T, options?: PublishOptions): Promise<Receipt>;
}

/** What somebody is told, and of what kind it is. */
export type Tell = (kind: "message" | "gap", what: Message | Gap) => void;

/** Somebody who listens. */
export interface Ear {
  /** To messages of this `event` only. */
  event?: string;
  message?(message: Message): void;
  gap?(gap: Gap): void;
  end?(): void;
}

/**
 * `ears` are those who listen; `seat` is told of the first and, without `tell`, of the last. An iterator holds `most`.
 */
export function openChannel(name: string, ears: Set<Ear>, publish: Outbox["publish"], most: number, seat: (tell?: Tell) => void): Channel {
  const tell: Tell = (kind, what) => {
    for (const ear of [...ears]) {
      try {
        ear[kind]?.(what as Message & Gap);
      } catch (error) {
        // A listener's own error is the page's to see, and disturbs nobody else.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  };

  function add(ear: Ear): () => void {
    if (!ears.size) seat(tell);
    ears.add(ear);
    return () => {
      if (ears.delete(ear) && !ears.size) seat();
    };
  }

  return {
    name,
    on(event: unknown, then?: (what: never) => void) {
      if (!then) return add({ message: event } as Ear);
      if (event === "gap") return add({ gap: then });
      return add({ event: event as string, message: (message) => message.event === event && then(message as never) });
    },
    publish: (data, options = {}) => publish(name, data, options),
    [Symbol.asyncIterator]() {
      let held: Message[] = [];
      let after = "";
      let ended = false;
      let wake = (): void => {};
      const end = (): void => {
        ended = true;
        stop();
        wake();
      };
      const stop = add({
        message(message) {
          if (held.length >= most) {
            // Nobody reads: all that is held goes, and that is said.
            const resumed = held.at(-1)!.id;
            held = [];
            tell("gap", { channel: name, after, resumed, reason: "buffer" });
          }
          held.push(message);
          wake();
        },
        end,
      });
      return {
        async next() {
          while (!held[0] && !ended) await new Promise<void>((resolve) => (wake = resolve));
          const value = held.shift();
          after = value?.id ?? after;
          return { done: !value, value } as IteratorResult<Message>;
        },
        return() {
          held = [];
          end();
          return this.next();
        },
      };
    },
  };
}
