// The list of documents: "/" searches, j and k go through the rows, Enter opens one, x selects it for a bulk change.

import { find } from "../site/dom.js";
import { hasModifier, isTyping } from "../site/keyboard.js";

const rows = () => [...document.querySelectorAll("tr[data-row]")];
const boxes = () => [...document.querySelectorAll('tr[data-row] input[name="id"]')];
const current = () => rows().findIndex((row) => row.classList.contains("row-here"));
let lastSelected = -1;

/** @param {1 | -1} step */
function move(step) {
  const all = rows();
  if (!all.length) return;
  const here = current();
  const first = step > 0 ? 0 : all.length - 1;
  const next = all[here < 0 ? first : Math.min(all.length - 1, Math.max(0, here + step))];
  all[here]?.classList.remove("row-here");
  next.classList.add("row-here");
  find(next, "a").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

/**
 * Selects a row, or with `range` all rows from the last selected one.
 * @param {number} index @param {boolean} on @param {boolean} range
 */
function select(index, on, range) {
  const all = boxes();
  if (!all[index]) return;
  const other = range && lastSelected >= 0 ? lastSelected : index;
  for (const box of all.slice(Math.min(other, index), Math.max(other, index) + 1)) box.checked = on;
  lastSelected = index;
  showSelection();
}

function showSelection() {
  const all = boxes();
  const count = all.filter((box) => box.checked).length;
  const label = document.querySelector("[data-ticked]");
  if (!label) return;
  label.textContent = String(count);
  const head = find(document, "input[data-tick-all]");
  head.checked = count > 0 && count === all.length;
  head.indeterminate = count > 0 && count < all.length;
}

/** Shows only the value that the selected change needs. */
function showValue() {
  const action = document.querySelector("select[data-bulk-action]");
  if (!action) return;
  const needs = action.selectedOptions[0]?.dataset.needs ?? "";
  for (const control of document.querySelectorAll("[data-value]")) control.hidden = control.dataset.value !== needs;
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event.target) || hasModifier(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    find(document, "[data-search]").focus();
  } else if (event.key === "j") {
    move(1);
  } else if (event.key === "k") {
    move(-1);
  } else if (event.key === "x" || event.key === "X") {
    const index = current();
    const box = boxes()[index];
    if (box) select(index, !box.checked, event.shiftKey);
  }
});

document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("tr[data-row]");
  for (const other of rows()) other.classList.toggle("row-here", other === row);
});

document.addEventListener("click", ({ target, shiftKey }) => {
  if (!target.matches?.("input")) return;
  if (target.matches("[data-tick-all]")) {
    for (const box of boxes()) box.checked = target.checked;
    showSelection();
  } else if (target.matches('tr[data-row] [name="id"]')) {
    select(boxes().indexOf(target), target.checked, shiftKey);
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-bulk-action]")) showValue();
});

document.addEventListener("htmx:afterSettle", () => {
  lastSelected = -1;
  showSelection();
  showValue();
});
showSelection();
showValue();
