// Paths into a label: "line_items[0].amount" as steps ["line_items", 0, "amount"], and the values there.

/** @import { ByPath, Entry, EntryGroup, RawEntry, Steps } from "./types" */

const PLAIN = /^[^.[\]"\\\s]+$/u;
const STEP = /\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.[\]"\\\s]+)/uy;

/** @param {string} path @param {string | number} step */
export function join(path, step) {
  if (typeof step === "number") return `${path}[${step}]`;
  if (!PLAIN.test(step)) return `${path}[${JSON.stringify(step)}]`;
  return path ? `${path}.${step}` : step;
}

/** @param {Steps} steps */
export const pathOf = (steps) => steps.reduce(join, "");

/** @param {string} path */
export function split(path) {
  /** @type {Steps} */
  const steps = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < path.length) {
    const match = STEP.exec(path);
    if (!match) break;
    if (match[1] !== undefined) steps.push(Number(match[1]));
    else steps.push(match[2] !== undefined ? JSON.parse(match[2]) : match[3]);
  }
  return steps;
}

/**
 * Values by name, without a prototype: a field may be called constructor.
 * @type {<T>(values?: Record<string, T> | null) => ByPath<T>}
 */
export const table = (values) => Object.assign(Object.create(null), values);

/** @type {<T>(values: Record<string, T>, name: string) => T | undefined} */
export const own = (values, name) => (Object.hasOwn(values, name) ? values[name] : undefined);

/** @param {Entry} entry @returns {entry is EntryGroup} */
const isObject = (entry) => entry !== null && typeof entry === "object" && !Array.isArray(entry);

/** Whether a value is kept as JSON text, as the form cannot show it. @param {Entry} entry @returns {entry is RawEntry} */
export const isRaw = (entry) => isObject(entry) && Object.keys(entry).length === 1 && typeof entry.$json === "string";

/** @param {Entry} entry @returns {entry is EntryGroup} */
export const isNamed = (entry) => isObject(entry) && !isRaw(entry);

/** The entry at one step, if there is one. @param {Entry} entry @param {string | number} step @returns {Entry} */
function child(entry, step) {
  if (typeof step === "number") return Array.isArray(entry) ? entry[step] : undefined;
  return isNamed(entry) ? own(entry, step) : undefined;
}

/** @param {Entry} entry @param {Steps} steps */
export const getIn = (entry, steps) => steps.reduce(child, entry);

/**
 * The entry with a value at the steps; undefined removes a name. Containers on the way are created.
 * @param {Entry} entry @param {Steps} steps @param {Entry} value
 * @returns {Entry}
 */
export function setIn(entry, steps, value) {
  if (!steps.length) return value;
  const [step, ...rest] = steps;
  const inner = setIn(child(entry, step), rest, value);
  if (typeof step === "number") {
    const rows = Array.isArray(entry) ? entry : [];
    while (rows.length < step) rows.push(""); // an empty row is "", not null
    rows[step] = inner;
    return rows;
  }
  const group = isNamed(entry) ? entry : {};
  if (inner === undefined) delete group[step];
  // A plain assignment would set the prototype where a field is called __proto__.
  else Object.defineProperty(group, step, { value: inner, writable: true, enumerable: true, configurable: true });
  return group;
}

/**
 * Moves values at rows from `from` on by `delta`; those of a removed row are dropped.
 * @type {<T>(values: ByPath<T>, path: string, from: number, delta: 1 | -1) => ByPath<T>}
 */
export function shiftRows(values, path, from, delta) {
  const result = table(/** @type {typeof values} */ ({}));
  for (const [key, value] of Object.entries(values)) {
    const match = key.startsWith(`${path}[`) ? /^(\d+)\](.*)$/su.exec(key.slice(path.length + 1)) : null;
    const row = match ? Number(match[1]) : -1;
    if (!match || row < from) result[key] = value;
    else if (delta > 0 || row > from) result[`${path}[${row + delta}]${match[2]}`] = value;
  }
  return result;
}
