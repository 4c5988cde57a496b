// The row of a field: name, type, required, details.

/** @import { Builder } from "./builder.js" */
/** @import { Row } from "./row_model.js" */

import { find, make } from "../site/dom.js";
import { pathText } from "./changes.js";
import { button, check, select } from "./controls.js";
import { details } from "./details.js";
import { requiredOf, TYPES } from "./fields.js";

/** @type {[string, string]} */
const OTHER = ["other", "Other"];

/** @param {Builder} builder @param {Row} row */
export function fieldRow(builder, row) {
  const { field, type } = row;
  const item = make("li", { className: "builder-field" });
  const line = make("div", { className: "builder-row" });
  const isOpen = builder.open.has(row.key);
  const more = button("details", "bi-sliders", `Details of ${field.name}`, () => builder.toggle(row));
  more.setAttribute("aria-expanded", String(isOpen));
  const required = check("required", "required", requiredOf(field.owner).includes(field.name), (on) => builder.require(row, on));
  find(required, "input").setAttribute("aria-label", `required: ${field.name}`);
  line.append(
    handle(),
    nameInput(builder, row),
    typeSelect(builder, row),
    required,
    more,
    button("remove", "bi-trash", `Remove ${field.name}`, () => builder.remove(row)),
  );
  item.append(line);
  if (row.place?.shared) item.append(make("p", { className: "hint builder-reason", textContent: `Definition ${row.place.shared}: changes apply wherever it is used.` }));
  for (const reason of builder.reasons.get(pathText(row.steps)) ?? []) item.append(make("p", { className: "hint builder-reason", textContent: reason }));
  if (row.isRecursive) item.append(make("p", { className: "hint builder-reason", textContent: "This field is recursive, so the form edits it as JSON." }));
  else if (type === "other" && !isOpen) item.append(make("p", { className: "hint builder-reason", textContent: "Edited as JSON: the builder has no controls for it." }));
  if (isOpen) item.append(details(builder, row));
  return item;
}

function handle() {
  const found = make("span", { className: "builder-handle", draggable: true, title: "Drag to move, or press Alt+Up or Alt+Down" });
  const icon = make("i", { className: "bi bi-grip-vertical" });
  icon.setAttribute("aria-hidden", "true");
  found.append(icon);
  return found;
}

/** @param {Builder} builder @param {Row} row */
function nameInput(builder, row) {
  const control = make("input", {
    type: "text", className: "form-control", defaultValue: row.field.name, autocomplete: "off", spellcheck: false, autocapitalize: "off",
  });
  control.dataset.part = "name";
  control.setAttribute("aria-label", `Name of the field ${row.steps.filter((step) => step !== null).join(", ")}`);
  let seen = row.field.name;
  control.addEventListener("change", () => {
    if (control.value === seen) return; // also sent when the input is replaced
    seen = control.value;
    const problem = builder.rename(row, control.value);
    control.setCustomValidity(problem);
    control.classList.toggle("is-invalid", Boolean(problem));
    const line = control.closest(".builder-row");
    if (line?.nextElementSibling?.matches(".builder-name-error")) line.nextElementSibling.remove();
    if (problem) {
      const message = make("p", { className: "field-error builder-name-error", textContent: problem });
      message.setAttribute("role", "alert");
      line?.after(message);
    }
  });
  return control;
}

/** @param {Builder} builder @param {Row} row */
function typeSelect(builder, row) {
  const options = row.type === "other" ? [...TYPES, OTHER] : TYPES;
  const control = select("type", options, row.type, (type) => {
    if (type !== "other") builder.change(() => builder.retype(row, type), { renders: true });
  });
  control.setAttribute("aria-label", `Type of ${row.field.name}`);
  return control;
}
