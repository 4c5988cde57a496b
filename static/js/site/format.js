// How numbers and times are written: mirrors slmstudio/text/formatting.py.

const LOCALE = "en-US";
const NONE = "–";

/** @typedef {number | null | undefined} Missable */

/** @param {Missable} value @returns {value is null | undefined} */
export const isMissing = (value) => value === null || value === undefined;

/** 1234.5 as "1,235", with `digits` after the point. @param {Missable} value */
export const formatNumber = (value, digits = 0) =>
  isMissing(value) ? NONE : value.toLocaleString(LOCALE, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** 0.983 as "98%". @param {Missable} share */
export const formatPercent = (share, digits = 0) => (isMissing(share) ? NONE : `${formatNumber(share * 100, digits)}%`);

/** Bytes in thousands: "704 KB", "24 MB", "8.4 GB". @param {Missable} size */
export function formatBytes(size) {
  if (isMissing(size)) return NONE;
  if (size >= 0.95e9) return `${formatNumber(size / 1e9, size < 9.95e9 ? 1 : 0)} GB`;
  if (size >= 0.95e6) return `${formatNumber(size / 1e6)} MB`;
  return size >= 950 ? `${formatNumber(size / 1e3)} KB` : `${size} bytes`;
}

/** Seconds as "42 s", "3 min 20 s", "2 h 5 min". @param {number} seconds */
export function formatDuration(seconds) {
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  const [size, unit, rest, smaller] = total < 3600 ? [60, "min", total % 60, "s"] : [3600, "h", Math.floor((total % 3600) / 60), "min"];
  const whole = `${formatNumber(Math.floor(total / size))} ${unit}`;
  return rest ? `${whole} ${rest} ${smaller}` : whole;
}

/** "February 3, 2026". @param {string} day an ISO date */
export const formatDate = (day) => new Date(`${day}T00:00`).toLocaleDateString(LOCALE, { dateStyle: "long" });

/** "Feb 3" of a day that is known by its seconds in UTC. @param {number} seconds */
export const formatDay = (seconds) =>
  new Date(seconds * 1000).toLocaleDateString(LOCALE, { day: "numeric", month: "short", timeZone: "UTC" });

/** "2:05 PM". @param {Date} moment */
export const formatClock = (moment) => moment.toLocaleTimeString(LOCALE, { timeStyle: "short" }).replace(/\s/gu, " ");

/** To the second, for what is shown on hover: "Feb 3, 2026, 2:05:09 PM". @param {Date} moment */
export const formatExactTime = (moment) =>
  moment.toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "medium" }).replace(/\s/gu, " ");
