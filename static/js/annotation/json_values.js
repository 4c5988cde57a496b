// Values of a label as JSON text, without the page.

/** @typedef {undefined | null | string | boolean | Verbatim | Value[] | { [name: string]: Value }} Value */

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/u;

/** JSON text that is written as it is: numbers keep their digits. */
class Verbatim {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** JSON text that is kept as it is; what is no JSON is a text. @param {string} text */
export function raw(text) {
  if (!text.trim()) return undefined;
  try {
    JSON.parse(text);
    return new Verbatim(text.trim());
  } catch {
    return text;
  }
}

/**
 * A text of a field as JSON; undefined where only the server can say what it means.
 * @param {string} text
 * @param {{ shape: string, known: string | undefined, isNullable: boolean }} field `known`: how the server read the text
 * @returns {Value}
 */
export function valueOfText(text, { shape, known, isNullable }) {
  if (shape === "number") return NUMBER.test(known ?? text) || known === "null" ? new Verbatim(known ?? text) : undefined;
  return known === "null" && isNullable ? null : known;
}

/** Indented by two blanks, as the server indents. @param {Value} value @param {string} indent @returns {string} */
export function print(value, indent = "") {
  if (value instanceof Verbatim) return value.text;
  const inner = `${indent}  `;
  /** @param {string[]} parts @param {string} open @param {string} close */
  const list = (parts, open, close) => (parts.length ? `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}` : open + close);
  if (Array.isArray(value)) return list(value.map((part) => print(part, inner)), "[", "]");
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return list(Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${print(part, inner)}`), "{", "}");
}
