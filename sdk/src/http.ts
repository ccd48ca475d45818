// One request, and what can be wrong with its answer, in plain words.
//
// Owns: statuses, problems and the network's failures as a Cut. Does not own: when to ask again (machine.ts).

import { TOO_LATE } from "./machine.ts";
import type { Cut } from "./machine.ts";
import type { Problem } from "./types.ts";

const NOT_OURS = "the answer is of something on the way, or broke off";
/** No answer came for so long. */
const PATIENCE_MS = 10_000;

export interface Ask {
  headers?: Record<string, string>;
  token?: string | undefined;
  signal?: AbortSignal;
  /** Seconds that the answer may hang, beyond what all may. */
  wait?: number | undefined;
  /** With a body it is a POST. */
  body?: string;
  keepalive?: boolean;
}

/** What `read` makes of an answer of the status 200. Throws a Cut, as it is: that is no error, and nobody needs its stack. */
export async function ask<T>(
  url: string,
  { headers, token, signal, wait = 0, body, keepalive }: Ask,
  read: (response: Response) => T | Promise<T>,
): Promise<T> {
  const patience = new AbortController();
  const abort = (): void => patience.abort();
  const timer = setTimeout(abort, PATIENCE_MS + wait * 1000);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  let status = 0;
  try {
    const response = await fetch(url, {
      headers: { ...headers, ...(token && { Authorization: "Bearer " + token }) },
      signal: patience.signal,
      ...(body && { method: "POST", body }),
      keepalive: keepalive!,
    });
    ({ status } = response);
    if (status !== 200) throw await refusal(response, token);
    return await read(response);
  } catch (error) {
    if ((error as Cut).why) throw error;
    throw patience.signal.aborted ? { why: TOO_LATE } : status ? { why: NOT_OURS } : { why: unreachable(url), unreachable: true };
  } finally {
    clearTimeout(timer);
  }
}

/** A problem as the reason of a cut (spec §7). */
export function refused(problem: Problem): Cut {
  return { why: `${problem.code}: ${problem.detail ?? problem.title}`, final: !problem.retry, problem };
}

async function refusal(response: Response, token: string | undefined): Promise<Cut> {
  const { status, headers } = response;
  const problem = (await response.json().catch(() => null)) as Problem | null;
  const cut: Cut = problem?.code ? refused(problem) : { why: NOT_OURS, final: status === 401 || status === 403 };
  const unauthorized = status === 401 && !!token;
  const hint = 1000 * Number(headers.get("Retry-After")) || 0;
  return {
    ...cut,
    why: status + " " + cut.why,
    unauthorized,
    hint,
    // What the server says to this transport it would say to the others, too.
    unreachable: !!(hint || problem?.retry),
    // 426: a proxy that takes the Upgrade out.
    final: cut.final! && !unauthorized && status !== 426,
  };
}

let blocked = "";
globalThis.document?.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
  if (effectiveDirective === "connect-src") blocked = blockedURI;
});

/** Why nothing came from `url`, as far as a page can know. */
export function unreachable(url: string): string {
  const { host, origin } = new URL(url);
  if (blocked.includes(host)) return `the Content-Security-Policy must name ${origin} in connect-src`;
  return `no answer from ${host}: refused, cut, or not for this origin`;
}
