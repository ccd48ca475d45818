// What happened lately, for `explain()`.
//
// Invariant: bounded, by count and by the length of each note.

const KEPT = 100;
const LONGEST = 300;

/** Add to these notes, oldest first. */
export function note(notes: string[], text: string): void {
  if (notes.push(new Date().toISOString().slice(11, 24) + " " + text.slice(0, LONGEST)) > KEPT) notes.shift();
}
