// The line with the heads of the columns: among the selected lines, or above them. Pure.

/** @import { Cell, Column } from "./line_columns.js" */
/** @import { TableField } from "./table_lines.js" */

import { isCode, isNumber } from "./cell_kinds.js";
import { likeness } from "./field_roles.js";
import { chunksOf, columnsOf, columnsUnder, transposed } from "./line_columns.js";

const NAMED = 0.7; // how well a head must name a field

/**
 * The columns without the line of their heads, and the heads: "" where a column has none.
 * @param {Column[]} columns @param {TableField[]} fields @param {string[]} lines @param {string[]} above
 * @returns {{ heads: string[], columns: Column[] }}
 */
export function headOf(columns, fields, lines, above) {
  if (!columns.length) return { heads: [], columns };
  const first = columns.map((column) => column[0] ?? null);
  const body = columns.map((column) => column.slice(1));
  if (columns[0]?.length > 1 && isHead(first, body, fields)) {
    const line = first.find(Boolean)?.line ?? 0;
    return under(lines[line], lines.map((text, index) => (index <= line ? "" : text)), fields);
  }
  for (const text of above.toReversed()) {
    const headed = under(text, lines, fields);
    if (headed.heads.some(Boolean) && !chunksOf(text, 0).some((cell) => isNumber(cell.text) || isCode(cell.text))) return headed;
  }
  return { heads: [], columns };
}

/** The columns of lines under a line of heads, which may have more: cells are missing below. @param {string} line @param {string[]} lines @param {TableField[]} fields */
function under(line, lines, fields) {
  const columns = columnsOf(lines);
  const heads = chunksOf(line, 0);
  const more = heads.length > columns.length && columns.length > 1 ? columnsUnder(lines, heads) : null;
  return { heads: headsOver(more ?? columns, line, fields), columns: more ?? columns };
}

/**
 * Whether a row has names instead of values: some name a field, or words stand over numbers only.
 * @param {(Cell | null)[]} row @param {Column[]} body @param {TableField[]} fields
 */
function isHead(row, body, fields) {
  const cells = row.filter((cell) => cell !== null);
  if (!cells.length || cells.some(({ text }) => /\p{Nd}/u.test(text))) return false;
  const words = cells.flatMap(({ text }) => [text, ...text.split(/\s+/u)]);
  if (cells.some(({ text }) => fields.some((field) => likeness(text, field) === 1))) return true;
  if (fields.filter((field) => words.some((text) => likeness(text, field) >= NAMED)).length > 1) return true;
  const overNumbers = body.filter((column, index) => row[index] && column.filter(Boolean).length && column.every((cell) => !cell || isNumber(cell.text)));
  return cells.length > 2 && overNumbers.length > 0 && cells.length === row.length;
}

/**
 * The heads over columns: as many texts as columns, or as many words; else those above them.
 * @param {Column[]} columns @param {string} line @param {TableField[]} fields
 * @returns {string[]}
 */
function headsOver(columns, line, fields) {
  const [cells] = transposed(columnsOf([line]));
  const texts = (cells ?? []).map((cell) => cell?.text ?? "");
  const isNamed = (/** @type {string} */ text) => fields.some((field) => likeness(text, field) >= NAMED);
  if (!texts.some((text) => isNamed(text) || text.split(/\s+/u).some(isNamed))) return [];
  if (texts.length === columns.length) return texts;
  const words = line.split(/[\s|;]+/u).filter(Boolean);
  if (words.length === columns.length) return words;
  if (texts.length < 2) return columns.length === 1 ? [line.trim()] : named(words, columns.length, fields);
  return columns.map((column) => {
    const from = Math.min(...column.flatMap((cell) => (cell ? [cell.from] : [])));
    const to = Math.max(...column.flatMap((cell) => (cell ? [cell.to] : [])));
    const over = (cells ?? []).filter((cell) => cell && cell.from < to && cell.to > from);
    return over.map((cell) => cell?.text).join(" ");
  });
}

/** Heads of several words, one blank apart: joined until there are as many as columns. @param {string[]} words @param {number} count @param {TableField[]} fields */
function named(words, count, fields) {
  const heads = [...words];
  const worth = (/** @type {string} */ text) => Math.max(0, ...fields.map((field) => likeness(text, field)));
  while (heads.length > Math.max(1, count)) {
    let best = { at: 0, gain: -Infinity };
    for (let at = 0; at + 1 < heads.length; at += 1) {
      const gain = worth(`${heads[at]} ${heads[at + 1]}`) - worth(heads[at]) - worth(heads[at + 1]);
      if (gain > best.gain) best = { at, gain };
    }
    heads.splice(best.at, 2, `${heads[best.at]} ${heads[best.at + 1]}`);
  }
  return heads;
}

/**
 * The words of a first line that may be heads in another language, one blank apart, and the lines without it: it has no
 * digit, all others have.
 * @param {string[]} lines
 */
export function withoutForeignHead(lines) {
  const [first, ...others] = [...lines.keys()].filter((index) => lines[index].trim());
  const words = (lines[first] ?? "").trim().split(/\s+/u);
  const hasDigit = (/** @type {number} */ index) => /\p{Nd}/u.test(lines[index]);
  if (words.length < 4 || others.length < 2 || hasDigit(first) || !others.every(hasDigit)) return null;
  return { words, lines: lines.with(first, "") };
}
