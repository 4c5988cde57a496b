// What a field or a column is for, by its name: in "Item no" an article number, in "Unit price" a price. Pure.

import { wordsOf } from "./cell_kinds.js";

/** @typedef {"code" | "position" | "price" | "tax" | "unit" | "quantity" | "amount" | "note" | "description"} Role */

/** The first that matches counts. @type {[Role, RegExp][]} */
const ROLES = [
  ["code", /\b(?:sku|code|ref|reference|catalog(?:ue)?|ean|gtin|upc|barcode|part|id|(?:item|product|article|art|material|stock) (?:no|nr|number|num|#))\b/u],
  ["position", /^(?:pos|position|line|row|no|nr|number|num|#|index|item)$|^(?:line|row|pos) (?:no|nr|number|#|item)$/u],
  ["price", /\b(?:price|rate|cost|each)\b/u],
  ["tax", /\b(?:tax|vat|gst|discount)\b|%/u],
  ["quantity", /\b(?:qty|quantity|quantities|count|pieces|ordered|delivered|shipped)\b/u],
  ["unit", /\b(?:unit|units|uom|measure|um|uoms)\b/u],
  ["amount", /\b(?:amount|total|sum|net|gross|value|subtotal|extended)\b/u],
  ["note", /\b(?:notes?|remarks?|comments?)\b/u],
  ["description", /\b(?:desc|descr|description|name|product|item|article|title|goods|text|details?|service|material)\b/u],
];

/** @param {string} name @returns {Role | null} */
export function roleOf(name) {
  const plain = wordsOf(name).join(" ");
  return ROLES.find(([, pattern]) => pattern.test(plain))?.[0] ?? null;
}

/**
 * How well a head of a column names a field, from 0 to 1.
 * @param {string} head @param {{ key: string, title: string }} field
 */
export function likeness(head, { key, title }) {
  const words = wordsOf(head);
  if (!words.length) return 0;
  const [ours, theirs] = [roleOf(head), roleOf(title) ?? roleOf(key)];
  let best = ours && ours === theirs ? 0.7 : 0;
  for (const name of [title, key]) {
    const named = wordsOf(name);
    if (named.join(" ") === words.join(" ")) return 1;
    if (ours && theirs && ours !== theirs) continue;
    const [fewer, more] = named.length < words.length ? [named, words] : [words, named];
    if (fewer.length && fewer.every((word) => more.some((other) => isShortFor(word, other) || isShortFor(other, word)))) best = Math.max(best, 0.75);
  }
  return best;
}

/** Whether a word is another or an abbreviation of it: "descr", "qty". @param {string} word @param {string} whole */
function isShortFor(word, whole) {
  if (word === whole) return true;
  if (word.length < 3 || word.length >= whole.length || word[0] !== whole[0]) return false;
  if (whole.startsWith(word)) return true;
  let at = -1;
  for (const letter of word) {
    at = whole.indexOf(letter, at + 1);
    if (at < 0) return false;
  }
  return word.at(-1) === whole.at(-1);
}
