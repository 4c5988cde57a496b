// Reads lines of a document as rows of a table: one mapping of columns to fields for all of them. Pure.

/** @import { Cell, Column } from "./line_columns.js" */
/** @import { Features } from "./column_features.js" */

import { featuresOf } from "./column_features.js";
import { splitsOf, withoutLabel } from "./column_splits.js";
import { assign } from "./column_assignment.js";
import { headOf, withoutForeignHead } from "./column_heads.js";
import { columnsOf } from "./line_columns.js";
import { wordsOf } from "./cell_kinds.js";

/**
 * @typedef {object} TableField a column of the grid
 * @property {string} key
 * @property {string} title
 * @property {string} shape
 * @property {string} type of the value in the schema
 * @property {boolean} required
 * @property {string[]} [choices] the texts of a choice
 *
 * @typedef {{ head: string, cells: Column, features: Features, isPart?: boolean }} ReadColumn `isPart`: of a column that was divided
 *
 * @typedef {string | null} Target the key of a field, JOIN for the field of the column before, null for none
 *
 * @typedef {object} Reading
 * @property {ReadColumn[]} columns
 * @property {Target[]} targets one for each column
 */

/** The target of a column that belongs to the one before it. */
export const JOIN = "$join";

const MAX_SPLITS = 8;
const SPLIT = 0.05; // what a split must be worth

/**
 * @param {string[]} lines selected, each as a whole
 * @param {TableField[]} fields
 * @param {string[]} above the lines above them, where the heads of the columns may be
 * @returns {Reading}
 */
export function readTable(lines, fields, above = []) {
  const { heads, columns } = headOf(columnsOf(lines), fields, lines, above);
  const reading = mapped(columns, heads, fields);
  const foreign = heads.some(Boolean) ? null : withoutForeignHead(lines);
  if (!foreign) return reading;
  const rest = mapped(columnsOf(foreign.lines), [], fields);
  return rest.columns.length === foreign.words.length ? rest : reading;
}

/** @param {Column[]} cut @param {string[]} heads @param {TableField[]} fields @returns {Reading} */
function mapped(cut, heads, fields) {
  let columns = cut.map((cells, index) => withoutLabel(columnOf(cells, heads[index] ?? "", index === 0 && cut.length > 1), fields));
  let best = assign(columns, fields);
  for (let splits = 0; splits < MAX_SPLITS; splits += 1) {
    const next = bestSplit(columns, fields);
    if (!next || (next.score <= best.score + SPLIT && !next.isCounter)) break;
    ({ columns } = next);
    best = next;
  }
  return { columns, targets: best.targets };
}

/** @param {Column} cells @param {string} head @param {boolean} mayCount whether its numbers may count the rows @returns {ReadColumn} */
const columnOf = (cells, head, mayCount) => ({ head, cells, features: featuresOf(cells, mayCount) });

/**
 * The division of one column that lets the fields fit best.
 * @param {ReadColumn[]} columns @param {TableField[]} fields
 */
function bestSplit(columns, fields) {
  let best = null;
  for (const [index, column] of columns.entries()) {
    for (const { parts, isCounter } of splitsOf(column)) {
      const pieces = parts.map(({ cells, head }, place) => withoutLabel({ ...columnOf(cells, head, index + place === 0), isPart: true }, fields));
      const divided = columns.toSpliced(index, 1, ...pieces);
      const { score, targets } = assign(divided, fields);
      if (!best || (isCounter && !best.isCounter) || (score > best.score && isCounter === best.isCounter)) best = { columns: divided, score, targets, isCounter };
    }
  }
  return best;
}

/**
 * The cells of each row by field. A cell of a joined column follows the one before it.
 * @param {Reading} reading
 * @returns {Map<string, Cell[]>[]}
 */
export function rowsOf({ columns, targets }) {
  const count = columns[0]?.cells.length ?? 0;
  return Array.from({ length: count }, (_, row) => {
    /** @type {Map<string, Cell[]>} */
    const cells = new Map();
    /** @type {string | null} */
    let key = null;
    columns.forEach((column, index) => {
      if (targets[index] !== JOIN) key = targets[index];
      const cell = column.cells[row];
      if (cell && key !== null) cells.set(key, [...(cells.get(key) ?? []), cell]);
    });
    return cells;
  });
}

/** What tables of one layout have in common: the heads of their columns, else the kinds of their cells. @param {Reading} reading */
export function layoutOf({ columns }) {
  const heads = columns.map(({ head }) => wordsOf(head).join(" "));
  if (heads.some(Boolean)) return heads.join("|");
  return columns.map(({ features }) => features.layout).join("|");
}
