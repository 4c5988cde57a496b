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
