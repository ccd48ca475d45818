// Answers to polls, which all transports over HTTP need: two to listen, and each to begin a channel.

import { ask } from "../http.ts";
import type { Start } from "../types.ts";
import type { Answer, Parameters } from "../wire.ts";
import type { Line } from "./line.ts";

/**
 * Ask once for all channels, from the cursor on, and tell the answer; return whether there is more. With `wait`, the
 * answer may hang for so many seconds. Throws a Cut.
 */
export async function listen(line: Line, signal: AbortSignal, wait?: number): Promise<boolean | undefined> {
  await begin(line, signal);
  const { place } = line;
  const asked = place.asking();
  const { cursor, more } = await poll(line, signal, asked.names, { after: place.stand, wait });
  line.answered(asked, cursor);
  line.tell({ at: cursor });
  return more;
}

/**
 * Ask for what channels begin with, where one request for all cannot say it: each group by polls of its own, until
 * it stands at a cursor behind which the joint request goes on. What that brings twice is dropped by its id.
 */
export async function begin(line: Line, signal: AbortSignal): Promise<void> {
  for (let group; (group = line.place.apart()) && !signal.aborted; ) {
    const [start] = group.starts;
    const { cursor, more } = await poll(line, signal, group.names, start!, start);
    line.answered(group, cursor, more);
  }
}

async function poll(line: Line, signal: AbortSignal, names: string[], parameters: Parameters, aside?: Start): Promise<Answer> {
  const asked = { token: await line.token(), signal, wait: parameters.wait };
  const answer = await ask(line.url(names, parameters), asked, (response) => response.json() as Promise<Answer>);
  const { messages, gap: gaps = [], advice } = answer;
  for (const gap of gaps) line.tell({ gap }, aside);
  for (const message of messages) line.tell({ message }, aside);
  if (advice) line.tell({ advice }, aside);
  return answer;
}
