// Labeled inputs of the builder. They have no name, so the form does not send them.

import { make } from "../site/dom.js";

let count = 0;

/**
 * A label and its control. @template {HTMLElement} T
 * @param {string} text @param {T} control @param {{ hint?: string, wide?: boolean }} [options]
 */
export function labeled(text, control, { hint = "", wide = false } = {}) {
  control.id = `builder-control-${(count += 1)}`;
  const label = make("label", { className: "form-label", htmlFor: control.id, textContent: text });
  const box = make("div", { className: wide ? "builder-control builder-wide" : "builder-control" });
  box.append(label, control);
  if (hint) box.append(make("p", { className: "hint", textContent: hint }));
  return box;
}

/**
 * A line of text. `apply` gets every value that is typed, and may return what is wrong with it.
 * @param {string} part @param {string} value @param {(text: string) => string | void} apply @param {string} [placeholder]
 */
export function input(part, value, apply, placeholder = "") {
  const control = make("input", { type: "text", className: "form-control", defaultValue: value, placeholder, autocomplete: "off", spellcheck: false });
  return live(control, part, apply);
}

/** @param {string} part @param {string} value @param {(text: string) => string | void} apply @param {number} rows */
export function area(part, value, apply, rows) {
  const control = make("textarea", { className: "form-control", defaultValue: value, rows, spellcheck: false });
  return live(control, part, apply);
}

/** @template {HTMLInputElement | HTMLTextAreaElement} T @param {T} control @param {string} part @param {(text: string) => string | void} apply */
function live(control, part, apply) {
  control.dataset.part = part;
  control.addEventListener("input", () => {
    const problem = apply(control.value) ?? "";
    control.setCustomValidity(problem);
    control.classList.toggle("is-invalid", Boolean(problem));
    control.title = problem;
  });
  return control;
}

/**
 * @param {string} part @param {[string, string][]} options values and titles @param {string} value @param {(value: string) => void} apply
 */
export function select(part, options, value, apply) {
  const control = make("select", { className: "form-select" });
  control.dataset.part = part;
  control.append(...options.map(([code, title]) => make("option", { value: code, textContent: title })));
  control.value = value;
  control.addEventListener("change", () => apply(control.value));
  return control;
}

/** @param {string} part @param {string} text @param {boolean} checked @param {(checked: boolean) => void} apply */
export function check(part, text, checked, apply) {
  const control = make("input", { type: "checkbox", className: "form-check-input", checked });
  control.dataset.part = part;
  control.addEventListener("change", () => apply(control.checked));
  const label = make("label", { className: "check-line" });
  label.append(control, text);
  return label;
}

/**
 * @param {string} part @param {string} icon
 * @param {string | [string, string]} titles what it does; and the text that is shown, else the icon alone
 * @param {() => void} act
 */
export function button(part, icon, titles, act) {
  const [title, text = ""] = typeof titles === "string" ? [titles] : titles;
  const control = make("button", { type: "button", className: text ? "btn btn-sm btn-outline-secondary" : "icon-button", title });
  control.dataset.part = part;
  const sign = make("i", { className: `bi ${icon}` });
  sign.setAttribute("aria-hidden", "true");
  control.append(sign, ...(text ? [" ", text] : []));
  if (!text) control.setAttribute("aria-label", title);
  control.addEventListener("click", act);
  return control;
}
