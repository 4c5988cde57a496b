// What others changed, put into a form in which somebody works: what the person changed since it was sent stays, rows
// stay the rows they are, and the part that has the focus is not taken away.

import { isRaw, own, table } from "./paths.js";
import { differing, inside } from "./differences.js";

const MOST_CELLS = 250_000; // of the table that finds rows again; beyond it rows are paired by place

// Which of the rows before each row of a merged array is (null: a new one), so that the page keeps its elements.
export const origins = new WeakMap();

const same = (one, other) => differing(one, other).length === 0;
const isRows = (...entries) => entries.every(Array.isArray);
const isGroup = (entry) => inside(entry) && !Array.isArray(entry);

// `sent` became `mine` here and, read by the server as `read`, became `theirs` there. `kept` are the steps to the part
// that has the focus: `held` of the result says whether it stays only for that. `typing`: its text is half-typed.
// `clashes` are the steps to what both changed, where mine stays, with what they have there.
export function merge({ sent, mine, read, theirs, kept = null, typing = false }) {
  const result = { held: false, clashes: [] };
  result.entry = merged({ sent, mine, read, theirs, kept, steps: [] }, { result, typing });
  return result;
}

function merged({ sent, mine, read, theirs, kept, steps }, context) {
  if (kept?.length === 0 && context.typing) return halfTyped({ sent, mine, read, theirs, steps }, context);
  if (isRows(mine, theirs)) return mergedRows({ sent, mine, read, theirs, kept, steps }, context);
  if (isGroup(mine) && isGroup(theirs)) {
    if (kept !== null && mine.$form !== theirs.$form) return hold(mine, context);
    return mergedGroup({ sent, mine, read, theirs, kept, steps }, context);
  }
  if (same(read, theirs)) return mine;
  if (!same(sent, mine)) {
    if (!same(mine, theirs)) context.result.clashes.push({ steps, theirs });
    return mine;
  }
  if (kept?.length && !isRaw(mine) && mine !== undefined) return hold(mine, context);
  return theirs;
}

// What is half-typed stays; what others put there is taken once it is left without a change, and shown otherwise.
function halfTyped({ sent, mine, read, theirs, steps }, context) {
  if (same(read, theirs) || same(mine, theirs)) return mine;
  context.result.clashes.push({ steps, theirs });
  return same(sent, mine) ? hold(mine, context) : mine;
}

function hold(mine, { result }) {
  result.held = true;
  return mine;
}

function mergedGroup({ sent, mine, read, theirs, kept, steps }, context) {
  const result = table();
  const inner = (entry, name) => (isGroup(entry) ? own(entry, name) : undefined);
  for (const name of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
    const below = kept !== null && String(kept[0]) === name ? kept.slice(1) : null;
    const parts = { sent: inner(sent, name), mine: own(mine, name), read: inner(read, name), theirs: own(theirs, name), kept: below, steps: [...steps, name] };
    const value = merged(parts, context);
    if (value !== undefined) result[name] = value;
  }
  return result;
}

function mergedRows({ sent, mine, read, theirs, kept, steps }, context) {
  const base = Array.isArray(sent) ? sent : [];
  const known = Array.isArray(read) && read.length === base.length ? read : base;
  const my = edits(base, mine);
  const their = edits(known, theirs);
  const rows = [];
  const from = [];
  const put = (row, origin) => {
    rows.push(row);
    from.push(origin);
  };
  for (let index = 0; index <= base.length; index += 1) {
    for (const place of my.added[index]) put(mine[place], place);
    for (const place of their.added[index]) put(theirs[place], null);
    if (index === base.length) break;
    const [here, there] = [my.kept[index], their.kept[index]];
    const below = kept !== null && here === kept[0] ? kept.slice(1) : null;
    if (here === null && there === null) continue;
    if (here === null) {
      if (!same(known[index], theirs[there])) put(theirs[there], null);
    } else if (there === null) {
      if (!same(base[index], mine[here])) put(mine[here], here);
      else if (below !== null) put(hold(mine[here], context), here);
    } else {
      const inner = { sent: base[index], mine: mine[here], read: known[index], theirs: theirs[there], kept: below };
      put(merged({ ...inner, steps: [...steps, rows.length] }, context), here);
    }
  }
  origins.set(rows, from);
  return rows;
}

// What became of the rows of `before`: the place of each in `after` (null: gone), and which are new before each.
function edits(before, after) {
  const kept = before.map(() => null);
  const added = Array.from({ length: before.length + 1 }, () => []);
  let [low, start] = [0, 0];
  for (const [high, end] of [...matches(before, after), [before.length, after.length]]) {
    const pairs = Math.min(high - low, end - start);
    for (let offset = 0; offset < pairs; offset += 1) kept[low + offset] = start + offset;
    for (let place = start + pairs; place < end; place += 1) added[low + pairs].push(place);
    if (high < before.length) kept[high] = end;
    [low, start] = [high + 1, end + 1];
  }
  return { kept, added };
}

// Pairs of rows that are the same, in order. As many rows as before are the same rows, each in its place, unless more of
// them are found unchanged elsewhere (as labeling/form/merge.py has it).
function matches(before, after) {
  const [one, other] = [before, after].map((rows) => rows.map((row) => JSON.stringify(sorted(row))));
  const most = Math.min(one.length, other.length);
  let head = 0;
  while (head < most && one[head] === other[head]) head += 1;
  let tail = 0;
  while (tail < most - head && one.at(-1 - tail) === other.at(-1 - tail)) tail += 1;
  const pairs = longest(one.slice(head, one.length - tail), other.slice(head, other.length - tail)).map(([a, b]) => [a + head, b + head]);
  const still = [];
  if (one.length === other.length) for (let at = head; at < one.length - tail; at += 1) if (one[at] === other[at]) still.push([at, at]);
  const middle = one.length === other.length && pairs.length <= still.length ? still : pairs;
  const heads = Array.from({ length: head }, (_, at) => [at, at]);
  const tails = Array.from({ length: tail }, (_, at) => [one.length - tail + at, other.length - tail + at]);
  return [...heads, ...middle, ...tails];
}

// The longest common sequence of two lists of texts, as pairs of places.
function longest(one, other) {
  if (!one.length || !other.length || one.length * other.length > MOST_CELLS) return [];
  const best = Array.from({ length: one.length + 1 }, () => new Uint32Array(other.length + 1));
  for (let a = one.length - 1; a >= 0; a -= 1) {
    for (let b = other.length - 1; b >= 0; b -= 1) {
      best[a][b] = one[a] === other[b] ? best[a + 1][b + 1] + 1 : Math.max(best[a + 1][b], best[a][b + 1]);
    }
  }
  const pairs = [];
  for (let [a, b] = [0, 0]; a < one.length && b < other.length; ) {
    if (one[a] === other[b]) pairs.push([a++, b++]);
    else if (best[a + 1][b] >= best[a][b + 1]) a += 1;
    else b += 1;
  }
  return pairs;
}

function sorted(entry) {
  if (Array.isArray(entry)) return entry.map(sorted);
  if (!inside(entry)) return entry;
  return Object.fromEntries(Object.keys(entry).sort().map((name) => [name, sorted(entry[name])]));
}
