// Texts of a document or a spreadsheet as entries of a grid's columns.

/** @import { Entry } from "./types" */

import { choicesOf, controlOf } from "./nodes.js";

const YES = ["yes", "true", "1", "x", "y"];
const NO = ["no", "false", "0", "n"];

/**
 * A text as an entry of a column; one that is not a choice stays, and the validation rejects it.
 * @param {Element} column @param {string} text
 * @returns {Entry}
 */
export function entryOfText(column, text) {
  const { shape } = column.dataset;
  const plain = text.toLowerCase();
  if (!text) return undefined;
  if (shape === "boolean") return YES.includes(plain) ? true : NO.includes(plain) ? false : text;
  if (shape === "json") return { $json: JSON.stringify(text) };
  if (shape !== "choice") return text;
  return optionsOf(column).find(([code, label]) => code === text || label.toLowerCase() === plain)?.[0] ?? text;
}

/** The texts that a column takes; undefined for any. @param {Element} column */
export function textsOf(column) {
  const { shape } = column.dataset;
  if (shape === "boolean") return [...YES, ...NO];
  return shape === "choice" ? optionsOf(column).map(([, label]) => label) : undefined;
}

/** @param {Element} cell @returns {[code: string, label: string][]} */
function optionsOf(cell) {
  const control = controlOf(cell);
  if (control?.tagName !== "SELECT") return choicesOf(cell).map(([code, label]) => [code, label]);
  return [...control.options].slice(1).map((option) => [option.value, option.text]);
}
