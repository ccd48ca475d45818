// What happened lately, for `explain()`.
//
// Invariant: bounded, by count and by the length of each note.

const KEPT = 100;
const LONGEST = 300;

export interface Notes {
  add(text: string): void;
  list(): string[];
}

export function openNotes(): Notes {
  const notes: string[] = [];
  return {
    add(text) {
      const length = notes.push(new Date().toISOString().slice(11, 24) + " " + text.slice(0, LONGEST));
      if (length > KEPT) notes.shift();
    },
    list: () => [...notes],
  };
}
