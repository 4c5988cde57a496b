// The line boxes of a page, and the text they hold.

/** @import { Box, Line } from "./types" */

/** @typedef {(start: number, end: number) => string} Slice a part of the document's text, in characters */
/** @typedef {{ words: string, start: number, end: number, lines: Line[], rows: [start: number, end: number][][] }} TextBlock `rows`: the places of lines on one height */

/**
 * The left and right edge of the characters from start to end of a line, taking them to be equally wide.
 * @param {Line} line @param {number} start @param {number} end
 */
export function edgesOf(line, start, end) {
  const [from, to, left, , right] = line;
  const width = (right - left) / Math.max(1, to - from);
  return [left + Math.max(0, start - from) * width, left + (Math.min(to, end) - from) * width];
}

/** The smallest box around a point, with some slack. @param {Line[]} lines @param {number} x @param {number} y */
export function lineAt(lines, x, y, slack = 0) {
  const contains = (/** @type {Line} */ [, , left, top, right, bottom]) =>
    left - slack <= x && x <= right + slack && top - slack <= y && y <= bottom + slack;
  const area = (/** @type {Line} */ [, , left, top, right, bottom]) => (right - left) * (bottom - top);
  return lines.filter(contains).sort((a, b) => area(a) - area(b)).at(0);
}

const FIGURE = /[-+]?(?:\p{Sc}\s?)?\d[\d.,'’\u00a0\u202f]*/gu;

/**
 * The text of lines. Two blanks join lines on one height, as they separate the cells of a row. With `near`, only the
 * figure of a single line that is nearest to that place: in "Total due 1,100.00" the amount.
 * @param {Line[]} lines @param {Slice} slice @param {number | null} near
 * @returns {TextBlock}
 */
export function textOf(lines, slice, near = null) {
  const ordered = lines.toSorted((a, b) => a[0] - b[0]);
  const figure = ordered.length === 1 && near !== null ? nearestFigure(ordered[0], slice, near) : null;
  if (figure) return figure;
  /** @type {[start: number, end: number][][]} */
  const rows = [];
  ordered.forEach(([start, end], index) => {
    if (isOnHeightOf(ordered[index - 1], ordered[index])) rows[rows.length - 1].push([start, end]);
    else rows.push([[start, end]]);
  });
  const words = rows.map((row) => row.map(([start, end]) => slice(start, end).trim()).join("  ")).join("\n");
  return { words, start: ordered[0][0], end: Math.max(...ordered.map((line) => line[1])), lines: ordered, rows };
}

/** @param {Line | undefined} one @param {Line} other */
function isOnHeightOf(one, other) {
  const middle = middleOf(other);
  return one !== undefined && one[3] < middle && middle < one[5];
}

/** @param {Line} line */
const middleOf = (line) => (line[3] + line[5]) / 2;

/** @param {Line} line @param {Slice} slice @param {number} near @returns {TextBlock | null} */
function nearestFigure(line, slice, near) {
  const text = slice(line[0], line[1]);
  const count = (/** @type {string} */ part) => [...part].length;
  /** @type {TextBlock | null} */
  let best = null;
  let least = Infinity;
  for (const match of text.matchAll(FIGURE)) {
    const words = match[0].replace(/[.,'’\s]+$/u, "");
    const start = line[0] + count(text.slice(0, match.index));
    const end = start + count(words);
    const [left, right] = edgesOf(line, start, end);
    const distance = near < left ? left - near : Math.max(0, near - right);
    if (distance >= least) continue;
    least = distance;
    best = { words, start, end, lines: [line], rows: [[[start, end]]] };
  }
  return best;
}

/**
 * What a drag from corner to corner selects: the words it covers within one line, else every line it touches.
 * @param {Line[]} lines @param {Box} box @param {Slice} slice
 */
export function selectedText(lines, box, slice) {
  const touched = lines.filter(([, , left, top, right, bottom]) => left < box.right && right > box.left && top < box.bottom && bottom > box.top);
  if (!touched.length) return null;
  // A drag along a line brushes its neighbors: lines of whose height it covers less than a third are not meant.
  const covered = (/** @type {Line} */ line) => Math.min(line[5], box.bottom) - Math.max(line[3], box.top);
  const meant = touched.filter((line) => covered(line) > (line[5] - line[3]) / 3);
  const distance = (/** @type {Line} */ line) => Math.abs(middleOf(line) - box.top);
  const chosen = meant.length ? meant : [touched.reduce((best, line) => (distance(line) < distance(best) ? line : best))];
  return chosen.length === 1 ? coveredWords(chosen[0], box, slice) : textOf(chosen, slice);
}

/** @param {Line} line @param {Box} box @param {Slice} slice @returns {TextBlock} */
function coveredWords(line, box, slice) {
  const words = [];
  let [at] = line;
  for (const part of slice(line[0], line[1]).split(/(\s+)/u)) {
    const end = at + [...part].length;
    const [left, right] = edgesOf(line, at, end);
    if (part.trim() && Math.min(right, box.right) - Math.max(left, box.left) > (right - left) * 0.3) words.push({ start: at, end });
    at = end;
  }
  if (!words.length) return textOf([line], slice);
  const { start } = words[0];
  const { end } = words[words.length - 1];
  return { words: slice(start, end), start, end, lines: [line], rows: [[[start, end]]] };
}
