// Spreadsheet keys in a grid: arrows, Enter, blocks of cells pasted and copied.

import { choicesOf, controlOf, indexOf, rowsOf, stepsOf } from "./nodes.js";
import { chord } from "./shortcuts.js";
import { table } from "./paths.js";
import { cellsOf, readBlock, writeBlock } from "./clipboard.js";

export function gridKeys(root, form) {
  const picked = new Picked(root);
  root.addEventListener("keydown", (event) => {
    const cell = event.target.closest?.("td[data-node]");
    if (!cell) return;
    if (picked.key(event, cell)) return event.preventDefault();
    const target = move(event, cell, form);
    if (target === undefined) return undefined;
    event.preventDefault();
    target?.focus();
    return target?.select?.();
  });
  root.addEventListener("paste", (event) => {
    const cell = event.target.closest?.("td[data-node]");
    const lines = cell && readBlock(event.clipboardData?.getData("text/plain") ?? "");
    if (!lines) return;
    event.preventDefault();
    pasteBlock(cell, lines, form);
  });
  root.addEventListener("copy", (event) => {
    if (!picked.rows.length) return;
    event.preventDefault();
    event.clipboardData.setData("text/plain", writeBlock(picked.rows.map((row) => cellsOf(row).map(textOf))));
  });
}

// Whole rows picked with Shift and the arrows, to be copied.
class Picked {
  constructor(root) {
    this.rows = [];
    this.from = null;
    root.addEventListener("pointerdown", () => this.drop());
    root.addEventListener("focusout", (event) => root.contains(event.relatedTarget) || this.drop());
  }

  key(event, cell) {
    const by = { "Shift+ArrowUp": -1, "Shift+ArrowDown": 1 }[chord(event)];
    if (by === undefined) {
      if (!["Shift", "Control", "Meta", "Alt"].includes(event.key) && !event.ctrlKey && !event.metaKey) this.drop();
      return false;
    }
    const row = cell.parentElement;
    this.from ??= row;
    const next = (by < 0 ? row.previousElementSibling : row.nextElementSibling) ?? row;
    const [first, last] = [indexOf(this.from), indexOf(next)].sort((a, b) => a - b);
    this.mark([...row.parentElement.children].slice(first, last + 1));
    const control = controlOf(next.children[cell.cellIndex]);
    control?.focus();
    return true;
  }

  drop() {
    this.mark([]);
    this.from = null;
  }

  mark(rows) {
    for (const row of this.rows) row.classList.remove("sf-picked");
    for (const row of rows) row.classList.add("sf-picked");
    this.rows = rows;
  }
}

// The control to go to, null to stay, undefined to leave the key to the browser.
function move(event, cell, form) {
  const row = cell.parentElement;
  const control = event.target;
  const beside = (line, column = cell.cellIndex) => (line ? controlOf(line.children[column]) : null);
  switch (chord(event)) {
    case "ArrowUp":
      return control.tagName === "SELECT" ? undefined : beside(row.previousElementSibling);
    case "ArrowDown":
      return control.tagName === "SELECT" ? undefined : beside(row.nextElementSibling);
    case "Enter":
      if (row.nextElementSibling) return beside(row.nextElementSibling);
      form.addRow(rowsOf(row.parentElement));
      return beside(row.nextElementSibling);
    case "Shift+Enter":
      return beside(row.previousElementSibling);
    case "ArrowLeft":
      return atEdge(control, 0) ? beside(row, cell.cellIndex - 1) ?? undefined : undefined;
    case "ArrowRight":
      return atEdge(control, control.value?.length) ? beside(row, cell.cellIndex + 1) ?? undefined : undefined;
    default:
      return undefined;
  }
}

function atEdge(control, place) {
  if (control.tagName === "SELECT") return true;
  const whole = control.selectionStart === 0 && control.selectionEnd === control.value.length;
  return whole || (control.selectionStart === place && control.selectionEnd === place);
}

// Rows of a grid from lines of a document: "Widget   2   10.00   20.00". Cells stand apart by two blanks or a tab, in a
// line that has neither figures at its end do; where there are fewer cells than columns, words go to the text columns
// from the left and numbers to the others from the right.
export function addLines(rows, lines, form) {
  const columns = [...form.blankOf(rows).querySelectorAll("[data-node]")].map(({ dataset }) => ({ key: dataset.key, shape: dataset.shape }));
  const entries = lines.map((line) => rowOf(cellsIn(line.trim()), columns)).filter((entry) => Object.keys(entry).length);
  const { model } = form;
  const steps = stepsOf(rows);
  model.checkpoint();
  const now = Array.isArray(model.get(steps)) ? model.get(steps) : [];
  model.set(steps, [...now.filter((entry) => Object.keys(entry ?? {}).length), ...entries]);
  form.fillNode(rows, model.get(steps));
  form.changed();
  return entries.length;
}

const FIGURE = /^[^\p{L}\p{N}]*\p{N}[\p{N}.,'’]*[^\p{L}\p{N}]*$/u;

function cellsIn(line) {
  const cells = line.split(/\t|\s{2,}/u).filter(Boolean);
  if (cells.length !== 1) return cells;
  const words = line.split(/\s+/u);
  const figures = [];
  while (words.length > 1 && FIGURE.test(words.at(-1))) figures.unshift(words.pop());
  return [words.join(" "), ...figures];
}

function rowOf(cells, columns) {
  const entry = table();
  const open = columns.filter((column) => !["choice", "boolean"].includes(column.shape));
  if (cells.length === open.length) {
    open.forEach((column, index) => (entry[column.key] = cells[index]));
    return entry;
  }
  const count = (cell, kind) => cell.match(kind)?.length ?? 0;
  const isNumber = (cell) => count(cell, /\p{N}/gu) >= Math.max(1, count(cell, /\p{L}/gu)) && !/\p{L}{4}/u.test(cell);
  const texts = open.filter((column) => column.shape !== "number");
  const numbers = open.filter((column) => column.shape === "number");
  const figures = [];
  while (cells.length && figures.length < numbers.length && isNumber(cells.at(-1))) figures.unshift(cells.pop());
  figures.forEach((cell, index) => (entry[numbers[numbers.length - figures.length + index].key] = cell));
  texts.forEach((column, index) => {
    const cell = index + 1 === texts.length ? cells.slice(index).join(" ") : cells[index];
    if (cell) entry[column.key] = cell;
  });
  return entry;
}

// A block goes to the cell that has the focus and to those right of it and below; rows that lack are added.
function pasteBlock(cell, lines, form) {
  const rows = rowsOf(cell);
  const [firstRow, firstColumn] = [indexOf(cell.parentElement), cell.cellIndex];
  const { model } = form;
  model.checkpoint();
  const steps = stepsOf(rows);
  const heads = new Map(cellsOf(cell.parentElement).map((head) => [head.cellIndex, head]));
  lines.forEach((texts, down) => {
    const index = firstRow + down;
    if (!Array.isArray(model.get(steps)) || model.get(steps).length <= index) model.insertRow(steps, index, {});
    texts.forEach((text, right) => {
      const column = heads.get(firstColumn + right);
      if (column) model.set([...steps, index, column.dataset.key], entryOf(column, text.trim()));
    });
  });
  form.fillNode(rows, model.get(steps));
  form.changed();
}

const YES = ["yes", "true", "1", "x", "y"];
const NO = ["no", "false", "0", "n"];

// What a pasted text is in a column; a text that is none of its choices stays, and the check says so.
function entryOf(column, text) {
  const { shape } = column.dataset;
  const plain = text.toLowerCase();
  if (!text) return undefined;
  if (shape === "boolean") return YES.includes(plain) ? true : NO.includes(plain) ? false : text;
  if (shape !== "choice") return text;
  return optionsOf(column).find(([code, label]) => code === text || label.toLowerCase() === plain)?.[0] ?? text;
}

function optionsOf(cell) {
  const control = controlOf(cell);
  return control.tagName === "SELECT" ? [...control.options].slice(1).map((option) => [option.value, option.text]) : choicesOf(cell);
}

function textOf(cell) {
  const control = controlOf(cell);
  return control.tagName === "SELECT" ? (control.value && control.selectedOptions[0]?.text) || "" : control.value;
}
