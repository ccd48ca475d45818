// The last ten minutes of readings, as columns for the charts.
//
// Owns: their order, and where there is a hole. Does not own: how they come, what they look like.
// Invariant: times rise, and a reading is there once, however often and in whatever order it was told.

export const SPAN = 600; // seconds
const HOLE = 2.5; // seconds between two readings from which on some are missing: one is due each second

/** What is taken of a reading. Anybody may publish here: what lacks one of these is none of the collector's. */
const COLUMNS = {
  cpu: (data) => data.cpu_percent,
  load1: (data) => data.load?.[0],
  load5: (data) => data.load?.[1],
  load15: (data) => data.load?.[2],
  memory: (data) => data.memory_used_bytes,
  total: (data) => data.memory_total_bytes,
  read: (data) => data.disk_read_bytes_per_second,
  written: (data) => data.disk_written_bytes_per_second,
  in: (data) => data.network_in_bytes_per_second,
  out: (data) => data.network_out_bytes_per_second,
  loopback: (data) => data.loopback_bytes_per_second,
};

export class Readings {
  #rows = []; // {at, cpu, …}, by rising `at` (seconds)

  /** Take a reading; return whether it is one, and new. */
  take(data) {
    const row = { at: data?.at / 1000 };
    for (const [name, of] of Object.entries(COLUMNS)) row[name] = of(data ?? {});
    if (!Object.values(row).every(Number.isFinite)) return false;
    // Nearly always the last; one that waited at the collector may be older than what came meanwhile.
    let place = this.#rows.length;
    while (place && this.#rows[place - 1].at > row.at) place -= 1;
    if (this.#rows[place - 1]?.at === row.at) return false;
    this.#rows.splice(place, 0, row);
    while (this.#rows[0].at < this.last.at - SPAN) this.#rows.shift();
    return true;
  }

  get last() {
    return this.#rows.at(-1);
  }

  get first() {
    return this.#rows[0];
  }

  get count() {
    return this.#rows.length;
  }

  /** The pairs of times between which readings are missing. */
  get holes() {
    return this.#rows.flatMap(({ at }, i) => (i && at - this.#rows[i - 1].at > HOLE ? [[this.#rows[i - 1].at, at]] : []));
  }

  /** The times, and these columns; a hole is a row of nulls, so that no line bridges it. */
  columns(names) {
    const columns = [[], ...names.map(() => [])];
    let before = Infinity;
    for (const row of this.#rows) {
      if (row.at - before > HOLE) columns.forEach((column, i) => column.push(i ? null : (row.at + before) / 2));
      columns.forEach((column, i) => column.push(i ? row[names[i - 1]] : row.at));
      before = row.at;
    }
    return columns;
  }

  /** The reading at this time, or the next before it. */
  at(time) {
    return this.#rows.findLast(({ at }) => at <= time) ?? this.#rows[0];
  }
}
