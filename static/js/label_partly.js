// An answer that comes while the person types on: it is about what was sent, and holds for all that is still so.

import { isRaw, join } from "./label_paths.js";

// The paths whose values differ between two entries; where rows came or went, the path of the rows.
export function differing(one, other, path = "", found = []) {
  if (one === other) return found;
  const inside = (entry) => entry !== null && typeof entry === "object" && !isRaw(entry);
  if (!inside(one) || !inside(other) || Array.isArray(one) !== Array.isArray(other)) {
    if (JSON.stringify(one) !== JSON.stringify(other)) found.push(path);
  } else if (Array.isArray(one)) {
    if (one.length === other.length) one.forEach((entry, index) => differing(entry, other[index], join(path, index), found));
    else found.push(path);
  } else {
    for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) differing(one[key], other[key], join(path, key), found);
  }
  return found;
}

// What holds of an answer, with what was known before for the paths that changed since. `before` and the answer have
// problems, warnings and maps by path.
export function partly(before, answer, changed) {
  const isChanged = (path) => changed.some((part) => part === "" || path === part || path.startsWith(`${part}.`) || path.startsWith(`${part}[`));
  const items = (name) => [...answer[name].filter((item) => !isChanged(item.path)), ...before[name].filter((item) => isChanged(item.path))];
  const map = (name) => {
    const pick = (of, wanted) => Object.entries(of?.[name] ?? {}).filter(([path]) => isChanged(path) === wanted);
    return Object.fromEntries([...pick(answer, false), ...pick(before, true)]);
  };
  return {
    problems: items("problems"), warnings: items("warnings"),
    shown: map("shown"), spans: map("spans"), missing: map("missing"), evidence: map("evidence"), exceptions: map("exceptions"),
  };
}
