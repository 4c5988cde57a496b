// The details of a field: its texts, limits and options, and the keywords that the builder does not edit.

/** @import { Json, Members } from "./json_tree.js" */
/** @import { Builder } from "./builder.js" */
/** @import { Row } from "./row_model.js" */

import { make } from "../site/dom.js";
import { area, button, check, input, labeled, select } from "./controls.js";
import { CHOICES, CURRENCIES, FORM_TYPES, ITEM_TYPES, optionsOf, placeOf, set, setNullable, setOption, setType, titleOf, typeOf } from "./fields.js";
import { forms, fixedValues } from "./forms.js";
import { isObject, Numeral, print } from "./json_tree.js";

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/u;
/** @type {[string, string][]} */
const FORMATS = [
  ["", "Any text"], ["date-time", "Date and time"], ["time", "Time"], ["duration", "Duration"], ["email", "Email"], ["uri", "URI"],
  ["uuid", "UUID"], ["hostname", "Host name"], ["ipv4", "IPv4"], ["ipv6", "IPv6"],
];
/** @type {[string, string][]} */
const EVIDENCE = [["", "Default"], ["none", "Not necessarily in the document"], ["expected", "Expected"], ["required", "Required"]];
/** @type {[string, string][]} */
const ORDERS = [["", "Default: by locale"], ["DMY", "Day, month, year"], ["MDY", "Month, day, year"], ["YMD", "Year, month, day"]];
/** @type {[string, string][]} */
const ROWS = [["", "Matched by similarity"], ["ordered", "In order"]];
/** @type {[string, string][]} */
const KINDS = [["", "Text"], ["identifier", "Identifier"], ["address", "Address"], ["exact", "Exact"], ["free", "Not scored"], ["date", "Date"], ["money", "Money"]];

/** Keywords with a control, by type. @type {Record<string, string[]>} */
const LIMITS = {
  text: ["minLength", "maxLength", "pattern"], number: ["minimum", "maximum", "multipleOf"], integer: ["minimum", "maximum", "multipleOf"],
  money: ["minimum", "maximum", "multipleOf"], date: [], choice: [], boolean: [], group: [], list: ["minItems", "maxItems"],
  table: ["minItems", "maxItems"], map: ["minProperties", "maxProperties"], tuple: [], union: [], other: [],
};
/** @type {Record<string, string>} */
const TITLES = {
  minLength: "Minimum length", maxLength: "Maximum length", pattern: "Pattern", minimum: "Minimum value", maximum: "Maximum value",
  multipleOf: "Step", minItems: "Minimum rows", maxItems: "Maximum rows", minProperties: "Minimum entries", maxProperties: "Maximum entries",
};
const SHOWN = new Set(["type", "title", "description", "properties", "required", "items", "enum", "x-slm", "$ref", "anyOf", "oneOf", "format"]);
const SHOWN_OPTIONS = new Set(["kind", "evidence", "hint", "cost", "locale", "currency", "date_order", "order", "invariants"]);

/** The details of a row. @param {Builder} builder @param {Row} row */
export function details(builder, row) {
  const { field, place, type } = row;
  const box = make("div", { className: "builder-details" });
  if (place) {
    const { schema } = place;
    if (type === "choice") box.append(labeled("Values, one per line", values(builder, place.holder), { wide: true }));
    if (type === "list") box.append(...items(builder, place.holder, { key: "items", types: ITEM_TYPES }));
    if (type === "map") box.append(...items(builder, place.holder, { key: "additionalProperties", types: FORM_TYPES }));
    if (type === "tuple") box.append(fixedValues(builder, place.holder));
    if (type === "union") box.append(forms(builder, place));
    box.append(
      text(builder, schema, { key: "title", title: "Label in the form", placeholder: titleOf(field.name) }),
      text(builder, schema, { key: "description", title: "Description", placeholder: "Meaning, shown to annotators", wide: true }),
      option(builder, schema, ["hint", "Hint for annotators"]),
    );
    box.append(...limits(builder, place.holder, type), ...options(builder, schema, type));
    if (type !== "other") {
      box.append(check("nullable", "May be empty (null)", place.nullable, (on) => builder.change(() => setNullable(place, on), { renders: true })));
    }
  }
  const others = otherKeywords(row);
  if (others.length) box.append(otherBox(() => builder.goTo(row), others));
  box.append(actions(builder, row));
  return box;
}

/**
 * A keyword with a text. @param {Builder} builder @param {Members} schema
 * @param {{ key: string, title: string, placeholder: string, wide?: boolean }} field
 */
function text(builder, schema, { key, title, placeholder, wide = false }) {
  const control = input(key, String(schema.get(key) ?? ""), (value) => builder.change(() => set(schema, key, value.trim() || undefined)), placeholder);
  return labeled(title, control, { wide });
}

/** An option with a text. @param {Builder} builder @param {Members} schema @param {[string, string, string?]} option its name, title and placeholder */
function option(builder, schema, [name, title, placeholder]) {
  const value = optionsOf(schema).get(name);
  return labeled(title, input(name, String(value ?? ""), (typed) => builder.change(() => setOption(schema, name, typed.trim() || undefined)), placeholder));
}

/** An option with fixed values. @param {Builder} builder @param {Members} schema @param {[string, string]} option its name and title @param {[string, string][]} choices */
function chosen(builder, schema, [name, title], choices) {
  const value = String(optionsOf(schema).get(name) ?? "");
  const known = choices.some(([code]) => code === value) ? choices : [...choices, /** @type {[string, string]} */ ([value, value])];
  return labeled(title, select(name, known, value, (code) => builder.change(() => setOption(schema, name, code || undefined))));
}

/** @param {Json | undefined} value */
const numberText = (value) => (value instanceof Numeral ? value.text : String(value ?? ""));

/** @param {Builder} builder @param {Members} holder @param {string} type */
function limits(builder, holder, type) {
  const keys = LIMITS[type] ?? [];
  const found = keys.map((key) => {
    const control = input(key, numberText(holder.get(key)), (typed) => {
      const value = typed.trim();
      if (key !== "pattern" && value && !NUMBER.test(value)) return "Enter a number, such as 0 or 12.5.";
      return builder.change(() => set(holder, key, value ? (key === "pattern" ? value : new Numeral(value)) : undefined));
    });
    return labeled(TITLES[key], control);
  });
  if (type !== "text") return found;
  const format = String(holder.get("format") ?? "");
  const control = select("format", FORMATS, format, (code) => builder.change(() => set(holder, "format", code || undefined)));
  return [labeled("Format", control), ...found];
}

/** @param {Builder} builder @param {Members} schema @param {string} type */
function options(builder, schema, type) {
  const found = [];
  if (type === "text") found.push(chosen(builder, schema, ["kind", "Compared as"], KINDS));
  if (type === "money") found.push(option(builder, schema, ["currency", "Currency", "USD"]));
  if (["money", "number", "date"].includes(type)) found.push(option(builder, schema, ["locale", "Locale of the documents", "en_US"]));
  if (type === "date") found.push(chosen(builder, schema, ["date_order", "Order of numeric dates"], ORDERS));
  if (["list", "table"].includes(type)) found.push(chosen(builder, schema, ["order", "Rows are compared"], ROWS));
  if (["text", "number", "integer", "money", "date", "choice", "boolean"].includes(type)) {
    found.push(chosen(builder, schema, ["evidence", "Evidence in the document"], EVIDENCE));
    const control = input("cost", numberText(optionsOf(schema).get("cost")), (typed) => {
      const value = typed.trim();
      if (value && !(NUMBER.test(value) && Number(value) >= 0)) return "Enter a number of 0 or more.";
      return builder.change(() => setOption(schema, "cost", value ? new Numeral(value) : undefined));
    });
    found.push(labeled("Cost of an error", control));
  }
  return found;
}

/** The values of a choice; one that was no text stays one. @param {Builder} builder @param {Members} holder */
function values(builder, holder) {
  const listed = /** @type {Json[]} */ (holder.get("enum") ?? []);
  const shown = listed.filter((value) => value !== null).map((value) => (typeof value === "string" ? value : print(value)));
  const known = new Map(listed.map((value) => [typeof value === "string" ? value : print(value), value]));
  const isNumeric = listed.some((value) => value instanceof Numeral);
  /** @param {string} line @returns {Json} */
  const valueOf = (line) => known.get(line) ?? (isNumeric && NUMBER.test(line) ? new Numeral(line) : line);
  const control = area("values", shown.join("\n"), (typed) => {
    const lines = [...new Set(typed.split("\n").map((line) => line.trim()).filter(Boolean))];
    if (!lines.length) return "A choice needs at least one value.";
    return builder.change(() => holder.set("enum", [...lines.map(valueOf), ...(listed.includes(null) ? [null] : [])]));
  }, Math.min(Math.max(shown.length + 1, 3), 8));
  control.addEventListener("focus", () => {
    if ([CHOICES, CURRENCIES].some((defaults) => defaults.join("\n") === control.value)) control.select();
  });
  return control;
}

/**
 * The type of the values of a list or map, and their choices.
 * @param {Builder} builder @param {Members} holder @param {{ key: string, types: [string, string][] }} values
 */
function items(builder, holder, { key, types }) {
  const place = placeOf(builder.tree, holder.get(key));
  const type = typeOf(builder.tree, place);
  const control = select("items", types, type, (code) => {
    builder.change(() => place && setType(place, code, ""), { renders: true });
  });
  const found = [labeled("Each value is", control)];
  if (place && type === "choice") found.push(labeled("Values, one per line", values(builder, place.holder), { wide: true }));
  return found;
}

/** Keywords without a control, as members of the place where they are. @param {Row} row @returns {[string, Json][]} */
function otherKeywords({ place, type, value }) {
  if (!place) return [["schema", value]];
  const limited = LIMITS[type] ?? [];
  const isOther = type === "other";
  const all = new Map([...place.holder, ...(place.schema === place.holder ? [] : place.schema)]);
  /** @type {[string, Json][]} */
  const found = [...all].filter(([key, inner]) => {
    if (key === "x-slm") return false;
    if (isOther) return !["title", "description"].includes(key);
    if (key === "format") return type !== "text" && type !== "date";
    if (key === "additionalProperties") return type === "group" ? inner !== false : type !== "map";
    if (type === "tuple" && ["prefixItems", "minItems", "maxItems"].includes(key)) return false;
    return !SHOWN.has(key) && !limited.includes(key);
  });
  for (const [name, inner] of optionsOf(place.schema)) if (!SHOWN_OPTIONS.has(name)) found.push([`x-slm.${name}`, inner]);
  const rows = place.holder.get("items");
  if (type === "table" && isObject(rows)) {
    for (const [key, inner] of rows) if (!SHOWN.has(key) && !(key === "additionalProperties" && inner === false)) found.push([`items.${key}`, inner]);
  }
  return found;
}

/** What describes the document as a whole: its title, and keywords without a control. @param {Builder} builder */
export function documentBox(builder) {
  const box = make("div", { className: "builder-document" });
  box.append(text(builder, builder.tree, { key: "title", title: "Title of the document", placeholder: "None" }));
  const shown = ["type", "title", "properties", "required", "x-slm"];
  /** @type {[string, Json][]} */
  const others = [...builder.tree].filter(([key, value]) => !shown.includes(key) && !(key === "additionalProperties" && value === false));
  for (const [name, value] of optionsOf(builder.tree)) if (name !== "invariants") others.push([`x-slm.${name}`, value]);
  if (others.length) box.append(otherBox(() => builder.hooks.goTo([]), others));
  return box;
}

/** @param {() => void} edit @param {[string, Json][]} others */
function otherBox(edit, others) {
  const box = make("div", { className: "builder-others builder-wide" });
  box.append(make("p", { className: "form-label", textContent: "Other keywords" }));
  const list = make("dl", { className: "facts" });
  for (const [key, value] of others) {
    const shown = make("dd");
    const line = print(value, 1).replaceAll(/\s+/gu, " ");
    shown.append(make("code", { textContent: line.length > 160 ? `${line.slice(0, 160)}…` : line }));
    const name = make("dt");
    name.append(make("code", { textContent: key }));
    list.append(name, shown);
  }
  box.append(list, button("edit-json", "bi-braces", ["Edit as JSON", "Edit as JSON"], edit));
  return box;
}

/** @param {Builder} builder @param {Row} row */
function actions(builder, row) {
  const box = make("div", { className: "builder-actions builder-wide" });
  box.append(
    button("up", "bi-arrow-up", ["Move up (Alt+Up)", "Up"], () => builder.moveBy(row, -1)),
    button("down", "bi-arrow-down", ["Move down (Alt+Down)", "Down"], () => builder.moveBy(row, 1)),
    button("in", "bi-text-indent-left", ["Move into the group above (Alt+Shift+Right)", "Into group"], () => builder.nest(row)),
    button("out", "bi-text-indent-right", ["Move out of the group (Alt+Shift+Left)", "Out"], () => builder.lift(row)),
    button("copy", "bi-copy", ["Duplicate", "Duplicate"], () => builder.duplicate(row)),
  );
  return box;
}
