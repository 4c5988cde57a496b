// Cuts lines of a document into columns, all lines together: by tabs, bars or semicolons, by runs of blanks, by where the
// cells of other lines are. Pure.

import { kindOf } from "./cell_kinds.js";

/**
 * @typedef {{ text: string, line: number, from: number, to: number }} Cell part of a line; a wrapped one has more text than that
 * @typedef {(Cell | null)[]} Column a cell for each row
 * @typedef {Cell & { gap: boolean }} Word `gap`: more than one blank is before it
 * @typedef {{ kinds: Map<string, number>, count: number, from: number, to: number }} Profile of the cells of a column
 */

const SEPARATORS = ["\t", "|", ";", ","];
/** Commas of a text or of numbers, and blanks between columns. */
const NO_CSV = /,\s|\s{2}|(?<!\d)\d{1,3},\d{3}(?!\d)|\d,\d{2}(?!\d)/u;
const IS_RULE = /^[\s\-=_+|:*.·•─═│┼]*$/u;

/** More than any table has; a text of many words is no line of one. */
export const MAX_COLUMNS = 24;
const MAX_WORDS = 100;

/** Penalties: two cells that are joined, a cut at a single blank, an empty cell, a cell behind the last column. */
const JOIN = 1;
const CUT = 0.3;
const EMPTY = 0.35;
const OVERFLOW = 0.7;

/**
 * The cells of lines, by column. Blank lines and rules have no row; a wrapped line continues the row above.
 * @param {string[]} lines
 * @returns {Column[]}
 */
export function columnsOf(lines) {
  const numbers = [...lines.keys()].filter((number) => !IS_RULE.test(lines[number]));
  if (!numbers.length) return [];
  const rows = separatedRows(lines, numbers) ?? spacedRows(numbers.map((number) => chunksOf(lines[number], number)));
  const columns = transposed(rows).filter((column) => column.some(Boolean));
  return withoutWrapped(columns.slice(0, MAX_COLUMNS));
}

/** @param {(Cell | null)[][]} rows @returns {Column[]} */
export function transposed(rows) {
  const count = Math.max(0, ...rows.map((row) => row.length));
  return Array.from({ length: count }, (_, index) => rows.map((row) => row[index] ?? null));
}

/**
 * The cells of lines below the heads over them, where each cell is nearest to a head of its own; null where it is not.
 * @param {string[]} lines @param {Cell[]} heads
 * @returns {Column[] | null}
 */
export function columnsUnder(lines, heads) {
  const rows = [];
  for (const [number, line] of lines.entries()) {
    if (IS_RULE.test(line)) continue;
    /** @type {(Cell | null)[]} */
    const row = heads.map(() => null);
    for (const cell of chunksOf(line, number)) {
      const apart = heads.map((head) => Math.max(head.from - cell.to, cell.from - head.to));
      const place = apart.indexOf(Math.min(...apart));
      if (row.slice(place).some(Boolean)) return null;
      row[place] = cell;
    }
    rows.push(row);
  }
  return transposed(rows);
}

/** Cells with two blanks or more between them. @param {string} text @param {number} line @returns {Cell[]} */
export function chunksOf(text, line) {
  return [...text.matchAll(/\S+(?:[^\S\t]\S+)*/gu)].map((match) => cellAt(match[0], line, match.index));
}

/** @param {string} text @param {number} line @param {number} from @returns {Cell} */
export const cellAt = (text, line, from) => ({ text, line, from, to: from + text.length });

// -- marks between cells ------------------------------------------------------------------------------------------------

/** @param {string[]} lines @param {number[]} numbers @returns {(Cell | null)[][] | null} */
function separatedRows(lines, numbers) {
  const separator = SEPARATORS.find((mark) => separates(mark, numbers.map((number) => lines[number])));
  if (!separator) return null;
  const rows = numbers.map((number) => piecesOf(lines[number], number, separator));
  const filled = rows.map((row) => row.filter(Boolean));
  // Several tabs may only align: then each line has as many texts.
  const isAligned = separator === "\t" && isSame(filled) && !isSame(rows);
  return isAligned ? filled : rows;
}

/** @param {unknown[][]} rows */
const isSame = (rows) => rows.every((row) => row.length === rows[0].length);

/** @param {string} mark @param {string[]} lines */
function separates(mark, lines) {
  const counts = lines.map((line) => line.split(mark).length - 1);
  const most = mostFrequent(counts);
  const share = counts.filter((count) => count === most).length / lines.length;
  if (mark === ";") return most > 0 && share >= 0.8;
  if (mark === ",") return most > 1 && share === 1 && !lines.some((line) => NO_CSV.test(line));
  return counts.filter(Boolean).length >= lines.length * 0.6;
}

/** @param {string} text @param {number} line @param {string} separator @returns {(Cell | null)[]} */
function piecesOf(text, line, separator) {
  let from = 0;
  return text.split(separator).map((piece) => {
    const inner = /^\s*"(.*)"\s*$/u.exec(piece)?.[1] ?? piece.trim();
    const cell = inner ? cellAt(inner, line, from + piece.indexOf(inner)) : null;
    from += piece.length + separator.length;
    return cell;
  });
}

/** The most frequent number, the larger of two. @param {number[]} counts */
export function mostFrequent(counts) {
  /** @type {Map<number, number>} */
  const times = new Map();
  for (const count of counts) times.set(count, (times.get(count) ?? 0) + 1);
  return [...times].sort((a, b) => b[1] - a[1] || b[0] - a[0])[0]?.[0] ?? 0;
}

// -- blanks between cells -----------------------------------------------------------------------------------------------

/**
 * Rows of equally many cells. Where lines have fewer or more than others, each is cut so that its cells are of the kind,
 * and at the place, of those of the regular lines.
 * @param {Cell[][]} rows
 * @returns {(Cell | null)[][]}
 */
function spacedRows(rows) {
  const counts = rows.map((row) => row.length);
  if (counts.every((count) => count === counts[0])) return rows;
  const most = Math.max(...counts);
  const usual = mostFrequent(counts.filter((count) => count > 1));
  let best = null;
  for (const count of new Set([usual, most])) {
    const profiles = profilesOf(rows.filter((row) => row.length === count));
    const fits = rows.map((row) => fit(row, profiles));
    const penalty = fits.reduce((sum, { penalty: more }) => sum + more, 0);
    if (!best || penalty < best.penalty) best = { fits, penalty };
  }
  return best ? best.fits.map(({ cells }) => cells) : rows;
}

/** @param {Cell[][]} rows @returns {Profile[]} */
function profilesOf(rows) {
  return transposed(rows).map((column) => {
    const cells = column.filter((cell) => cell !== null);
    /** @type {Map<string, number>} */
    const kinds = new Map();
    for (const { text } of cells) kinds.set(kindOf(text), (kinds.get(kindOf(text)) ?? 0) + 1);
    return { kinds, count: cells.length, from: Math.min(...cells.map(({ from }) => from)), to: Math.max(...cells.map(({ to }) => to)) };
  });
}

/** How unlike the cells of a column a text is, by its kind and place. @param {Cell} cell @param {Profile} profile */
function unlikeness(cell, { kinds, count, from, to }) {
  const kind = kindOf(cell.text);
  const alike = (/** @type {string} */ other) => (kinds.get(other) ?? 0) / count;
  const words = alike("text") + alike("word") + alike("code");
  const near = kind === "amount" ? alike("text") * 0.7 : kind === "text" ? words * 0.9 : kind === "word" ? words * 0.7 : kind === "code" ? alike("text") * 0.5 : 0;
  const overlap = Math.min(cell.to, to) - Math.max(cell.from, from);
  const place = overlap > 0 ? 0 : Math.min(1, (1 - overlap) / 6);
  return 1 - Math.max(alike(kind), near) + place;
}

/**
 * The cut of a line into columns with the least penalty.
 * @param {Cell[]} chunks @param {Profile[]} profiles
 * @returns {{ cells: (Cell | null)[], penalty: number }}
 */
function fit(chunks, profiles) {
  const inner = chunks.flatMap(wordsOfChunk);
  const words = inner.length > MAX_WORDS ? chunks.slice(0, MAX_WORDS).map((chunk) => ({ ...chunk, gap: true })) : inner;
  /** @type {{ penalty: number, cells: (Cell | null)[] }[]} by the number of words that are placed */
  let states = [{ penalty: 0, cells: [] }];
  for (const profile of profiles) {
    /** @type {typeof states} */
    const next = [];
    states.forEach((state, start) => {
      for (let end = start; end <= words.length; end += 1) {
        const step = stepPenalty(words, start, end, profile);
        const penalty = state.penalty + step.penalty;
        if (penalty < (next[end]?.penalty ?? Infinity)) next[end] = { penalty, cells: [...state.cells, step.cell] };
      }
    });
    states = next;
  }
  const placed = words.length;
  let best = { penalty: states[placed]?.penalty ?? Infinity, cells: states[placed]?.cells ?? [] };
  states.forEach((state, start) => {
    if (start === placed || !words[start].gap || !state.cells.at(-1)) return;
    const penalty = state.penalty + OVERFLOW;
    if (penalty < best.penalty) best = { penalty, cells: [...state.cells, joined(words.slice(start))] };
  });
  return best;
}

/** @param {Cell} chunk @returns {Word[]} */
const wordsOfChunk = (chunk) =>
  [...chunk.text.matchAll(/\S+/gu)].map((match) => ({ ...cellAt(match[0], chunk.line, chunk.from + match.index), gap: match.index === 0 }));

/** @param {Word[]} words @param {number} start @param {number} end @param {Profile} profile @returns {{ penalty: number, cell: Cell | null }} */
function stepPenalty(words, start, end, profile) {
  if (end === start) return { penalty: EMPTY, cell: null };
  const cell = joined(words.slice(start, end));
  const joins = words.slice(start + 1, end).filter(({ gap }) => gap).length;
  const cuts = end < words.length && !words[end].gap ? 1 : 0;
  return { penalty: unlikeness(cell, profile) + joins * JOIN + cuts * CUT, cell };
}

/** @param {Word[]} words @returns {Cell} */
function joined(words) {
  const [first, last] = [words[0], words[words.length - 1]];
  return { text: words.map(({ text }) => text).join(" "), line: first.line, from: first.from, to: last.to };
}

// -- wrapped lines ------------------------------------------------------------------------------------------------------

/** Joins rows that only continue a text of the row above. @param {Column[]} columns @returns {Column[]} */
function withoutWrapped(columns) {
  const count = columns[0]?.length ?? 0;
  const rows = Array.from({ length: count }, (_, row) => columns.map((column) => column[row]));
  /** @type {(Cell | null)[][]} */
  const kept = [];
  for (const row of rows) {
    const above = kept.at(-1);
    const place = above ? wrappedAt(row, rows) : -1;
    const [before, cell] = [above?.[place], row[place]];
    if (above && before && cell) above[place] = { ...before, text: `${before.text} ${cell.text}` };
    else kept.push([...row]);
  }
  return transposed(kept);
}

/**
 * The column of the only cell of a row that continues the one above; -1 for a row of its own.
 * @param {(Cell | null)[]} row @param {(Cell | null)[][]} rows
 */
function wrappedAt(row, rows) {
  const place = row.findIndex(Boolean);
  const cell = row[place];
  if (!cell || row.length < 2 || row.filter(Boolean).length !== 1 || ["number", "date"].includes(kindOf(cell.text))) return -1;
  const whole = rows.filter((other) => other.filter(Boolean).length > 1);
  const isFilled = (/** @type {number} */ column) => whole.filter((other) => other[column]).length >= whole.length * 0.8;
  if ([...Array(place).keys()].some(isFilled)) return place;
  const left = Math.min(...whole.map((other) => other.find(Boolean)?.from ?? 0));
  return cell.from > left + 1 || /^\p{Ll}/u.test(cell.text) ? place : -1;
}
