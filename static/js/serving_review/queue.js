// The review queue by keys: j and k move, x selects, and a letter decides about the selected requests, or the current one.

import { find } from "../site/dom.js";
import { hasModifier, isTyping } from "../site/keyboard.js";

let goUntil = 0; // ms; until then a letter after "g" opens a section (site/base.js) and must not decide anything
let isSent = false;

/** @returns {HTMLElement[]} */
const items = () => [...document.querySelectorAll("[data-item]")];
/** @param {Element} item @returns {HTMLInputElement} */
const boxOf = (item) => /** @type {HTMLInputElement} */ (find(item, 'input[name="items"]'));
/** @returns {HTMLElement | null} */
const current = () => /** @type {HTMLElement | null} */ (document.activeElement?.closest("[data-item]") ?? null);

/** @param {HTMLElement | undefined} item */
function show(item) {
  item?.focus({ preventScroll: true });
  item?.scrollIntoView({ block: "start" });
}

/** @param {1 | -1} by */
function step(by) {
  const all = items();
  const now = current();
  show(now ? all[Math.min(all.length - 1, Math.max(0, all.indexOf(now) + by))] : all[0]);
}

/** @param {HTMLButtonElement} button */
function decide(button) {
  const everything = /** @type {HTMLInputElement | null} */ (document.querySelector('input[name="everything"]'));
  if (!everything?.checked && !items().some((item) => boxOf(item).checked)) {
    const item = current();
    if (!item) {
      step(1);
      return;
    }
    boxOf(item).checked = true;
  }
  button.click();
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (hasModifier(event) || event.repeat || isTyping(target) || document.querySelector("dialog[open]")) return;
  if (key === "g") {
    goUntil = Date.now() + 1500;
    return;
  }
  if (Date.now() < goUntil) {
    goUntil = 0;
    return;
  }
  const button = /** @type {HTMLButtonElement | null} */ (document.querySelector(`[data-decision="${CSS.escape(key)}"]`));
  if (button) decide(button);
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else if (key === "x" && current()) boxOf(/** @type {HTMLElement} */ (current())).click();
  else if (key === "t") /** @type {HTMLElement | null} */ (document.querySelector("[data-tag]"))?.focus();
  else if (key === "n") /** @type {HTMLElement | null} */ (document.querySelector("[data-next]"))?.click();
  else return;
  event.preventDefault();
});

document.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-all]")) return;
  for (const item of items()) boxOf(item).checked = /** @type {HTMLInputElement} */ (target).checked;
});

// A second submit while the first is under way would decide about the next page.
document.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
window.addEventListener("pageshow", () => (isSent = false));

// After a decision the first of the rest is the current one, so that the next key decides about it.
if (document.querySelector("#messages .alert-success")) items()[0]?.focus({ preventScroll: true });
