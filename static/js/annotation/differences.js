// A response that arrives while the user types is about what was sent. It stays valid for all that has not changed since.

/** @import { Entry, EntryGroup, Findings, Steps } from "./types" */

import { isRaw, join, own } from "./paths.js";

/** @param {Entry} entry @returns {entry is EntryGroup | Entry[]} */
export const isContainer = (entry) => entry !== null && typeof entry === "object" && !isRaw(entry);

/** @param {Entry} entry */
const isPair = (entry) => isContainer(entry) && Object.keys(entry).every((name) => name === "key" || name === "value");

/** @param {Entry} one @param {Entry} other */
const isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/**
 * The paths whose values differ; where rows or names of a map were added or removed, the path of the rows.
 * @param {Entry} one @param {Entry} other @param {string} path @param {string[]} found
 */
export function differingPaths(one, other, path = "", found = []) {
  if (one === other) return found;
  if (Array.isArray(one) && Array.isArray(other)) {
    const isAligned = one.length === other.length && !one.every(isPair);
    if (isAligned) one.forEach((entry, index) => differingPaths(entry, other[index], join(path, index), found));
    else if (!isEqual(one, other)) found.push(path);
  } else if (isContainer(one) && isContainer(other) && !Array.isArray(one) && !Array.isArray(other)) {
    for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
      // $form, $value and $more are not part of a path.
      const inner = key.startsWith("$") ? path : join(path, key);
      differingPaths(own(one, key), own(other, key), inner, found);
    }
  } else if (!isEqual(one, other)) {
    found.push(path);
  }
  return found;
}

/**
 * The steps to the first difference; null without one.
 * @param {Entry} one @param {Entry} other @param {Steps} steps
 * @returns {Steps | null}
 */
export function firstDifference(one, other, steps = []) {
  if (one === other) return null;
  if (!isContainer(one) || !isContainer(other) || Array.isArray(one) !== Array.isArray(other)) return isEqual(one, other) ? null : steps;
  const [left, right] = [/** @type {EntryGroup} */ (one), /** @type {EntryGroup} */ (other)];
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const found = firstDifference(own(left, key), own(right, key), [...steps, Array.isArray(one) ? Number(key) : key]);
    if (found) return found;
  }
  return null;
}

/** Whether a path is a place or lies below it. @param {string} path @param {string} place */
export const isWithin = (path, place) => place === "" || path === place || path.startsWith(`${place}.`) || path.startsWith(`${place}[`);

/** @typedef {Omit<Findings, "unanswered">} ShownFindings */

/**
 * New findings, but the earlier ones for paths that changed since.
 * @param {ShownFindings} earlier @param {ShownFindings} fresh @param {string[]} changed
 * @returns {ShownFindings}
 */
export function combineFindings(earlier, fresh, changed) {
  const isChanged = (/** @type {string} */ path) => changed.some((place) => isWithin(path, place));
  /** @param {"problems" | "warnings"} name */
  const list = (name) => [...fresh[name].filter(({ path }) => !isChanged(path)), ...earlier[name].filter(({ path }) => isChanged(path))];
  /** @type {<T>(before: Record<string, T> | null, after: Record<string, T> | null) => Record<string, T>} */
  const map = (before, after) => Object.fromEntries([
    ...Object.entries(after ?? {}).filter(([path]) => !isChanged(path)),
    ...Object.entries(before ?? {}).filter(([path]) => isChanged(path)),
  ]);
  return {
    problems: list("problems"),
    warnings: list("warnings"),
    shown: map(earlier.shown, fresh.shown),
    spans: map(earlier.spans, fresh.spans),
    missing: map(earlier.missing, fresh.missing),
    evidence: map(earlier.evidence, fresh.evidence),
    exceptions: map(earlier.exceptions, fresh.exceptions),
    readings: map(earlier.readings, fresh.readings),
    doubts: map(earlier.doubts, fresh.doubts),
  };
}

/**
 * Findings without problems, warnings and exceptions that are new; those that stay keep their words.
 * @param {ShownFindings} earlier @param {ShownFindings} fresh
 * @returns {ShownFindings}
 */
export function withoutNews(earlier, fresh) {
  /** @param {"problems" | "warnings"} name */
  const list = (name) => earlier[name].filter(({ path, rule }) => fresh[name].some((problem) => problem.path === path && problem.rule === rule));
  const exceptions = earlier.exceptions && Object.fromEntries(Object.entries(earlier.exceptions).filter(([path]) => !fresh.exceptions || path in fresh.exceptions));
  return { ...fresh, problems: list("problems"), warnings: list("warnings"), exceptions };
}
