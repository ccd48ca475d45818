// What happens to the page around a client: it is looked at again, frozen, put away, or the machine slept.
//
// Owns: the browser's events as a few moments. Invariant: no `unload`, which would keep the page out of the
// back/forward cache.

/**
 * `Wake`: what looks connected may be dead, or what was dead may work. `Suspend`: the page is put away or frozen.
 * `Resume`: it is back. `Tick`: every few seconds, as far as timers run at all.
 */
export const Moment = { Wake: 0, Suspend: 1, Resume: 2, Tick: 3 } as const;
export type Moment = (typeof Moment)[keyof typeof Moment];

const MOMENTS: Record<string, Moment> = {
  online: Moment.Wake,
  offline: Moment.Wake,
  pagehide: Moment.Suspend,
  pageshow: Moment.Resume,
  freeze: Moment.Suspend,
  resume: Moment.Resume,
};
const TICK_MS = 5000;
/** Nothing ran for so long, or nobody looked: a phone may have closed our sockets. */
const AWAY_MS = 5000;

/** Whether nobody looks at this page. */
export const isHidden = (): boolean => !!globalThis.document?.hidden;

/** Tell `happened` every moment; returns how to stop. */
export function watch(happened: (moment: Moment) => void): () => void {
  const stop = new AbortController();
  let hiddenAt = 0;
  let last = Date.now();

  // Some are the document's; on their way to it they pass by here.
  const on = (name: string, then: () => void): void => globalThis.addEventListener?.(name, then, { capture: true, signal: stop.signal });
  for (const name in MOMENTS) on(name, () => happened(MOMENTS[name]!));
  on("visibilitychange", () => {
    if (isHidden()) hiddenAt = Date.now();
    else if (Date.now() - hiddenAt > AWAY_MS) happened(Moment.Wake);
  });

  const timer = setInterval(() => {
    const now = Date.now();
    // The timers of hidden pages are late by design.
    const slept = now - last > TICK_MS + AWAY_MS && !isHidden();
    last = now;
    happened(slept ? Moment.Wake : Moment.Tick);
  }, TICK_MS);
  return () => {
    stop.abort();
    clearInterval(timer);
  };
}
