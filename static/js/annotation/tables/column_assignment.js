// Which column belongs to which field: by the heads of the columns, what their cells hold, and their order. Pure.

/** @import { ReadColumn, TableField, Target } from "./table_lines.js" */
/** @import { Role } from "./field_roles.js" */

import { wordsOf } from "./cell_kinds.js";
import { likeness, roleOf } from "./field_roles.js";

/** @typedef {{ score: number, targets: Target[] }} Assignment */

const NEVER = -Infinity;
const IN_ORDER = 0.12;

/**
 * The assignment with the highest score: each column to one field at most, each field to one column at most.
 * @param {ReadColumn[]} columns @param {TableField[]} fields
 * @returns {Assignment}
 */
export function assign(columns, fields) {
  const products = productOf(columns);
  const roles = fields.map((field) => roleOf(field.title) ?? roleOf(field.key));
  const longest = Math.max(0, ...columns.map(({ features }) => (features.numbers > 0.5 ? 0 : features.length)));
  const fits = columns.map((column, index) => fields.map((field, place) =>
    fitOf(column, field, roles[place], column.features.length === longest) + (roles[place] !== null && products[index] === roles[place] ? 0.6 : 0)));
  /** @type {Map<string, { score: number, targets: number[], used: number, last: number }>} */
  let states = new Map([["0 -1", { score: 0, targets: [], used: 0, last: -1 }]]);
  columns.forEach((column, index) => {
    /** @type {typeof states} */
    const next = new Map();
    for (const { score, targets, used, last } of states.values()) {
      for (let place = -1; place < fields.length; place += 1) {
        if (place >= 0 && (used & (1 << place) || fits[index][place] === NEVER)) continue;
        const gain = place < 0 ? -lossOf(column) : fits[index][place] + (place === last + 1 ? IN_ORDER : place > last ? IN_ORDER / 2 : 0);
        const state = { score: score + gain, targets: [...targets, place], used: place < 0 ? used : used | (1 << place), last: place < 0 ? last : place };
        const key = `${state.used} ${state.last}`;
        if (state.score > (next.get(key)?.score ?? NEVER)) next.set(key, state);
      }
    }
    states = next;
  });
  let best = { score: NEVER, targets: /** @type {number[]} */ ([]) };
  for (const { score, targets, used } of states.values()) {
    const missing = fields.reduce((sum, { required }, place) => sum + (used & (1 << place) ? 0 : required ? 0.4 : 0.2), 0);
    if (score - missing > best.score) best = { score: score - missing, targets };
  }
  return { score: best.score, targets: best.targets.map((place) => (place < 0 ? null : fields[place].key)) };
}

/** What it costs to leave a column out. @param {ReadColumn} column */
function lossOf({ features, isPart }) {
  if (features.isCounter) return 0;
  if (features.numbers > 0.6 || features.dates > 0.6) return 0.25 * features.filled;
  return isPart ? 1 : 0.5 * features.filled;
}

/**
 * How well a column fits a field: NEVER, or about 1 for a good fit.
 * @param {ReadColumn} column @param {TableField} field @param {Role | null} role @param {boolean} isLongest
 */
function fitOf({ head, features }, field, role, isLongest) {
  const named = head ? likeness(head, field) * 1.5 : 0;
  if (features.isCounter && role !== "position" && named < 1) return features.rows > 2 || field.shape !== "number" ? NEVER : -0.3;
  const fit = shapeFit(features, field, role, isLongest);
  return fit === NEVER ? NEVER : fit + named - 0.6 * (1 - features.filled);
}

/** @param {ReadColumn["features"]} features @param {TableField} field @param {Role | null} role @param {boolean} isLongest */
function shapeFit(features, field, role, isLongest) {
  const { numbers, integers, money, dates, codes, amounts } = features;
  switch (field.shape) {
    case "number": {
      if (numbers < 0.6) return numbers + amounts < 0.6 ? NEVER : 0.15;
      const isPrice = role === "price" || role === "amount" || role === "tax";
      const whole = field.type === "integer" && integers < 0.5 ? -0.7 : 0;
      return numbers + whole + (isPrice ? 0.25 * money : role === "quantity" ? 0.25 * (integers - money) : 0) - (role === "position" ? 0.8 : 0);
    }
    case "date":
      return dates < 0.6 ? NEVER : dates;
    case "choice":
    case "boolean":
      return choiceFit(features, field);
    default:
      if (dates > 0.6 || (numbers > 0.6 && money > 0.5)) return -0.3;
      if (role === "code") return codes > 0.6 ? 1 : numbers > 0.6 ? 0.6 : features.words < 1.5 && !features.isUnit ? 0.5 : 0.1;
      if (numbers > 0.6 || codes > 0.9) return role === null ? 0.2 : -0.3;
      if (role === "unit") return features.isUnit ? 1 : features.length > 12 ? -0.3 : 0.3;
      if (role === "description") return 0.5 + (isLongest ? 0.4 : 0) - (features.isUnit && !isLongest ? 0.3 : 0);
      return 0.5 + (field.shape === "lines" && isLongest ? 0.2 : 0);
  }
}

/** @param {ReadColumn["features"]} features @param {TableField} field */
function choiceFit({ texts }, field) {
  const plain = (/** @type {string} */ text) => wordsOf(text).join(" ");
  const choices = new Set((field.choices ?? []).map(plain));
  const share = texts.filter((text) => choices.has(plain(text))).length / Math.max(1, texts.length);
  return share < 0.5 ? NEVER : share + 0.2;
}

/**
 * The roles of three number columns of which the last is the product of the others.
 * @param {ReadColumn[]} columns
 * @returns {Record<number, Role>} by the number of the column
 */
function productOf(columns) {
  const numeric = [...columns.keys()].filter((index) => columns[index].features.numbers > 0.6 && !columns[index].features.isCounter);
  for (const total of numeric) {
    for (const one of numeric) {
      for (const other of numeric) {
        if (one >= other || total === one || total === other || !multiply(columns, one, other, total)) continue;
        const [first, second] = [columns[one].features, columns[other].features];
        const isSwapped = second.money < first.money;
        return { [total]: "amount", [one]: isSwapped ? "price" : "quantity", [other]: isSwapped ? "quantity" : "price" };
      }
    }
  }
  return {};
}

/** @param {ReadColumn[]} columns @param {number} one @param {number} other @param {number} total */
function multiply(columns, one, other, total) {
  let [right, count, varied] = [0, 0, false];
  const values = [one, other, total].map((index) => columns[index].features.values);
  values[0].forEach((first, row) => {
    const [second, product] = [values[1][row], values[2][row]];
    if (first === null || second === null || product === null) return;
    count += 1;
    varied ||= first !== 1 && second !== 1;
    if (Math.abs(first * second - product) < 0.006 + Math.abs(product) * 0.0005) right += 1;
  });
  return varied && count > 0 && right >= count * 0.8;
}
