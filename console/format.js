// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const cents = new Intl.NumberFormat("en", {minimumFractionDigits: 2, maximumFractionDigits: 2});
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 2});

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const money = (value) => (value === null || value === undefined ? "–" : cents.format(value));
export const compact = (value) => (value === null || value === undefined ? "–" : short.format(value));

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? whole.format(value) : value.toPrecision(3)} ${units[unit]}`;
}

/** A duration in microseconds. */
export function micros(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1000).toPrecision(3)} ms`;
  return seconds(value / 1e6);
}

export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} days`;
}

/** How long ago a time was. */
export function ago(time) {
  if (!time) return "–";
  return `${seconds(Math.max(0, (Date.now() - Date.parse(time)) / 1000))} ago`;
}

export function clock(time) {
  return time ? new Date(time).toLocaleTimeString("en-GB") : "–";
}

/** A value of a table. */
export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Math.round(value * 1e8) / 1e8);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
