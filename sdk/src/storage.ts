// What is kept in the browser: which transport worked, and cursors over a reload.
//
// Invariant: storage that is missing, full or forbidden (private windows, Node) is as if it were empty.

const HOUR_MS = 3_600_000;

/** What is kept in this area under this name, after `value`, where there is one, was put there. */
export function kept<T>(area: "localStorage" | "sessionStorage", name: string, value?: T): T | null {
  try {
    const storage = globalThis[area];
    if (value) storage.setItem("tidings " + name, JSON.stringify(value));
    return JSON.parse(storage.getItem("tidings " + name)!) as T;
  } catch {
    return null;
  }
}

/** The transport that worked with this server within the last hour. */
export function remembered(url: string): string | undefined {
  const [transport, at] = kept<[string, number]>("localStorage", url) ?? [undefined, 0];
  return Date.now() - at < HOUR_MS ? transport : undefined;
}

export function remember(url: string, transport: string): void {
  kept("localStorage", url, [transport, Date.now()]);
}
