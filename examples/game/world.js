// The world as the referee told it, at any moment in between: what makes thirty states a second look like movement.
//
// Owns: the states that came, and how far behind we draw. Does not own: drawing.
// We draw the world as it was a little ago, so that there nearly always is a state before and one behind that moment:
// as long ago as the states take to come. Over a WebSocket that is some 50 ms; who polls lives in the past.
// Pure: times come in as arguments, in milliseconds.

const TICK_MS = 1000 / 30;
const KEPT_MS = 6000;
const LEAST_MS = TICK_MS;
const MOST_MS = 5000;
const ADAPT_MS = 500;

export class World {
  #states = []; // {tick, came, players: Map, dots}, by rising tick
  #life = null;
  delay = 2 * TICK_MS;

  /** Take the state that `data` is, `now`. */
  take(data, now) {
    const { life, tick, players, dots } = data ?? {};
    if (!Number.isInteger(tick) || !Array.isArray(players) || !Array.isArray(dots)) return;
    if (life !== this.#life) this.#states = []; // another referee, another world
    this.#life = life;
    if (tick <= this.last?.tick) return;
    const byId = new Map(players.map(([id, name, x, y, size, points, n, since]) => [id, { name: String(name), x, y, size, points, n, since }]));
    this.#states.push({ tick, came: now, players: byId, dots });
    while (this.#states.length > 2 && this.#states[0].came < now - KEPT_MS) this.#states.shift();
    this.#adapt();
  }

  get last() {
    return this.#states.at(-1);
  }

  /** The moment of the world that a state that came without delay would be of, now. */
  #base() {
    return Math.min(...this.#states.map(({ tick, came }) => came - tick * TICK_MS));
  }

  /** Draw so far behind that of ten states nine come in time. */
  #adapt() {
    const base = this.#base();
    const late = this.#states.slice(1).map(({ came }, i) => came - this.#states[i].tick * TICK_MS - base);
    if (!late.length) return;
    late.sort((a, b) => a - b);
    const wanted = Math.min(MOST_MS, Math.max(LEAST_MS, late[Math.floor(late.length * 0.9)]));
    // Slowly, or everything would seem to jump.
    const [before, last] = this.#states.slice(-2);
    this.delay += (wanted - this.delay) * (1 - Math.exp((before.came - last.came) / ADAPT_MS));
  }

  /** The world to draw `now`: {players: Map, dots}, or null. A player's `n` is the last input that it has heeded by then. */
  at(now) {
    const states = this.#states;
    if (!states.length) return null;
    const tick = (now - this.#base() - this.delay) / TICK_MS;
    const next = states.findIndex((state) => state.tick > tick);
    if (next < 1) {
      return next ? states.at(-1) : states[0];
    }
    const [from, to] = [states[next - 1], states[next]];
    const share = (tick - from.tick) / (to.tick - from.tick);
    const players = new Map();
    for (const [id, one] of to.players) {
      const was = from.players.get(id) ?? one;
      const between = (name) => was[name] + (one[name] - was[name]) * share;
      players.set(id, { ...one, x: between("x"), y: between("y"), size: between("size"), n: tick >= one.since ? one.n : was.n });
    }
    return { players, dots: from.dots };
  }
}
