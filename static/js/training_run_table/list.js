// The table of runs: "/" searches, j and k go through the rows, x selects one, c compares. The selection survives a
// refresh of the table and the change of its page.

import { find } from "../site/dom.js";
import { hasModifier, isTyping } from "../site/keyboard.js";

const MAX_COMPARED = 5;
/** @type {Set<string>} numbers of the selected runs */
const checked = new Set();
let lastSelected = -1;

const rows = () => [...document.querySelectorAll("#runs tr[data-row]")];
const boxes = () => [...document.querySelectorAll("#runs input[name=runs]")];
const current = () => rows().findIndex((row) => row.contains(document.activeElement));

function show() {
  const all = boxes();
  for (const box of all) box.checked = checked.has(box.value);
  const head = document.querySelector("#runs input[data-tick-all]");
  if (head) {
    const count = all.filter((box) => box.checked).length;
    head.checked = count > 0 && count === all.length;
    head.indeterminate = count > 0 && count < all.length;
  }
  const bar = document.querySelector("[data-selection]");
  if (!bar) return;
  bar.classList.toggle("selection-empty", checked.size === 0);
  find(bar, "[data-count]").textContent = String(checked.size);
  const compare = /** @type {HTMLButtonElement} */ (find(bar, "[data-compare]"));
  compare.disabled = checked.size < 2 || checked.size > MAX_COMPARED;
}

/** @param {HTMLInputElement} box @param {boolean} on */
function set(box, on) {
  if (on) checked.add(box.value);
  else checked.delete(box.value);
}

/**
 * Selects a row, or with `range` all rows from the last selected one.
 * @param {number} index @param {boolean} on @param {boolean} range
 */
function select(index, on, range) {
  const all = boxes();
  if (!all[index]) return;
  const other = range && lastSelected >= 0 ? lastSelected : index;
  for (const box of all.slice(Math.min(other, index), Math.max(other, index) + 1)) set(box, on);
  lastSelected = index;
  show();
}

/** @param {1 | -1} step */
function move(step) {
  const all = rows();
  if (!all.length) return;
  const here = current();
  const first = step > 0 ? 0 : all.length - 1;
  const next = all[here < 0 ? first : Math.min(all.length - 1, Math.max(0, here + step))];
  find(next, "a.row-link").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const target = /** @type {HTMLInputElement} */ (event.target);
  if (!target.matches?.("#runs input")) return;
  if (target.matches("[data-tick-all]")) {
    for (const box of boxes()) set(box, target.checked);
    show();
  } else if (target.matches("[name=runs]")) {
    select(boxes().indexOf(target), target.checked, event.shiftKey);
  }
});
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
    if (box) select(index, !checked.has(box.value), event.shiftKey);
  } else if (event.key === "c") {
    const button = /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-compare]"));
    if (button && !button.disabled) button.click();
  }
});
// Runs on other pages of the table are included.
document.querySelector("[data-selection]")?.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.currentTarget);
  const button = /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter);
  if (button?.matches("[data-compare]")) {
    event.preventDefault();
    location.assign(`${button.formAction}?runs=${[...checked].map(Number).sort((a, b) => a - b).join(",")}`);
    return;
  }
  const shown = new Set(boxes().map((box) => box.value));
  for (const number of checked) {
    if (shown.has(number)) continue;
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name: "runs", value: number });
    form.append(input);
  }
});
document.querySelector("form[data-filters]")?.addEventListener("change", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.currentTarget);
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("select, [type=checkbox]")) form.requestSubmit();
});
document.addEventListener("htmx:afterSettle", show);
// A page that comes back from the history keeps its checks.
for (const box of document.querySelectorAll("#runs input[name=runs]:checked")) checked.add(box.value);
show();
