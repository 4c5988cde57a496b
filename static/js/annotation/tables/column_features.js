// What the cells of a column have in common. Pure.

/** @import { Column } from "./line_columns.js" */

import { isCode, isDate, isInteger, isMoney, isNumber, valueOf } from "./cell_kinds.js";

/**
 * @typedef {object} Features shares from 0 to 1
 * @property {number} filled of the rows
 * @property {number} numbers
 * @property {number} integers
 * @property {number} money
 * @property {number} dates
 * @property {number} codes
 * @property {number} amounts numbers with a unit or the like behind them
 * @property {number} words mean number of words
 * @property {number} length mean length of the texts
 * @property {boolean} isUnit short words without digits
 * @property {boolean} isCounter 1, 2, 3, ... or 10, 20, 30, ... in the first column
 * @property {number} rows
 * @property {string[]} texts
 * @property {(number | null)[]} values
 * @property {string} layout the kind, for comparisons with another table
 */

const STEPS = [1, 5, 10, 100];

/** @param {Column} column @param {boolean} mayCount whether its numbers may count the rows @returns {Features} */
export function featuresOf(column, mayCount) {
  const texts = column.flatMap((cell) => (cell ? [cell.text] : []));
  const share = (/** @type {(text: string) => boolean} */ test) => (texts.length ? texts.filter(test).length / texts.length : 0);
  const mean = (/** @type {(text: string) => number} */ size) => texts.reduce((sum, text) => sum + size(text), 0) / Math.max(1, texts.length);
  const numbers = share(isNumber);
  const words = mean((text) => text.split(/\s+/u).length);
  const length = mean((text) => text.length);
  const isCounter = mayCount && counts(texts, column.length);
  const isUnit = share((text) => !/\p{Nd}/u.test(text)) >= 0.9 && length <= 11 && words < 2.2;
  const dates = share(isDate);
  return {
    filled: texts.length / Math.max(1, column.length),
    numbers, words, length, isCounter, isUnit, dates,
    integers: share(isInteger),
    money: share(isMoney),
    codes: share(isCode),
    amounts: share((text) => /^\p{Nd}/u.test(text) && !isNumber(text) && !isDate(text)),
    rows: column.length,
    texts,
    values: column.map((cell) => (cell && isNumber(cell.text) ? valueOf(cell.text) : null)),
    layout: isCounter ? "counter" : dates > 0.6 ? "date" : numbers > 0.6 ? "number" : "text",
  };
}

/** @param {string[]} texts @param {number} rows */
function counts(texts, rows) {
  if (texts.length < rows * 0.8 || !texts.every((text) => /^\d{1,4}[.)]?$/u.test(text))) return false;
  const values = texts.map((text) => parseInt(text, 10));
  const steps = values.slice(1).map((value, index) => value - values[index]);
  if (!steps.length) return STEPS.includes(values[0]) && values[0] < 100;
  if (steps.every((step) => step === steps[0]) && STEPS.includes(steps[0])) return true;
  return values.length > 3 && steps.every((step) => step > 0 && step < 4 * steps[0]) && values[values.length - 1] <= 3 * values.length;
}
