// Rows of a grid from lines of the document. A strip above the grid shows which field each column became, and changes it
// for all these rows at once; the browser keeps such a change for documents of the same source with the same columns.

/** @import { Form } from "./form.js" */
/** @import { Status } from "./status.js" */
/** @import { Cell } from "./tables/line_columns.js" */
/** @import { Reading, TableField, Target } from "./tables/table_lines.js" */
/** @import { DocumentLine, TextView } from "./text_view.js" */
/** @import { DocumentState, Entry, EntryGroup, FieldEvidence } from "./types" */

import { ColumnStrip } from "./column_strip.js";
import { keepTargets, keptTargets } from "./kept_columns.js";
import { bodyOf, controlOf, entryOfText, keyOf, newItem, stepsOf, textsOf } from "./nodes.js";
import { join, table } from "./paths.js";
import { layoutOf, readTable, rowsOf } from "./tables/table_lines.js";

/**
 * @typedef {{ lines: DocumentLine[], above: string[] }} Block selected lines, and those above them
 * @typedef {{ entry: Entry, evidence: FieldEvidence }} ReadCell
 * @typedef {{ grid: Element, reading: Reading, fields: GridField[], lines: DocumentLine[], first: number, count: number }} Added rows
 * @typedef {TableField & { node: Element }} GridField
 */

export class LineRows {
  /** @type {Added | null} */
  #added = null;
  #source = "";

  /** @param {{ form: Form, text: TextView, status: Status }} options */
  constructor({ form, text, status }) {
    this.form = form;
    this.text = text;
    this.status = status;
    this.strip = new ColumnStrip({ chosen: (targets) => this.#change(targets), closed: () => this.#focus(), key: () => status.shortcuts.label("messages") });
  }

  /** @param {DocumentState} state */
  open({ urls, source }) {
    this.hide();
    this.#source = `${urls.document.split("/label/")[0]} ${source}`;
  }

  hide() {
    this.#added = null;
    this.strip.hide();
  }

  /** Adds the rows of selected lines to a grid. @param {Element} grid @param {Block} block */
  add(grid, { lines, above }) {
    const { draft } = this.form;
    const steps = stepsOf(grid);
    const fields = fieldsOf(grid);
    const reading = readTable(lines.map(({ text }) => text), fields, above);
    const kept = keptTargets(this.#scopeOf(grid), layoutOf(reading));
    const isKept = kept?.length === reading.columns.length && kept.every((target) => !target || target.startsWith("$") || fields.some(({ key }) => key === target));
    if (isKept) reading.targets = kept;
    const rows = this.#read(reading, fields, lines);
    this.hide();
    if (!rows.length) {
      this.status.announce("The selected lines have no cells.");
      return;
    }
    draft.checkpoint();
    for (let index = draft.rows(steps).length - 1; index >= 0; index -= 1) {
      if (!Object.keys(draft.rows(steps)[index] ?? {}).length) draft.removeRow(steps, index);
    }
    const first = draft.rows(steps).length;
    draft.set(steps, [...draft.rows(steps), ...rows.map(entryOf)]);
    this.#added = { grid, reading, fields, lines, first, count: rows.length };
    rows.forEach((row, index) => this.#putEvidence(grid, first + index, row));
    this.#draw();
    this.status.announce(rows.length === 1 ? "1 row added." : `${rows.length} rows added.`);
    this.strip.show(grid, reading, fields, isKept);
    this.#focus();
  }

  /** Reads the added rows again, with other columns; what was typed into them since stays. @param {Target[]} targets */
  #change(targets) {
    const added = this.#added;
    if (!added) return;
    const { grid, reading, fields, lines, first } = added;
    const { draft } = this.form;
    const steps = stepsOf(grid);
    const before = this.#read(reading, fields, lines);
    reading.targets = targets;
    const after = this.#read(reading, fields, lines);
    draft.checkpoint();
    after.forEach((row, index) => {
      const place = first + index;
      /** @type {Map<string, ReadCell>} */
      const changed = new Map();
      for (const { key } of fields) {
        const entry = draft.get([...steps, place, key]);
        if (JSON.stringify(entry) !== JSON.stringify(before[index].get(key)?.entry)) continue;
        delete draft.evidence[join(join(this.form.pathOf(grid), place), key)];
        draft.set([...steps, place, key], row.get(key)?.entry);
        const cell = row.get(key);
        if (cell) changed.set(key, cell);
      }
      this.#putEvidence(grid, place, changed);
    });
    keepTargets(this.#scopeOf(grid), layoutOf(reading), targets);
    this.#draw();
  }

  /** @param {Element} grid */
  #scopeOf(grid) {
    return `${this.#source} ${this.form.pathOf(grid)}`;
  }

  /**
   * The cells of each row by field.
   * @param {Reading} reading @param {GridField[]} fields @param {DocumentLine[]} lines
   * @returns {Map<string, ReadCell>[]}
   */
  #read(reading, fields, lines) {
    return rowsOf(reading).map((row) => new Map([...row].map(([key, cells]) => {
      const { node } = /** @type {GridField} */ (fields.find((field) => field.key === key));
      return [key, { entry: entryOfText(node, cells.map(({ text }) => text).join(" ")), evidence: this.#placeOf(cells, lines) }];
    })));
  }

  /** @param {Cell[]} cells @param {DocumentLine[]} lines @returns {FieldEvidence} */
  #placeOf(cells, lines) {
    const [first] = cells;
    const last = cells.findLast(({ line }) => line === first.line) ?? first;
    const { unitAt } = lines[first.line];
    return { start: this.text.toPoint(unitAt(first.from)), end: this.text.toPoint(unitAt(last.to - 1) + 1), by: "hand" };
  }

  /** @param {Element} grid @param {number} index @param {Map<string, ReadCell>} row */
  #putEvidence(grid, index, row) {
    const path = join(this.form.pathOf(grid), index);
    for (const [key, { evidence }] of row) this.form.draft.evidence[join(path, key)] = evidence;
  }

  #draw() {
    if (!this.#added) return;
    const { grid, first, count } = this.#added;
    this.form.fillNode(grid, this.form.draft.get(stepsOf(grid)));
    this.strip.watch(bodyOf(grid), first + count, () => this.hide());
    this.form.changed();
  }

  /** The first cell of the rows takes the focus, and typing replaces it. */
  #focus() {
    if (!this.#added) return;
    const { grid, first } = this.#added;
    this.form.focus(join(this.form.pathOf(grid), first));
    const control = /** @type {FormControl | null} */ (controlOf(bodyOf(grid).children[first]));
    if (control === document.activeElement) control?.select?.();
  }
}

/** @param {Map<string, ReadCell>} row @returns {EntryGroup} */
const entryOf = (row) => table(Object.fromEntries([...row].map(([key, { entry }]) => [key, entry])));

/** @param {Element} grid @returns {GridField[]} */
function fieldsOf(grid) {
  const nodes = [...newItem(grid).querySelectorAll("td[data-node]")].filter((node) => !("fixed" in node.dataset));
  return nodes.map((node) => ({
    key: keyOf(node),
    title: node.dataset.title ?? keyOf(node),
    shape: node.dataset.shape ?? "",
    type: node.dataset.type ?? "",
    required: "required" in node.dataset,
    choices: textsOf(node),
    node,
  }));
}
