// Comparing what is plain data.

/** Whether both would be written alike as JSON. */
export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
