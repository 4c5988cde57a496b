// An answer that comes while the person types on: it is about what was sent, and holds for all that is still so.

import { isRaw, join, own } from "./paths.js";

export const inside = (entry) => entry !== null && typeof entry === "object" && !isRaw(entry);
const isPair = (entry) => inside(entry) && Object.keys(entry).every((name) => name === "key" || name === "value");

// The paths whose values differ between two entries; where rows came or went, or names of a map, the path of the rows.
export function differing(one, other, path = "", found = []) {
  if (one === other) return found;
  const alike = inside(one) && inside(other) && Array.isArray(one) === Array.isArray(other);
  if (!alike) {
    if (JSON.stringify(one) !== JSON.stringify(other)) found.push(path);
  } else if (Array.isArray(one)) {
    const rows = one.length === other.length && !one.every(isPair);
    if (rows) one.forEach((entry, index) => differing(entry, other[index], join(path, index), found));
    else if (JSON.stringify(one) !== JSON.stringify(other)) found.push(path);
  } else {
    for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
      // The form that a value is in, and the names beside those of the schema, are no part of the way.
      const here = key.startsWith("$") ? path : join(path, key);
      differing(own(one, key), own(other, key), here, found);
    }
  }
  return found;
}

// The steps to the first place where two entries differ; null where they do not.
export function firstDifference(one, other, steps = []) {
  if (one === other) return null;
  if (!inside(one) || !inside(other) || Array.isArray(one) !== Array.isArray(other)) {
    return JSON.stringify(one) === JSON.stringify(other) ? null : steps;
  }
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const found = firstDifference(own(one, key), own(other, key), [...steps, Array.isArray(one) ? Number(key) : key]);
    if (found) return found;
  }
  return null;
}

// Whether a path is a place or lies below it.
export const isAt = (path, place) => place === "" || path === place || path.startsWith(`${place}.`) || path.startsWith(`${place}[`);

// What holds of an answer, with what was known before for the paths that changed since. `before` and the answer have
// problems, warnings and maps by path.
export function partly(before, answer, changed) {
  const isChanged = (path) => changed.some((part) => isAt(path, part));
  const items = (name) => [...answer[name].filter((item) => !isChanged(item.path)), ...before[name].filter((item) => isChanged(item.path))];
  const map = (name) => {
    const pick = (of, wanted) => Object.entries(of?.[name] ?? {}).filter(([path]) => isChanged(path) === wanted);
    return Object.fromEntries([...pick(answer, false), ...pick(before, true)]);
  };
  return {
    problems: items("problems"), warnings: items("warnings"),
    shown: map("shown"), spans: map("spans"), missing: map("missing"), evidence: map("evidence"), exceptions: map("exceptions"),
    readings: map("readings"), doubts: map("doubts"),
  };
}
