// One request and its answer, as polling and long-polling share them.
//
// Owns: the fetch, the reading of its answer, and what a refusal means. Does not own: when to ask.

/** The server said no. `final` says that asking again will not help; `wait` is its hint in seconds, if it gave one. */
export class Refused extends Error {
  constructor(problem, status, wait) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.final = problem.retry === false;
    this.wait = wait;
  }
}

/**
 * Fetches `ask.url` and returns the answer {messages, cursor, gap?, more?, advice?}.
 * Throws Refused, or the fetch's own error: after `patience` seconds, on `signal`, or when nobody answers.
 */
export async function get(ask, { signal, patience }) {
  // A half-open connection never fails by itself; patience does.
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patience * 1000)]);
  const response = await fetch(ask.url, { signal: limit });
  const body = await response.text();
  if (!response.ok) throw refusal(response, body);
  const answer = JSON.parse(body);
  ask.answered(response, body, answer);
  return answer;
}

/** Gives what is new in `answer` to the panel, gaps first, and moves the cursor. */
export function take(answer, cursor, panel) {
  for (const gap of answer.gap ?? []) {
    cursor.leap(gap);
    panel.gap(gap);
  }
  for (const message of answer.messages) {
    if (cursor.pass(message.id)) panel.message(message);
  }
  cursor.stand(answer.cursor);
}

function refusal(response, body) {
  const hint = Number(response.headers.get("Retry-After") ?? NaN);
  const json = response.headers.get("Content-Type")?.includes("json");
  return new Refused(json ? JSON.parse(body) : {}, response.status, Number.isNaN(hint) ? undefined : hint);
}
