// JSON as a tree that loses nothing: names keep their order, also those that are digits, and numbers their digits.

/** @typedef {string | boolean | null | Numeral | Json[] | Members} Json */
/** @typedef {Map<string, Json>} Members the members of an object */
/** @typedef {(string | number)[]} Steps names and indexes from the top to a value */
/** @typedef {{ from: number, to: number }} Span characters of the text */

/** A number as it is written. */
export class Numeral {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** The text is not JSON; `position` is where. */
export class JsonSyntaxError extends Error {
  /** @param {string} message @param {number} position */
  constructor(message, position) {
    super(message);
    this.position = position;
  }
}

const SPACE = /[ \t\r\n\uFEFF]*/uy;
const TEXT = /"(?:[^"\\\u0000-\u001F]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy; // eslint-disable-line no-control-regex
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/uy;
const WORD = /true|false|null/uy;
const MAX_DEPTH = 64;
const MAX_INLINE = 72; // as the server writes schemas

class Parser {
  /** @param {string} text @param {(steps: Steps, span: Span) => void} [found] called for each value, with its name */
  constructor(text, found) {
    this.text = text;
    this.found = found;
    this.position = 0;
    /** @type {Steps} */
    this.steps = [];
  }

  /** @param {RegExp} pattern sticky */
  match(pattern) {
    pattern.lastIndex = this.position;
    const [word] = pattern.exec(this.text) ?? [null];
    if (word !== null) this.position += word.length;
    return word;
  }

  /** @param {string} message @returns {never} */
  fail(message) {
    throw new JsonSyntaxError(message, Math.min(this.position, this.text.length));
  }

  document() {
    const value = this.value(0);
    if (this.position < this.text.length) this.fail("there is unexpected text after the end of the JSON value");
    return value;
  }

  /** @param {number} from where its name starts @returns {Json} */
  value(from) {
    this.match(SPACE);
    const start = from || this.position;
    if (this.steps.length > MAX_DEPTH) this.fail(`values must not be nested more than ${MAX_DEPTH} deep`);
    const value = this.bare();
    this.found?.(this.steps, { from: start, to: this.position });
    this.match(SPACE);
    return value;
  }

  /** @returns {Json} */
  bare() {
    const letter = this.text[this.position];
    if (letter === "{") return this.object();
    if (letter === "[") return this.array();
    if (letter === '"') return this.string();
    const word = this.match(WORD);
    if (word) return word === "null" ? null : word === "true";
    const number = this.match(NUMBER);
    return number ? new Numeral(number) : this.fail("a value is expected here");
  }

  /** @returns {string} */
  string() {
    const text = this.match(TEXT);
    return text === null ? this.fail("a string in double quotes, closed on the same line, is expected here") : JSON.parse(text);
  }

  array() {
    /** @type {Json[]} */
    const values = [];
    this.position += 1;
    this.match(SPACE);
    if (this.take("]")) return values;
    do {
      this.steps.push(values.length);
      values.push(this.value(0));
      this.steps.pop();
    } while (this.take(","));
    if (!this.take("]")) this.fail("a comma or a closing bracket is missing here");
    return values;
  }

  object() {
    /** @type {Members} */
    const members = new Map();
    this.position += 1;
    this.match(SPACE);
    if (this.take("}")) return members;
    do {
      this.match(SPACE);
      const from = this.position;
      if (this.text[from] !== '"') this.fail("a name in double quotes is expected here");
      const name = this.string();
      if (members.has(name)) {
        this.position = from;
        this.fail(`the name "${name}" occurs twice`);
      }
      this.match(SPACE);
      if (!this.take(":")) this.fail("a colon is missing here");
      this.steps.push(name);
      members.set(name, this.value(from));
      this.steps.pop();
    } while (this.take(","));
    if (!this.take("}")) this.fail("a comma or a closing brace is missing here");
    return members;
  }

  /** @param {string} sign */
  take(sign) {
    if (this.text[this.position] !== sign) return false;
    this.position += 1;
    return true;
  }
}

/** @param {string} text @returns {Json} */
export const parse = (text) => new Parser(text).document();

/**
 * Where a value stands, with its name; the nearest value around it if the steps lead nowhere.
 * @param {string} text @param {Steps} steps
 */
export function spanOf(text, steps) {
  /** @type {Span | null} */
  let best = null;
  let depth = -1;
  try {
    new Parser(text, (here, span) => {
      const isAround = here.length <= steps.length && here.every((step, index) => String(step) === String(steps[index]));
      if (isAround && here.length > depth) [best, depth] = [span, here.length];
    }).document();
  } catch {
    return best;
  }
  return /** @type {Span | null} */ (best);
}

/** @param {Json | undefined} value @returns {value is Members} */
export const isObject = (value) => value instanceof Map;

/** @param {Json} value @returns {string} */
function inline(value) {
  if (value instanceof Numeral) return value.text;
  if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
  if (isObject(value)) return `{${[...value].map(([name, one]) => `${JSON.stringify(name)}: ${inline(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** The text of a tree, laid out as the server lays out schemas. @param {Json} value @param {number} depth @returns {string} */
export function print(value, depth = 0) {
  const inside = isObject(value) ? [...value.values()] : Array.isArray(value) ? value : [];
  const line = inline(value);
  const isFlat = !inside.some((one) => isObject(one) || Array.isArray(one));
  if (!inside.length || (depth && line.length <= MAX_INLINE && isFlat)) return line;
  const margin = "  ".repeat(depth + 1);
  const outer = "  ".repeat(depth);
  if (isObject(value)) {
    const members = [...value].map(([name, one]) => `${margin}${JSON.stringify(name)}: ${print(one, depth + 1)}`);
    return `{\n${members.join(",\n")}\n${outer}}`;
  }
  return `[\n${inside.map((one) => margin + print(one, depth + 1)).join(",\n")}\n${outer}]`;
}

/** A copy that shares nothing. @template {Json} T @param {T} value @returns {T} */
export const copy = (value) => /** @type {T} */ (parse(print(value)));
