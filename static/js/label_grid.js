// Spreadsheet keys in a grid: arrows, Enter, pasting a block of cells.

import { controlOf, indexOf, rowsOf, stepsOf } from "./label_form.js";
import { chord } from "./label_keys.js";

export function gridKeys(root, form) {
  root.addEventListener("keydown", (event) => {
    const cell = event.target.closest?.("td[data-node]");
    if (!cell) return;
    const target = move(event, cell, form);
    if (target === undefined) return;
    event.preventDefault();
    target?.focus();
    target?.select?.();
  });
  root.addEventListener("paste", (event) => {
    const cell = event.target.closest?.("td[data-node]");
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!cell || !/[\t\n]/u.test(text.trimEnd())) return;
    event.preventDefault();
    pasteBlock(cell, text.trimEnd().split(/\r?\n/u).map((line) => line.split("\t")), form);
  });
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

// Rows of a grid from lines of a document: "Widget   2   10.00   20.00". Cells stand apart by two blanks or a tab; where
// there are fewer cells than columns, words go to the text columns from the left and numbers to the others from the right.
export function addLines(rows, lines, form) {
  const columns = [...form.blankOf(rows).querySelectorAll("[data-node]")].map(({ dataset }) => ({ key: dataset.key, shape: dataset.shape }));
  const entries = lines.map((line) => rowOf(line.trim().split(/\t|\s{2,}/u).filter(Boolean), columns)).filter((entry) => Object.keys(entry).length);
  const { model } = form;
  const steps = stepsOf(rows);
  model.checkpoint();
  const now = Array.isArray(model.get(steps)) ? model.get(steps) : [];
  model.set(steps, [...now.filter((entry) => Object.keys(entry ?? {}).length), ...entries]);
  form.fillNode(rows, model.get(steps));
  form.changed();
  return entries.length;
}

function rowOf(cells, columns) {
  const entry = {};
  const open = columns.filter((column) => !["choice", "boolean"].includes(column.shape));
  if (cells.length === open.length) {
    open.forEach((column, index) => (entry[column.key] = cells[index]));
    return entry;
  }
  const isNumber = (cell) => /\d/u.test(cell) && !/[^\W\d_]{4}/u.test(cell);
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

function pasteBlock(cell, lines, form) {
  const rows = rowsOf(cell);
  const [firstRow, firstColumn] = [indexOf(cell.parentElement), cell.cellIndex];
  const { model } = form;
  model.checkpoint();
  const steps = stepsOf(rows);
  const heads = [...cell.parentElement.querySelectorAll("td[data-node]")];
  lines.forEach((texts, down) => {
    const index = firstRow + down;
    if (!Array.isArray(model.get(steps)) || model.get(steps).length <= index) model.insertRow(steps, index, {});
    texts.forEach((text, right) => {
      const column = heads.find((head) => head.cellIndex === firstColumn + right);
      if (!column || ["choice", "boolean"].includes(column.dataset.shape)) return;
      model.set([...steps, index, column.dataset.key], text.trim() || undefined);
    });
  });
  form.fillNode(rows, model.get(steps));
  form.changed();
}
