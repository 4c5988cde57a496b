// The new-run form: what its hyperparameters mean for documents of known length. The server checks all of it again.

import { around, find } from "../site/dom.js";
import { formatNumber } from "../site/format.js";

/** @typedef {HTMLInputElement | HTMLSelectElement} Control */

const knownLengths = () => document.getElementById("known-lengths");

/** @param {string} name */
const controlOf = (name) => /** @type {Control | null} */ (document.querySelector(`#new-run [name="${CSS.escape(name)}"]`));

/** @param {string} name */
function positiveNumber(name) {
  const value = Number(controlOf(name)?.value);
  return value > 0 ? value : null;
}

function update() {
  const known = knownLengths();
  if (!known || !document.getElementById("new-run")) return;
  const lengths = (known.dataset.lengths ?? "").split(" ").map(Number);
  const limit = positiveNumber("max_length");
  const over = limit === null ? 0 : lengths.filter((tokens) => tokens > limit).length;
  const fate = { windows: "split into windows", leave_out: "left out" }[controlOf("too_long")?.value ?? ""];
  const share = `${formatNumber(over)} of ${formatNumber(lengths.length)}`;
  const text = find(known, "[data-over]");
  if (limit === null) text.textContent = "–";
  else if (over === 0) text.textContent = "none";
  else text.textContent = fate ? `${share}, ${fate}` : share;
  text.classList.toggle("over-words", over > 0 && !fate);
}

// Lengths that arrive after the form: a sequence length that is still the preset's follows them, and says so. Where they
// change the recommended method, the form is loaded again.
function followLengths() {
  const known = knownLengths();
  const field = controlOf("max_length");
  if (!field || !known || known.dataset.followed) return;
  known.dataset.followed = "yes";
  const shown = /** @type {HTMLElement | null} */ (document.querySelector("#new-run fieldset[data-recommended]"));
  if (shown && known.dataset.recommended !== shown.dataset.recommended) {
    document.getElementById("new-run")?.dispatchEvent(new Event("recommendation-changed"));
    return;
  }
  document.getElementById("estimate-box")?.dispatchEvent(new Event("lengths-known"));
  const preset = controlOf("was")?.value.split(":")[2];
  const longest = Number(known.dataset.lengths?.split(" ").at(-1));
  const needed = Number(known.dataset.needed);
  if (field.value !== preset || longest <= Number(field.value) || longest > needed) return;
  field.value = String(needed);
  const note = find(around(known, ".card"), "[data-set-words]");
  note.textContent = `The maximum sequence length was set to ${formatNumber(needed)}, so that every document fits.`;
  note.hidden = false;
}

/** Sets a hyperparameter to the value that the estimate suggests. @param {string} name @param {string} value */
function apply(name, value) {
  const controls = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll(`#new-run [name="${CSS.escape(name)}"]`));
  for (const control of controls) {
    if (control.type === "radio") control.checked = control.value === value;
    else if (control.type === "checkbox") control.checked = value === "True";
    else control.value = value;
  }
  // A shorter limit is accepted only where longer documents are split or left out.
  const tooLong = controlOf("too_long");
  if (name === "max_length" && tooLong?.value === "refuse") tooLong.value = "windows";
  const control = [...controls].find((one) => one.type !== "radio" || one.checked);
  if (!control) return;
  control.closest("details")?.setAttribute("open", "");
  control.focus();
  control.dispatchEvent(new Event("input", { bubbles: true }));
  control.dispatchEvent(new Event("change", { bubbles: true }));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-apply]");
  if (button) apply(button.dataset.apply ?? "", button.dataset.value ?? "");
});
// An error is never hidden in a closed section.
document.addEventListener("htmx:oobAfterSwap", ({ target }) => {
  if (target.querySelector?.(".field-error")) target.closest("details")?.setAttribute("open", "");
});
document.addEventListener("input", (event) => {
  if (event.target.closest("#new-run")) update();
});
document.addEventListener("htmx:afterSettle", ({ target }) => {
  followLengths();
  update();
  // After a rejection the focus is where the first message is.
  if (target.id === "new-run" || target.querySelector?.("#new-run")) {
    /** @type {Control | null} */ (document.querySelector("#new-run .hyperparameter-invalid :is(input, select)"))?.focus();
  }
});
followLengths();
update();
