// The list of evaluations: checked runs are compared, two document by document, up to eight as a matrix.

import { hasModifier, isTyping } from "../site/keyboard.js";

const MAX_RUNS = 8;
const HINTS = [
  "Select two to eight evaluations to compare.",
  "Select one more.",
  "Compares the earlier evaluation with the later one.",
];

/** @type {string[]} ids of the checked boxes, oldest first: the table is swapped while a run is live */
let order = [];

const checked = () => [...document.querySelectorAll('input[name="runs"][form="compare"]:checked')];

function showSelection() {
  const button = document.querySelector("button[data-compare]");
  const hint = document.querySelector("[data-compare-hint]");
  const { length: count } = checked();
  if (button) button.disabled = count < 2;
  if (hint) hint.textContent = HINTS[count] ?? `Compares all ${count} evaluations.`;
}

/** @param {string} id */
const boxOf = (id) => /** @type {HTMLInputElement | null} */ (document.getElementById(id));

document.addEventListener("change", ({ target }) => {
  if (!target.matches('input[name="runs"]')) return;
  order = order.filter((id) => id !== target.id);
  if (target.checked) order.push(target.id);
  // One more than the maximum replaces the oldest.
  for (const id of order.splice(0, order.length - MAX_RUNS)) {
    const oldest = boxOf(id);
    if (oldest) oldest.checked = false;
  }
  showSelection();
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of order) {
    const box = boxOf(id);
    if (box) box.checked = true;
  }
  showSelection();
});
document.querySelector("form#compare")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const numbers = checked().map((box) => Number(box.value)).sort((a, b) => a - b);
  const { action } = /** @type {HTMLFormElement} */ (event.currentTarget);
  if (numbers.length >= 2) location.assign(`${action}?runs=${numbers.join(",")}`);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "v" || isTyping(event.target) || hasModifier(event)) return;
  document.querySelector("button[data-compare]:not(:disabled)")?.click();
});
showSelection();
