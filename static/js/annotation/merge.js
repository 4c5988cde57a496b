// Merges what others saved into a form in use: what the user changed since it was sent stays, rows stay the rows they are,
// and the part with the focus is not taken away.

/** @import { Entry, EntryGroup, Steps } from "./types" */

import { differingPaths, isContainer } from "./differences.js";
import { isRaw, own, table } from "./paths.js";

/**
 * `sent` became `mine` here and, read by the server as `read`, became `theirs` there. `focus` are the steps from here to
 * the part with the focus, null where it is elsewhere.
 * @typedef {{ sent: Entry, mine: Entry, read: Entry, theirs: Entry, focus: Steps | null }} Versions
 *
 * @typedef {object} MergeResult
 * @property {Entry} entry
 * @property {boolean} held a part stays only because it has the focus
 * @property {{ steps: Steps, theirs: Entry }[]} conflicts changed by both: mine stays
 *
 * @typedef {{ result: MergeResult, isTyping: boolean }} Context `isTyping`: the part with the focus is half-typed
 */

const MAX_CELLS = 250_000; // of the table that matches rows; beyond it rows are matched by position

/**
 * For each row of a merged list the row it was before, null for a new one, so that the page keeps its elements.
 * @type {WeakMap<Entry[], (number | null)[]>}
 */
export const origins = new WeakMap();

/** @param {Entry} one @param {Entry} other */
const isSame = (one, other) => differingPaths(one, other).length === 0;

/** @param {Entry} entry @returns {entry is EntryGroup} */
const isGroup = (entry) => isContainer(entry) && !Array.isArray(entry);

/** @param {Omit<Versions, "focus"> & { focus?: Steps | null, isTyping?: boolean }} change @returns {MergeResult} */
export function merge({ focus = null, isTyping = false, ...versions }) {
  /** @type {MergeResult} */
  const result = { entry: undefined, held: false, conflicts: [] };
  result.entry = mergeEntry({ ...versions, focus }, [], { result, isTyping });
  return result;
}

/** @param {Versions} versions @param {Steps} steps @param {Context} context @returns {Entry} */
function mergeEntry(versions, steps, context) {
  const { sent, mine, read, theirs, focus } = versions;
  if (focus?.length === 0 && context.isTyping) return mergeHalfTyped(versions, steps, context);
  if (Array.isArray(mine) && Array.isArray(theirs)) return mergeRows({ ...versions, mine, theirs }, steps, context);
  if (isGroup(mine) && isGroup(theirs)) {
    if (focus !== null && mine.$form !== theirs.$form) return hold(mine, context);
    return mergeGroup({ ...versions, mine, theirs }, steps, context);
  }
  if (isSame(read, theirs)) return mine;
  if (!isSame(sent, mine)) {
    if (!isSame(mine, theirs)) context.result.conflicts.push({ steps, theirs });
    return mine;
  }
  return focus?.length && !isRaw(mine) && mine !== undefined ? hold(mine, context) : theirs;
}

/**
 * A half-typed value stays. Theirs is taken if it is left unchanged, and a conflict otherwise.
 * @param {Versions} versions @param {Steps} steps @param {Context} context
 */
function mergeHalfTyped({ sent, mine, read, theirs }, steps, context) {
  if (isSame(read, theirs) || isSame(mine, theirs)) return mine;
  context.result.conflicts.push({ steps, theirs });
  return isSame(sent, mine) ? hold(mine, context) : mine;
}

/** @param {Entry} mine @param {Context} context */
function hold(mine, { result }) {
  result.held = true;
  return mine;
}

/** @param {Versions & { mine: EntryGroup, theirs: EntryGroup }} versions @param {Steps} steps @param {Context} context */
function mergeGroup({ sent, mine, read, theirs, focus }, steps, context) {
  /** @type {EntryGroup} */
  const result = table();
  for (const name of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
    const inner = {
      sent: isGroup(sent) ? own(sent, name) : undefined,
      mine: own(mine, name),
      read: isGroup(read) ? own(read, name) : undefined,
      theirs: own(theirs, name),
      focus: focus !== null && String(focus[0]) === name ? focus.slice(1) : null,
    };
    const value = mergeEntry(inner, [...steps, name], context);
    if (value !== undefined) result[name] = value;
  }
  return result;
}

/** @param {Versions & { mine: Entry[], theirs: Entry[] }} versions @param {Steps} steps @param {Context} context */
function mergeRows({ sent, mine, read, theirs, focus }, steps, context) {
  const base = Array.isArray(sent) ? sent : [];
  const known = Array.isArray(read) && read.length === base.length ? read : base;
  const my = rowEdits(base, mine);
  const their = rowEdits(known, theirs);
  /** @type {Entry[]} */
  const rows = [];
  /** @type {(number | null)[]} */
  const from = [];
  /** @param {Entry} row @param {number | null} origin */
  const put = (row, origin) => {
    rows.push(row);
    from.push(origin);
  };
  for (let index = 0; index <= base.length; index += 1) {
    for (const place of my.added[index]) put(mine[place], place);
    for (const place of their.added[index]) put(theirs[place], null);
    if (index === base.length) break;
    const [here, there] = [my.kept[index], their.kept[index]];
    const inner = focus !== null && here === focus[0] ? focus.slice(1) : null;
    if (here === null) {
      if (there !== null && !isSame(known[index], theirs[there])) put(theirs[there], null);
    } else if (there === null) {
      if (!isSame(base[index], mine[here])) put(mine[here], here);
      else if (inner !== null) put(hold(mine[here], context), here);
    } else {
      const versions = { sent: base[index], mine: mine[here], read: known[index], theirs: theirs[there], focus: inner };
      put(mergeEntry(versions, [...steps, rows.length], context), here);
    }
  }
  origins.set(rows, from);
  return rows;
}

/**
 * What became of rows: the new position of each (null: removed), and the positions of rows added before each.
 * @param {Entry[]} before @param {Entry[]} after
 */
function rowEdits(before, after) {
  /** @type {(number | null)[]} */
  const kept = before.map(() => null);
  /** @type {number[][]} */
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

/**
 * Pairs of equal rows, in order. Where the number of rows is the same, rows keep their positions unless more of them are
 * equal elsewhere, as in labeling/form/merge.py.
 * @param {Entry[]} before @param {Entry[]} after
 */
function matches(before, after) {
  const [one, other] = [before, after].map((rows) => rows.map((row) => JSON.stringify(sorted(row))));
  const most = Math.min(one.length, other.length);
  let head = 0;
  while (head < most && one[head] === other[head]) head += 1;
  let tail = 0;
  while (tail < most - head && one.at(-1 - tail) === other.at(-1 - tail)) tail += 1;
  const moved = longestCommon(one.slice(head, one.length - tail), other.slice(head, other.length - tail)).map(([a, b]) => [a + head, b + head]);
  const still = [];
  if (one.length === other.length) for (let at = head; at < one.length - tail; at += 1) if (one[at] === other[at]) still.push([at, at]);
  const middle = one.length === other.length && moved.length <= still.length ? still : moved;
  const heads = Array.from({ length: head }, (_, at) => [at, at]);
  const tails = Array.from({ length: tail }, (_, at) => [one.length - tail + at, other.length - tail + at]);
  return [...heads, ...middle, ...tails];
}

/** The longest common subsequence of two lists, as pairs of positions. @param {string[]} one @param {string[]} other */
function longestCommon(one, other) {
  if (!one.length || !other.length || one.length * other.length > MAX_CELLS) return [];
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

/** An entry with its names in order. @param {Entry} entry @returns {Entry} */
function sorted(entry) {
  if (Array.isArray(entry)) return entry.map(sorted);
  if (!isGroup(entry)) return entry;
  return Object.fromEntries(Object.keys(entry).sort().map((name) => [name, sorted(entry[name])]));
}
