// Cursors: which of two is further, and how one moves (spec §3).
//
// Owns: comparing. Invariant: positions are compared exactly, beyond 2^53 too.

const FORM = /^([a-z0-9]{1,32})-(0|[1-9][0-9]{0,18})$/;

/** The epoch and the position, or null where the text is no cursor. */
export function read(text: string): string[] | null {
  return FORM.exec(text)?.slice(1) ?? null;
}

/** Whether a client that stands at `cursor` has had the message `id`. */
export function had(cursor: string | null | undefined, id = ""): boolean {
  const [epoch, position] = read(cursor ?? "") ?? [];
  const [its, number] = read(id) ?? [];
  return !!number && epoch === its && BigInt(number) <= BigInt(position!);
}

/** The earlier of two cursors; of two that cannot be compared, the first. */
export function earlier(one: string | null, other: string): string {
  return one === null || had(one, other) ? other : one;
}
