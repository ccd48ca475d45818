// Numbers and times as the page writes them.

const whole = new Intl.NumberFormat("en");
const BYTES = ["B", "kB", "MB", "GB", "TB"]; // thousands, not 1,024s

/** [number, unit] of so many bytes: ["12.3", "kB"]. */
export function bytes(count) {
  let unit = 0;
  while (count >= 999.5 && unit < BYTES.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return [unit === 0 || count >= 99.95 ? count.toFixed(0) : count.toFixed(1), BYTES[unit]];
}

export const count = (number) => whole.format(number);
export const percent = (share) => `${Math.round(share * 100)} %`;
export const milliseconds = (ms) => (ms < 1 ? "< 1" : whole.format(Math.round(ms)));
export const seconds = (value) => `${Number(value.toFixed(2))} s`;

/** The time of day to the second, 24 hours: 14:03:22. */
export const timeOfDay = (ms) => new Date(ms).toLocaleTimeString("en-GB");
