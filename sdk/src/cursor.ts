// Cursors: which of two is further, and how one moves (spec §3).
//
// Owns: comparing and joining. Invariant: positions are compared exactly, beyond 2^53 too.

const FORM = /^[a-z0-9]{1,32}(-(0|[1-9]\d{0,18})|(-(0|[1-9]\d{0,18})\.(0|[1-9]\d{0,18}))+)$/;

/** By partition, or under "" where the log has none. */
type Positions = Record<string, bigint>;

/** The epoch and the positions, or nothing where the text is no cursor. */
export function read(text?: string | null): [epoch: string, positions: Positions] | [] {
  if (!FORM.test(text!)) return [];
  const [epoch, ...places] = text!.split("-");
  const positions: Positions = {};
  for (const place of places) {
    const [position, partition = ""] = place.split(".").reverse();
    positions[partition] = BigInt(position!);
  }
  return [epoch!, positions];
}

/**
 * Where a client stands that stood at `cursor` and takes what is at `id`: in each partition at the higher position, or
 * with `lower` at the lower one. Of two that cannot be compared it is at `id`, or at `cursor` where there is one.
 */
export function further(cursor: string | null | undefined, id: string, lower?: true): string {
  const [epoch, mine] = read(cursor);
  const [its, positions] = read(id);
  const other = (lower && cursor) || id;
  if (!its || its !== epoch) return other;
  for (const partition in mine) {
    // One of the two has no partitions.
    if (!partition !== "" in positions!) return other;
    const here = mine[partition]!;
    const there = positions![partition]!;
    if (!(lower ? here > there : there > here)) positions![partition] = here;
  }
  // Keys that are whole numbers come in their order.
  return its + Object.entries(positions!).map(([partition, position]) => "-" + (partition && partition + ".") + position).join("");
}

/** Whether a client that stands at `cursor` has had the message `id`: it is in no partition above the cursor. */
export function had(cursor: string | null | undefined, id: string): boolean {
  return further(cursor, id) === cursor;
}
