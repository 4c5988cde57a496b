// The list of runs: checked runs are compared; the checks survive a refresh of the list.

import { find } from "../site/dom.js";

const MAX_RUNS = 5;
/** @type {Set<string>} */
const checked = new Set();

function show() {
  for (const box of document.querySelectorAll("#runs input[name=runs]")) {
    box.checked = checked.has(box.value);
    box.disabled = !box.checked && checked.size >= MAX_RUNS;
  }
  const button = document.querySelector("button[data-compare]");
  if (!button) return;
  button.disabled = checked.size < 2;
  find(button, "[data-count]").textContent = checked.size ? ` (${checked.size})` : "";
}

document.addEventListener("change", ({ target }) => {
  if (!target.matches("input[name=runs]") || !target.closest("#runs")) return;
  if (target.checked) checked.add(target.value);
  else checked.delete(target.value);
  show();
});
// Boxes on other pages of the list are included.
document.querySelector("form#compare")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const { action } = /** @type {HTMLFormElement} */ (event.currentTarget);
  location.assign(`${action}?runs=${[...checked].map(Number).sort((a, b) => a - b).join(",")}`);
});
document.addEventListener("htmx:afterSettle", show);
// A page that comes back from the history keeps its checks.
for (const box of document.querySelectorAll("#runs input[name=runs]:checked")) checked.add(box.value);
show();
