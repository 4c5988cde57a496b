// Divides columns whose cells hold two values: "60 pot", "1 T7-0001", "Masking tape 78 roll", "Qty 20". Pure.

/** @import { Cell, Column } from "./line_columns.js" */
/** @import { ReadColumn, TableField } from "./table_lines.js" */

import { NUMBER, isCode, isDate, isNumber } from "./cell_kinds.js";
import { featuresOf } from "./column_features.js";
import { likeness } from "./field_roles.js";
import { MAX_COLUMNS, cellAt, mostFrequent } from "./line_columns.js";

/**
 * @typedef {(text: string) => string[] | null} Divider the parts of a text in their order; null where it has not all of them
 * @typedef {{ count: number, divide: Divider, rest: (text: string) => number }} Way into `count` parts; `rest`: the part that another text is
 * @typedef {{ parts: { cells: Column, head: string }[], isCounter: boolean }} Split
 */

const SHARE = 0.75; // of the cells that must have all parts
const UNIT = "\\p{L}[^\\p{Nd}]*|\\p{L}+[23]";

/** @param {RegExp} pattern @returns {Divider} */
const byPattern = (pattern) => (text) => pattern.exec(text)?.slice(1) ?? null;

/** @type {Way[]} */
const WAYS = [
  { count: 2, divide: byPattern(new RegExp(`^(${NUMBER})\\s?(${UNIT})$`, "u")), rest: (text) => (isNumber(text) ? 0 : 1) },
  { count: 2, divide: byPattern(new RegExp(`^(\\p{L}[^\\p{Nd}]*?)\\s+(${NUMBER})$`, "u")), rest: (text) => (isNumber(text) ? 1 : 0) },
  { count: 3, divide: byPattern(new RegExp(`^(.*\\S)\\s+(${NUMBER})\\s?(\\p{L}[^\\p{Nd}]{0,24})$`, "u")), rest: () => 0 },
  { count: 3, divide: byPattern(new RegExp(`^(${NUMBER})\\s(\\p{L}\\S{0,5})\\s(.+)$`, "u")), rest: () => 2 },
  { count: 2, divide: byPattern(new RegExp(`^(${NUMBER})\\s?[x×*]?\\s+(.+)$`, "u")), rest: (text) => (isNumber(text) ? 0 : 1) },
  { count: 2, divide: dateAndText, rest: (text) => (isDate(text) ? 0 : 1) },
  { count: 2, divide: (text) => divideAt(text, text.search(/\s/u), isCode), rest: (text) => (isCode(text) ? 0 : 1) },
  { count: 2, divide: (text) => divideAt(text, text.lastIndexOf(" "), null, isCode), rest: (text) => (isCode(text) ? 1 : 0) },
];

const COUNTED = /^(\d{1,4}[.)]?)\s+(.+)$/u;

/**
 * @param {string} text @param {number} at
 * @param {((text: string) => boolean) | null} isFirst @param {((text: string) => boolean) | null} isLast
 * @returns {string[] | null}
 */
function divideAt(text, at, isFirst, isLast = null) {
  if (at <= 0) return null;
  const [first, last] = [text.slice(0, at), text.slice(at).trim()];
  return (!isFirst || isFirst(first)) && (!isLast || isLast(last)) ? [first, last] : null;
}

/** @type {Divider} */
function dateAndText(text) {
  const words = text.split(" ");
  const count = [4, 3, 2, 1].find((size) => words.length > size && isDate(words.slice(0, size).join(" ")));
  return count ? [words.slice(0, count).join(" "), words.slice(count).join(" ")] : null;
}

/** The divisions that most cells of a column allow. @param {ReadColumn} column @returns {Split[]} */
export function splitsOf({ cells, head, features }) {
  if (features.numbers === 1 || features.filled <= 0.5) return [];
  const counted = divided(cells, { count: 2, divide: byPattern(COUNTED), rest: () => 1 });
  if (counted && featuresOf(counted[0], true).isCounter && cells.length > 1) {
    return [{ parts: [{ cells: counted[0], head: "" }, { cells: counted[1], head }], isCounter: true }];
  }
  return [...WAYS.map((way) => divided(cells, way)), tailNumbers(cells)]
    .filter((parts) => parts !== null)
    .map((parts) => ({ parts: parts.map((part, index) => ({ cells: part, head: headPart(head, index, parts.length) })), isCounter: false }));
}

/** "Qty unit" over two parts names each. @param {string} head @param {number} index @param {number} count */
function headPart(head, index, count) {
  const words = head.split(/[\s/]+/u).filter(Boolean);
  return words.length === count ? words[index] : index === 0 ? head : "";
}

/** @param {Column} cells @param {Way} way @returns {Column[] | null} */
function divided(cells, { count, divide, rest }) {
  const filled = cells.filter((cell) => cell !== null);
  if (!filled.length || filled.filter(({ text }) => divide(text)).length < filled.length * SHARE) return null;
  return partsOf(cells, count, (text) => divide(text) ?? Array.from({ length: count }, (_, index) => (index === rest(text) ? text : "")));
}

/** @param {Column} cells @param {number} count @param {(text: string) => string[]} divide @returns {Column[]} */
function partsOf(cells, count, divide) {
  const rows = cells.map((cell) => (cell ? placed(cell, divide(cell.text)) : Array(count).fill(null)));
  return Array.from({ length: count }, (_, index) => rows.map((row) => row[index] ?? null));
}

/** @param {Cell} cell @param {string[]} texts @returns {(Cell | null)[]} */
function placed(cell, texts) {
  let at = 0;
  return texts.map((text) => {
    if (!text) return null;
    at = cell.text.indexOf(text, at);
    const part = cellAt(text, cell.line, cell.from + at);
    at += text.length;
    // Of a wrapped cell, only the place of its first line is known.
    return part.from < cell.to ? { ...part, to: Math.min(part.to, cell.to) } : { ...cell, text };
  });
}

/**
 * The numbers at the end of texts, as many as most have; a text with fewer has the last ones.
 * @param {Column} cells @returns {Column[] | null}
 */
function tailNumbers(cells) {
  const tails = cells.flatMap((cell) => (cell ? [tailOf(cell.text)] : []));
  const counts = tails.map((words) => words.length).filter(Boolean);
  const count = Math.max(mostFrequent(counts), counts.filter((size) => size === Math.max(...counts)).length >= tails.length / 3 ? Math.max(...counts) : 0);
  if (!count || count > MAX_COLUMNS || counts.length < tails.length * 0.5) return null;
  return partsOf(cells, count + 1, (text) => {
    const words = tailOf(text).slice(-count);
    const start = text.length - words.join(" ").length;
    return [text.slice(0, words.length ? start : text.length).trim(), ...Array(count - words.length).fill(""), ...words];
  });
}

/** @param {string} text @returns {string[]} */
function tailOf(text) {
  const words = text.split(" ");
  const first = 1 + words.findLastIndex((word, index) => index === 0 || !isNumber(word));
  return words.slice(first);
}

/**
 * A column without the label that each of its cells begins with, such as "SKU HX-1001" or "Qty: 20": it is its head.
 * @param {ReadColumn} column @param {TableField[]} fields
 * @returns {ReadColumn}
 */
export function withoutLabel(column, fields) {
  const { cells, features } = column;
  const texts = cells.flatMap((cell) => (cell ? [cell.text] : []));
  const label = /^(\p{L}[\p{L}.-]*(?:\s\p{L}[\p{L}.-]*)?)(?:\s*[:#]\s*|\s+)(?=\S)/u.exec(texts[0] ?? "");
  const first = label && [label[1], label[1].split(/\s/u)[0]].find((name) => texts.every((text) => restOf(text, name)));
  if (!first) return column;
  const rests = texts.map((text) => restOf(text, first));
  const isMarked = texts.every((text) => /^\s*[:#]/u.test(text.slice(first.length)));
  const isNamed = fields.some((field) => likeness(first, field) >= 0.7) || (first.endsWith(".") && texts.length > 1);
  if (!isMarked && !(isNamed && rests.every((rest) => isCode(rest) || isNumber(rest)))) return column;
  const stripped = cells.map((cell) => cell && placed(cell, ["", restOf(cell.text, first)])[1]);
  const inner = featuresOf(stripped, features.isCounter);
  return { ...column, head: column.head || first, cells: stripped, features: inner };
}

/** @param {string} text @param {string} label @returns {string} "" where the text does not begin with it */
function restOf(text, label) {
  const after = text.slice(label.length);
  return text.startsWith(label) && /^[\s:#]/u.test(after) ? after.replace(/^[\s:#]+/u, "") : "";
}
