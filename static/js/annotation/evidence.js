// Between the fields and the document: marks, what a selection fills, and which of several places is a value's evidence.

/** @import { Draft } from "./draft.js" */
/** @import { Form } from "./form.js" */
/** @import { Status } from "./status.js" */
/** @import { Block, LineRows } from "./line_rows.js" */
/** @import { Selected } from "./text_view.js" */
/** @import { DocumentState, Entry, FieldEvidence, Mark } from "./types" */
/** @import { Validation } from "./validation.js" */

import { controlOf, isLeaf, itemOf, leafOf, nodeOf, stepsOf } from "./nodes.js";
import { PageView } from "./page_view.js";
import { TextView } from "./text_view.js";
import { $ } from "../site/dom.js";

/** @typedef {{ path: string, entry: Entry, evidence: FieldEvidence | undefined }} Before a field before a selection filled it */

const UNTYPED = ["choice", "boolean"];
const SEVERAL_CELLS = /\S(?:\t|[^\S\n]{2,})\S/u;
/** @param {() => void} task Safari has no requestIdleCallback */
const whenIdle = (task) => void (window.requestIdleCallback ?? setTimeout)(task);
const LINES_ABOVE = 3; // the heads of columns are at most so far above the first row

export class Evidence {
  /** The field that was left last, while none has the focus. @type {Element | null} */
  #left = null;
  /** The path of the field under the pointer. @type {string | null} */
  #hovered = null;
  /** Lines selected for a grid, which row_add makes rows of. @type {Block & { before?: Before } | null} */
  #block = null;
  /** Makes rows of lines; loaded after the screen, where the form has a table. @type {LineRows | null} */
  #lineRows = null;
  /** @type {DocumentState | null} */
  #state = null;

  /**
   * @param {object} options
   * @param {Draft} options.draft
   * @param {Form} options.form
   * @param {Validation} options.validation
   * @param {Status} options.status
   * @param {() => void} options.left a field was left for the first time
   * @param {(path: string | null) => void} options.entered a field has the focus
   */
  constructor({ draft, form, validation, status, left, entered }) {
    this.draft = draft;
    this.form = form;
    this.validation = validation;
    this.status = status;
    this.entered = entered;
    /** @type {Selected} */
    const selected = (words, start, end, rows) => this.select(words, start, end, rows ?? null);
    this.text = new TextView($("document"), $("document-scroll"), {
      selected,
      clicked: (path) => form.focus(path),
      touched: (isSelected) => this.#offerSelection(isSelected),
    });
    $("take-selection").addEventListener("pointerdown", (event) => event.preventDefault()); // it would end the selection
    $("take-selection").addEventListener("click", () => this.#takeSelection());
    this.pages = new PageView({
      selected,
      slice: (start, end) => this.text.slice(start, end),
      isNumeric: () => this.node?.dataset.shape === "number",
      announce: (text) => status.announce(text),
    });
    this.#listen($("form"), left);
  }

  /** @param {DocumentState} state */
  open(state) {
    this.#left = null;
    this.#hovered = null;
    this.#block = null;
    this.text.open(state.text);
    this.pages.open(state.pages);
    this.#state = state;
    this.#lineRows?.open(state);
    if (this.#gridOf(null)) whenIdle(() => this.#loadLineRows().catch(() => {})); // adding rows tries again
  }

  /**
   * The field that a selection in the document fills: the one with the focus, else the one that had it last. It is read
   * from the page, as a document is also opened without any event of the focus.
   */
  get node() {
    const node = this.form.leafInFocus ?? this.#left;
    return node?.isConnected ? node : null;
  }

  /** The current path of the node: rows come and go. */
  get path() {
    return this.node === null ? null : this.form.pathOf(this.node);
  }

  /** Where the row with the focus is in the document; null outside of rows. */
  get rowStart() {
    const { path: own } = this;
    const row = own?.slice(0, own.lastIndexOf("]") + 1);
    const others = Object.entries(this.draft.evidence).filter(([path]) => row && path !== own && path.startsWith(`${row}.`));
    return others.find(([, { start }]) => start !== undefined)?.[1].start ?? null;
  }

  /** @param {HTMLElement} root @param {() => void} left */
  #listen(root, left) {
    root.addEventListener("focusin", ({ target }) => {
      if (target.matches("[data-control]")) this.enter();
    });
    // Before all that asks for the field.
    root.addEventListener("focusout", ({ target }) => (this.#left = leafOf(target) ?? this.#left), { capture: true });
    root.addEventListener("input", () => (this.#block = null));
    root.addEventListener("focusout", ({ target, relatedTarget }) => {
      if (!relatedTarget?.closest?.("#form")) return;
      const fresh = nodesAround(target).filter((node) => !node.contains(relatedTarget) && !("touched" in node.dataset));
      for (const node of fresh) node.dataset.touched = "";
      if (fresh.length) left();
    });
    root.addEventListener("mouseover", ({ target }) => {
      const node = target.closest('[data-node="leaf"]');
      const path = node ? this.form.pathOf(node) : null;
      if (path === this.#hovered) return;
      this.#hovered = path;
      this.draw();
    });
  }

  /** A field has the focus, or another document is in the field that has it. */
  enter() {
    this.#block = null;
    this.entered(this.path);
    this.draw();
    this.#reveal();
    this.drawLine();
  }

  draw() {
    /** @type {Mark[]} */
    const marks = [];
    const focused = this.path;
    for (const leaf of this.form.root.querySelectorAll('[data-node="leaf"]')) {
      const path = this.form.pathOf(leaf);
      const { start: from, end: to } = this.draft.evidence[path] ?? {};
      const isFocused = path === focused;
      const { color, title } = leaf.dataset;
      if (from !== undefined && to !== undefined) {
        const tone = isFocused ? "strong" : path === this.#hovered ? "lit" : "faint";
        marks.push({ start: from, end: to, path, color, title, tone });
      }
      if (!isFocused) continue;
      for (const [start, end] of this.validation.shown.spans[path] ?? []) {
        if (start !== from) marks.push({ start, end, path, color, title, tone: "other" });
      }
    }
    this.text.mark(marks);
    this.pages.mark(marks);
  }

  #reveal() {
    const start = this.draft.evidence[this.path ?? ""]?.start;
    if (start === undefined) return;
    this.text.reveal(start);
    this.pages.reveal(start);
  }

  /** Draws the line below the form. */
  drawLine() {
    const { node, path, status, validation } = this;
    if (this.#block) status.showBlock(this.#block.lines.length);
    else if (node && path !== null) status.showField(node, validation.factsOf(path));
    else status.showField(null);
  }

  /** Moves to the next occurrence of the value in the document. @returns {boolean} false without one */
  cycle() {
    const { path } = this;
    const spans = path === null ? undefined : this.validation.shown.spans[path];
    if (path === null || !spans?.length) return false;
    const { start: from, end: to } = this.draft.evidence[path] ?? {};
    const current = spans.findIndex(([start, end]) => start === from && end === to);
    const [start, end] = spans[(current + 1) % spans.length];
    this.draft.checkpoint();
    this.draft.evidence[path] = { start, end };
    this.validation.drawFacts();
    this.draw();
    this.#reveal();
    this.drawLine();
    if (spans.length > 1) this.form.changed();
    return true;
  }

  /** A finger extends a selection by its handles, so a button takes it. @param {boolean} isSelected */
  #offerSelection(isSelected) {
    const { node } = this;
    const isBlock = isSelected && this.#isForGrid(getSelection()?.toString() ?? "", node);
    $("take-selection").hidden = !isBlock && !(isSelected && node);
    $("take-selection").textContent = isBlock ? "Make rows" : `Fill ${node?.dataset.title ?? ""}`;
  }

  /** Fills the field, or makes rows of lines. */
  #takeSelection() {
    this.text.readSelection();
    if (this.#block && !this.#block.before) this.addBlock(this.node);
  }

  /** Whether several lines become rows: a field for several lines is filled with them. @param {string} words @param {Element | null} node */
  #isForGrid(words, node) {
    const isFilled = node?.dataset.node === "leaf" && !node.matches("td") && node.dataset.shape === "lines";
    return words.includes("\n") && !isFilled && this.#gridOf(node) !== null;
  }

  /**
   * Text selected in the document fills the field that had the focus; several lines are kept for a grid, and a line with
   * several cells as well.
   * @param {string} words @param {number} start @param {number} end
   * @param {[start: number, end: number][][] | null} rows the parts of each line, where the lines of a page are selected
   */
  select(words, start, end, rows = null) {
    const { node, path, form, draft } = this;
    if ($("form").hidden) return;
    const isRow = SEVERAL_CELLS.test(words);
    const block = (isRow || words.includes("\n")) && this.#gridOf(node) ? this.#blockOf(start, end, rows) : null;
    // Where a field is filled with them, rows can be made of them all the same.
    this.#block = this.#isForGrid(words, node) ? block : null;
    if (this.#block) {
      this.drawLine();
      return;
    }
    if (!node || path === null || node.dataset.node !== "leaf" || UNTYPED.includes(node.dataset.shape ?? "")) return;
    const before = { path, entry: draft.get(stepsOf(node)), evidence: draft.evidence[path] };
    draft.checkpoint();
    draft.evidence[path] = { start, end, by: "hand" };
    node.dataset.touched = "";
    const value = words.replace(/\s+/gu, " ");
    form.put(node, node.dataset.shape === "json" ? { $json: JSON.stringify(value) } : value);
    const control = controlOf(node);
    control?.focus();
    control?.setSelectionRange?.(value.length, value.length);
    if (block) this.#block = { ...block, before };
    this.drawLine();
    this.draw();
  }

  /**
   * Whole lines, also where the selection begins in the middle of one.
   * @param {number} start @param {number} end @param {[start: number, end: number][][] | null} rows
   * @returns {Block}
   */
  #blockOf(start, end, rows) {
    const lines = rows ? rows.map((row) => this.text.lineOf(row)) : this.text.linesBetween(start, end);
    return { lines: lines.filter(({ text }) => text.trim()), above: this.text.linesAbove(start, LINES_ABOVE) };
  }

  /** The table around a node, else the first one. @param {Element | null} node */
  #gridOf(node) {
    return node?.closest('[data-node="table"]') ?? this.form.root.querySelector('[data-node="table"]');
  }

  async #loadLineRows() {
    if (this.#lineRows) return;
    const { LineRows } = await import("./line_rows.js");
    if (this.#lineRows || !this.#state) return;
    this.#lineRows = new LineRows({ form: this.form, text: this.text, status: this.status });
    this.#lineRows.open(this.#state);
  }

  /** Makes rows of the selected lines. @param {Element | null} node @returns {boolean} false where none are selected */
  addBlock(node) {
    const grid = this.#gridOf(node);
    if (!this.#block || !grid) return false;
    if (this.#lineRows) this.#addRows(this.#lineRows, grid, this.#block);
    else this.#addOnceLoaded(grid, this.#block);
    return true;
  }

  /** Adds the rows, unless the annotator continued by then. @param {Element} grid @param {Block & { before?: Before }} block */
  async #addOnceLoaded(grid, block) {
    try {
      await this.#loadLineRows();
    } catch {
      this.status.announce("No rows were added: the server does not respond.");
    }
    if (this.#lineRows && this.#block === block) this.#addRows(this.#lineRows, grid, block);
  }

  /** @param {LineRows} lineRows @param {Element} grid @param {Block & { before?: Before }} selected */
  #addRows(lineRows, grid, { before, ...block }) {
    this.#block = null;
    if (before) this.#putBack(before);
    lineRows.add(grid, block);
    getSelection()?.removeAllRanges();
  }

  /** Hides the columns of the rows that were added last. */
  hideColumns() {
    this.#lineRows?.hide();
  }

  /** Undoes what a selection filled before its lines became rows. @param {Before} before */
  #putBack({ path, entry, evidence }) {
    const { node, exact } = this.form.find(path);
    if (!exact) return;
    if (evidence === undefined) delete this.draft.evidence[path];
    else this.draft.evidence[path] = evidence;
    this.form.put(node, entry);
  }
}

/** The field, the row and the map around a control: an empty row is news once it is left. @param {Element} control */
function nodesAround(control) {
  const field = control.closest("[data-node]");
  const row = itemOf(control);
  const map = row?.parentElement?.closest('[data-node="map"]');
  return [field && isLeaf(field) ? field : null, row && nodeOf(row), row && map].filter((node) => node instanceof Element);
}
