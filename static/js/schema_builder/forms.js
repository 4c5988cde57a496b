// The values of a fixed list, and the forms of "one of several".

/** @import { Json, Members } from "./json_tree.js" */
/** @import { Builder } from "./builder.js" */
/** @import { Place } from "./fields.js" */

import { make } from "../site/dom.js";
import { button, input, select } from "./controls.js";
import { FORM_TYPES, formsOf, formTitle, ITEM_TYPES, placeOf, set, setType, tupleOf, typeOf } from "./fields.js";

/** @type {[string, string]} */
const OTHER = ["other", "Other"];

/** @returns {Map<string, Json>} */
const textSchema = () => new Map([["type", "string"]]);

/** The types of the values of a fixed list. @param {Builder} builder @param {Members} holder */
export function fixedValues(builder, holder) {
  const box = make("fieldset", { className: "builder-forms builder-wide" });
  box.append(make("legend", { className: "form-label", textContent: "Values, in their order" }));
  const values = /** @type {Json[]} */ (holder.get("prefixItems") ?? []);
  /** @param {Json[]} next */
  const put = (next) => builder.change(() => { for (const [key, value] of tupleOf(next)) holder.set(key, value); }, { renders: true });
  values.forEach((value, index) => {
    const place = placeOf(builder.tree, value);
    const line = make("div", { className: "builder-form-line" });
    const kind = select(`value-${index}`, ITEM_TYPES, typeOf(builder.tree, place), (type) => builder.change(() => place && setType(place, type, ""), { renders: true }));
    kind.setAttribute("aria-label", `Type of value ${index + 1}`);
    line.append(titleOf(builder, place, `value ${index + 1}`), kind, button(`remove-value-${index}`, "bi-trash", `Remove value ${index + 1}`, () => put(values.filter((_, at) => at !== index))));
    box.append(line);
  });
  box.append(button("add-value", "bi-plus-lg", ["Add a value", "Add value"], () => put([...values, textSchema()])));
  return box;
}

/** The forms of a union: title and type; the fields of a group are below. @param {Builder} builder @param {Place} place */
export function forms(builder, place) {
  const box = make("fieldset", { className: "builder-forms builder-wide" });
  box.append(make("legend", { className: "form-label", textContent: "A value has one of these forms" }));
  const found = formsOf(builder.tree, place);
  const [[keyword]] = found.map(({ steps }) => steps);
  const listed = /** @type {Json[]} */ (place.holder.get(keyword));
  found.forEach(({ form, type, steps: [, at] }, index) => {
    const line = make("div", { className: "builder-form-line" });
    const options = type === "other" ? [...FORM_TYPES, OTHER] : FORM_TYPES;
    const kind = select(`form-${index}`, options, type, (code) => code !== "other" && builder.change(() => setType(form, code, ""), { renders: true }));
    kind.setAttribute("aria-label", `Type of form ${index + 1}`);
    const remove = button(`remove-form-${index}`, "bi-trash", `Remove form ${index + 1}`, () => builder.change(() => listed.splice(at, 1), { renders: true }));
    remove.disabled = found.length < 3;
    line.append(titleOf(builder, form, `form ${index + 1}`, formTitle(form, index)), kind, remove);
    box.append(line);
  });
  box.append(button("add-form", "bi-plus-lg", ["Add a form", "Add form"], () => builder.change(() => listed.splice((found.at(-1)?.steps[1] ?? -1) + 1, 0, textSchema()), { renders: true })));
  return box;
}

/** @param {Builder} builder @param {Place | null} place @param {string} what @param {string} [placeholder] */
function titleOf(builder, place, what, placeholder = "Label in the form") {
  const control = input("form-title", String(place?.schema.get("title") ?? ""), (typed) => builder.change(() => place && set(place.schema, "title", typed.trim() || undefined)), placeholder);
  control.setAttribute("aria-label", `Label of ${what}`);
  return control;
}
