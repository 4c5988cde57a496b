// Grids: spreadsheet keys, blocks of cells pasted and copied, layout.

/** @import { Form } from "./form.js" */
/** @import { Entry } from "./types" */

import { chord } from "./chords.js";
import { readBlock, writeBlock } from "./clipboard.js";
import { controlOf, entryOfText, indexOf, keyOf, newItem, rowsOf, stepsOf } from "./nodes.js";
import { isNamed } from "./paths.js";
import { find } from "../site/dom.js";

/** @typedef {HTMLTableCellElement} Cell */

const CELL = "td[data-node]";

/** @param {Element} row @returns {Cell[]} */
const cellsOf = (row) => /** @type {Cell[]} */ ([...row.children].filter((cell) => cell.matches(CELL)));

/** @param {HTMLElement} root @param {Form} form */
export function gridKeys(root, form) {
  const selection = new RowSelection(root);
  replaceAfterTab(root);
  root.addEventListener("keydown", (event) => {
    const cell = event.target.closest(CELL);
    if (!cell) return;
    if (selection.key(event, cell)) {
      event.preventDefault();
      return;
    }
    const target = targetOf(event, cell, form);
    if (target === undefined) return;
    event.preventDefault();
    target?.focus();
    target?.select?.();
  });
  root.addEventListener("paste", (event) => {
    const cell = event.target.closest(CELL);
    const block = cell && readBlock(event.clipboardData?.getData("text/plain") ?? "");
    if (!block) return;
    event.preventDefault();
    pasteBlock(cell, block, form);
  });
  root.addEventListener("copy", (event) => {
    if (!selection.rows.length) return;
    event.preventDefault();
    event.clipboardData?.setData("text/plain", writeBlock(selection.rows.map((row) => cellsOf(row).map(textOf))));
  });
}

/** What is typed after a Tab into a cell replaces its text, also where it may have several lines. @param {HTMLElement} root */
function replaceAfterTab(root) {
  let isTab = false;
  document.addEventListener("keydown", (event) => (isTab = event.key === "Tab"), { capture: true });
  document.addEventListener("pointerdown", () => (isTab = false), { capture: true });
  root.addEventListener("focusin", ({ target }) => {
    if (isTab && target.matches("textarea") && target.closest(CELL)) target.select();
  });
}

/** Whole rows, selected with Shift and the arrows. */
class RowSelection {
  /** @type {Element[]} */
  rows = [];
  /** @type {Element | null} */
  #anchor = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    root.addEventListener("pointerdown", () => this.#clear());
    root.addEventListener("focusout", (event) => root.contains(event.relatedTarget ?? null) || this.#clear());
  }

  /** Whether a key extends the selection. @param {KeyboardEvent} event @param {Cell} cell */
  key(event, cell) {
    const pressed = chord(event);
    if (pressed !== "Shift+ArrowUp" && pressed !== "Shift+ArrowDown") {
      if (!["Shift", "Control", "Meta", "Alt"].includes(event.key) && !event.ctrlKey && !event.metaKey) this.#clear();
      return false;
    }
    const row = rowOf(cell);
    this.#anchor ??= row;
    const next = (pressed === "Shift+ArrowUp" ? row.previousElementSibling : row.nextElementSibling) ?? row;
    const [first, last] = [indexOf(this.#anchor), indexOf(next)].sort((a, b) => a - b);
    this.#select([...(row.parentElement?.children ?? [])].slice(first, last + 1));
    controlOf(next.children[cell.cellIndex])?.focus();
    return true;
  }

  #clear() {
    this.#select([]);
    this.#anchor = null;
  }

  /** @param {Element[]} rows */
  #select(rows) {
    for (const row of this.rows) row.classList.remove("sf-picked");
    for (const row of rows) row.classList.add("sf-picked");
    this.rows = rows;
  }
}

/** @param {Cell} cell */
const rowOf = (cell) => /** @type {Element} */ (cell.parentElement);

/**
 * The control that a key leads to, null to stay, undefined to leave the key to the browser.
 * @param {KeyboardEvent & Targeted} event @param {Cell} cell @param {Form} form
 */
function targetOf(event, cell, form) {
  const row = rowOf(cell);
  const control = /** @type {FormControl} */ (event.target);
  /** @param {Element | null} line */
  const controlIn = (line, column = cell.cellIndex) => (line ? controlOf(line.children[column]) : null);
  switch (chord(event)) {
    case "ArrowUp":
      return control.tagName === "SELECT" ? undefined : controlIn(row.previousElementSibling);
    case "ArrowDown":
      return control.tagName === "SELECT" ? undefined : controlIn(row.nextElementSibling);
    case "Enter":
      if (!row.nextElementSibling) form.addRow(/** @type {Element} */ (rowsOf(row.parentElement)));
      return controlIn(row.nextElementSibling);
    case "Shift+Enter":
      return controlIn(row.previousElementSibling);
    case "ArrowLeft":
      return isAtEdge(control, 0) ? controlIn(row, cell.cellIndex - 1) ?? undefined : undefined;
    case "ArrowRight":
      return isAtEdge(control, control.value?.length) ? controlIn(row, cell.cellIndex + 1) ?? undefined : undefined;
    default:
      return undefined;
  }
}

/** @param {FormControl} control @param {number} place */
function isAtEdge(control, place) {
  if (control.tagName === "SELECT") return true;
  const { selectionStart: start, selectionEnd: end } = control;
  return (start === 0 && end === control.value.length) || (start === place && end === place);
}

// -- clipboard ----------------------------------------------------------------------------------------------------------

/**
 * Puts a block at a cell, to the right and below; missing rows are added.
 * @param {Cell} cell @param {string[][]} block @param {Form} form
 */
function pasteBlock(cell, block, form) {
  const rows = /** @type {Element} */ (rowsOf(cell));
  const [firstRow, firstColumn] = [indexOf(rowOf(cell)), cell.cellIndex];
  const { draft } = form;
  draft.checkpoint();
  const steps = stepsOf(rows);
  const columns = new Map(cellsOf(rowOf(cell)).map((column) => [column.cellIndex, column]));
  block.forEach((texts, down) => {
    const index = firstRow + down;
    if (draft.rows(steps).length <= index) draft.insertRow(steps, index, {});
    texts.forEach((text, right) => {
      const column = columns.get(firstColumn + right);
      if (column) draft.set([...steps, index, keyOf(column)], entryOfText(column, text.trim()));
    });
  });
  form.fillNode(rows, draft.get(steps));
  form.changed();
}

/** @param {Cell} cell */
function textOf(cell) {
  const control = controlOf(cell);
  if (control?.tagName !== "SELECT") return control?.value ?? "";
  return (control.value && control.selectedOptions[0]?.text) || "";
}

// -- layout -------------------------------------------------------------------------------------------------------------

const LONG = 40; // rows from which those out of sight are not laid out

/** Minimum width in px and share of the rest, by the class of a column; that of the actions is in the style sheet. @type {Record<string, [number, number]>} */
const WIDTHS = { number: [84, 0.4], date: [96, 0.4], choice: [110, 0.6], boolean: [84, 0.4], index: [36, 0] };
const SAMPLE = 200; // rows whose texts decide about the width of their column

/**
 * Gives the columns of a grid widths that no typing changes: those with long texts get most. Each row of a long grid is
 * laid out on its own.
 * @param {Element} rows @param {Entry[]} entries
 */
export function layOutGrid(rows, entries) {
  const grid = find(rows, "table");
  const heads = [...(grid.tHead?.rows[0].cells ?? [])].filter((head) => !head.matches(".sf-grid-actions"));
  const cells = [...newItem(rows).children];
  const widths = heads.map((head, index) => WIDTHS[/sf-grid-(\w+)/u.exec(head.className)?.[1] ?? ""] ?? textWidth(entries, cells[index], head));
  const tracks = widths.map(([least, share]) => (share ? `minmax(${least}px, ${share}fr)` : `${least}px`));
  grid.classList.add("sf-grid-laid");
  const isLong = grid.classList.toggle("sf-grid-long", entries.length > LONG);
  heads.forEach((head, index) => (head.style.width = isLong ? "" : `${widths[index][0]}px`));
  grid.style.setProperty("--columns", `${tracks.join(" ")} var(--actions)`);
  grid.style.setProperty("--least", `calc(${widths.reduce((sum, [least]) => sum + least, 0)}px + var(--actions))`);
}

/**
 * The width of a column of texts, by the length that few of them exceed.
 * @param {Entry[]} entries @param {Element} cell @param {HTMLElement} head
 * @returns {[number, number]}
 */
function textWidth(entries, cell, head) {
  const texts = entries.slice(0, SAMPLE).map((entry) => (isNamed(entry) ? entry[keyOf(cell)] : null));
  const lengths = texts.map((text) => (typeof text === "string" ? text.length : 0)).sort((a, b) => a - b);
  const title = (head.textContent ?? "").replaceAll(/\s+/gu, " ").trim();
  const least = Math.max(title.length, cell.dataset.shape === "lines" ? 24 : 6);
  const typical = Math.min(60, Math.max(least, lengths[Math.floor(lengths.length * 0.9)] ?? 0));
  return [Math.min(168, 20 + typical * 7.5), typical / 16];
}
