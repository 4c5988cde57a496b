// Fields of a schema as the builder shows them: their type in plain words, and every change of it.

/** @import { Json, Members } from "./json_tree.js" */

import { isObject, Numeral } from "./json_tree.js";

/**
 * @typedef {object} Field a property of an object schema
 * @property {Members} owner the schema of the object
 * @property {string} name
 */
/**
 * @typedef {object} Place
 * @property {Members} schema what the property holds
 * @property {Members} holder where its type is written: the schema itself, a definition, or the form that is not null
 * @property {boolean} nullable
 * @property {string} shared the name of the definition; "" if it has none
 */

/** @type {[string, string][]} */
export const TYPES = [
  ["text", "Text"], ["number", "Number"], ["integer", "Whole number"], ["money", "Money"], ["date", "Date"],
  ["choice", "Choice"], ["boolean", "Yes / no"], ["group", "Group"], ["list", "List"], ["table", "Table"], ["map", "Map"],
  ["tuple", "Fixed list"], ["union", "One of several"],
];
/** Types of the values of a list. */
export const ITEM_TYPES = TYPES.slice(0, 7);
/** Types of the values of a map, and of the forms of a union. */
export const FORM_TYPES = TYPES.slice(0, 8);
/** Types that hold others: they have no evidence or cost of their own. */
const OUTER = TYPES.slice(7).map(([type]) => type);
/** Keywords that a union of the builder has no place for. */
const WITH_FORMS = ["properties", "items", "prefixItems", "enum", "const", "allOf", "$ref", "if", "not"];

/** Keywords that only some types have; a change of the type removes them. */
const TYPED = [
  "type", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
  "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems",
  "anyOf", "oneOf", "allOf", "$ref", "patternProperties", "minProperties", "maxProperties", "propertyNames", "contains", "default",
  "examples", "contentEncoding", "contentMediaType",
];
const TYPED_OPTIONS = ["kind", "locale", "currency", "date_order", "order", "ignore", "invariants", "tolerance"];

/** @param {Json | undefined} value @returns {string[]} */
const typesOf = (value) => (typeof value === "string" ? [value] : Array.isArray(value) ? value.map(String) : []);

/** @param {Json | undefined} value */
const isNull = (value) => isObject(value) && value.size === 1 && value.get("type") === "null";

/** The options of a schema. @param {Members} schema @returns {Members} */
export const optionsOf = (schema) => {
  const options = schema.get("x-slm");
  return isObject(options) ? options : new Map();
};

/** @param {Members} schema @param {string} name @param {Json | undefined} value */
export function setOption(schema, name, value) {
  const options = optionsOf(schema);
  set(options, name, value);
  set(schema, "x-slm", options.size ? options : undefined);
}

/** Sets a member, or removes it. @param {Members} members @param {string} name @param {Json | undefined} value */
export function set(members, name, value) {
  if (value === undefined) members.delete(name);
  else members.set(name, value);
}

/** The definition that a reference names. @param {Members} root @param {Json | undefined} reference @returns {[string, Members] | null} */
function definition(root, reference) {
  const [, key, name = ""] = /^#\/(\$defs|definitions)\/([^/%~]+)$/u.exec(String(reference)) ?? [];
  const all = key ? root.get(key) : undefined;
  const found = isObject(all) ? all.get(name) : undefined;
  return isObject(found) ? [name, found] : null;
}

/**
 * Where the type of a schema is written, behind references and "or null".
 * @param {Members} root @param {Json | undefined} schema @returns {Place | null} null for true and false
 */
export function placeOf(root, schema) {
  if (!isObject(schema)) return null;
  let holder = schema;
  let nullable = false;
  let shared = "";
  for (let level = 0; level < 8; level += 1) {
    const forms = holder.get("anyOf") ?? holder.get("oneOf");
    const target = definition(root, holder.get("$ref"));
    if (target) [shared, holder] = target;
    else if (Array.isArray(forms) && forms.length === 2 && forms.some(isNull)) {
      nullable = true;
      holder = /** @type {Members} */ (forms.find((form) => !isNull(form)) ?? holder);
      if (!isObject(holder)) return null;
    } else break;
  }
  const listed = holder.get("enum");
  const takesNull = typesOf(holder.get("type")).includes("null") && (!Array.isArray(listed) || listed.includes(null));
  const forms = holder.get("anyOf") ?? holder.get("oneOf");
  return { schema, holder, nullable: nullable || takesNull || (Array.isArray(forms) && forms.some(isNull)), shared };
}

/** The type in words; "other" for what the builder does not edit. @param {Members} root @param {Place | null} place @returns {string} */
export function typeOf(root, place) {
  if (!place) return "other";
  const { holder } = place;
  if (formsOf(root, place).length) return "union";
  if (["anyOf", "oneOf", "allOf", "$ref", "if", "not"].some((key) => holder.has(key))) return "other";
  const listed = holder.get("enum");
  if (Array.isArray(listed) || holder.has("const")) {
    const values = Array.isArray(listed) ? listed : [holder.get("const")];
    return values.some((one) => isObject(one) || Array.isArray(one)) || !Array.isArray(listed) ? "other" : "choice";
  }
  const types = typesOf(holder.get("type")).filter((type) => type !== "null");
  if (types.length !== 1) return "other";
  const kind = optionsOf(place.schema).get("kind") ?? optionsOf(holder).get("kind");
  switch (types[0]) {
    case "string":
      return holder.get("format") === "date" ? "date" : "text";
    case "number":
      return kind === "money" ? "money" : "number";
    case "array":
      return listType(root, holder);
    case "object":
      return isObject(holder.get("properties")) ? "group" : mapType(root, holder);
    case "integer":
    case "boolean":
      return types[0];
    default:
      return "other";
  }
}

/**
 * The type of what a list, map or union holds: "other" for lists and unions, as they may lead back here.
 * @param {Members} root @param {Place | null} place
 */
function innerType(root, place) {
  const isOuter = place && (["anyOf", "oneOf"].some((key) => place.holder.has(key)) || typesOf(place.holder.get("type")).includes("array"));
  return isOuter ? "other" : typeOf(root, place);
}

/** @param {Members} root @param {Members} holder */
function listType(root, holder) {
  const fixed = holder.get("prefixItems");
  if (Array.isArray(fixed)) return isObject(holder.get("items")) || fixed.some((one) => !isPlain(root, one)) ? "other" : "tuple";
  const items = placeOf(root, holder.get("items"));
  const inner = innerType(root, items);
  if (inner === "group") return items?.nullable ? "other" : "table";
  return ITEM_TYPES.some(([type]) => type === inner) ? "list" : "other";
}

/** @param {Members} root @param {Json | undefined} schema */
function isPlain(root, schema) {
  const type = innerType(root, placeOf(root, schema));
  return ITEM_TYPES.some(([code]) => code === type);
}

/** @param {Members} root @param {Members} holder */
function mapType(root, holder) {
  const place = placeOf(root, holder.get("additionalProperties"));
  if (!place || holder.has("patternProperties") || place.shared) return "other";
  return isPlain(root, place.schema) || (innerType(root, place) === "group" && !place.nullable) ? "map" : "other";
}

/**
 * The forms of a union without "null", if the builder can edit it, and where each is.
 * @param {Members} root @param {Place} place @returns {{ form: Place, type: string, steps: [string, number] }[]}
 */
export function formsOf(root, { holder }) {
  const keyword = holder.has("anyOf") ? "anyOf" : "oneOf";
  const listed = holder.get(keyword);
  if (!Array.isArray(listed) || WITH_FORMS.some((key) => holder.has(key))) return [];
  const found = [];
  for (const [index, one] of listed.entries()) {
    if (isNull(one)) continue;
    const form = placeOf(root, one);
    if (!form) return [];
    found.push({ form, type: innerType(root, form), steps: /** @type {[string, number]} */ ([keyword, index]) });
  }
  return found.length > 1 ? found : [];
}

/**
 * @typedef {object} Body an object inside a field, whose fields are rows
 * @property {Members} owner
 * @property {(string | number)[]} steps where it is in the schema of the field
 * @property {(string | null)[]} path the steps of a path into it; null: each row
 * @property {string} title of one form of several
 */

/** The objects whose fields a field shows. @param {Members} root @param {Place | null} place @returns {Body[]} */
export function bodiesOf(root, place) {
  if (!place) return [];
  const { holder } = place;
  const one = fieldsOwner(root, place);
  switch (typeOf(root, place)) {
    case "group":
      return one ? [{ owner: one, steps: [], path: [], title: "" }] : [];
    case "table":
      return one ? [{ owner: one, steps: ["items"], path: [null], title: "" }] : [];
    case "map": {
      const values = placeOf(root, holder.get("additionalProperties"));
      return values && typeOf(root, values) === "group" ? [{ owner: values.holder, steps: ["additionalProperties"], path: ["*"], title: "" }] : [];
    }
    case "union": {
      const forms = formsOf(root, place).map(({ form, type, steps }, index) => ({ owner: form.holder, type, steps, path: [], title: formTitle(form, index) }));
      return forms.filter(({ type }) => type === "group");
    }
    default:
      return [];
  }
}

/** @param {Place} form @param {number} index */
export const formTitle = ({ schema, holder }, index) => String(schema.get("title") ?? holder.get("title") ?? `Form ${index + 1}`);

/** The object whose fields a group or table shows; null for other types. @param {Members} root @param {Place | null} place */
export function fieldsOwner(root, place) {
  const type = typeOf(root, place);
  if (type === "group") return place?.holder ?? null;
  return type === "table" ? (placeOf(root, place?.holder.get("items"))?.holder ?? null) : null;
}

/** @param {Members} owner @returns {Members} */
export function propertiesOf(owner) {
  const properties = owner.get("properties");
  return isObject(properties) ? properties : new Map();
}

/** @param {Members} owner @returns {string[]} */
export const requiredOf = (owner) => {
  const names = owner.get("required");
  return Array.isArray(names) ? names.map(String) : [];
};

/** @param {Field} field @param {boolean} isRequired */
export function setRequired({ owner, name }, isRequired) {
  const order = [...propertiesOf(owner).keys()];
  const names = requiredOf(owner).filter((one) => one !== name);
  if (isRequired) names.push(name);
  names.sort((one, two) => (order.indexOf(one) + order.length) % order.length - (order.indexOf(two) + order.length) % order.length);
  if (names.length) {
    if (owner.has("required")) owner.set("required", names);
    else insertBefore(owner, "properties", "required", names);
  } else owner.delete("required");
}

/** @param {Members} members @param {string} before @param {string} name @param {Json} value */
function insertBefore(members, before, name, value) {
  const entries = [...members];
  const index = entries.findIndex(([key]) => key === before);
  entries.splice(index < 0 ? entries.length : index, 0, [name, value]);
  refill(members, entries);
}

/** @param {Members} members @param {[string, Json][]} entries */
export function refill(members, entries) {
  members.clear();
  for (const [name, value] of entries) members.set(name, value);
}

/** @returns {[string, Json][]} */
const objectOf = () => [["type", "object"], ["additionalProperties", false], ["properties", new Map()]];

/** A list of exactly these values. @param {Json[]} values @returns {[string, Json][]} */
export function tupleOf(values) {
  const count = new Numeral(String(values.length));
  return [["type", "array"], ["prefixItems", values], ["items", false], ["minItems", count], ["maxItems", count]];
}

/** Values of a new choice, to be replaced. */
export const CHOICES = ["first", "second"];
export const CURRENCIES = ["EUR", "USD", "GBP"];

/** What a type writes. @param {string} type @param {string} name @returns {[string, Json][]} */
function membersOf(type, name) {
  switch (type) {
    case "number":
    case "integer":
    case "boolean":
      return [["type", type]];
    case "money":
      return [["type", "number"], ["multipleOf", new Numeral("0.01")], ["x-slm", new Map([["kind", "money"]])]];
    case "date":
      return [["type", "string"], ["format", "date"]];
    case "choice":
      return [["type", "string"], ["enum", [...(/currency/u.test(name) ? CURRENCIES : CHOICES)]]];
    case "group":
      return objectOf();
    case "list":
      return [["type", "array"], ["items", new Map([["type", "string"]])]];
    case "table":
      return [["type", "array"], ["items", new Map(objectOf())]];
    case "map":
      return [["type", "object"], ["additionalProperties", new Map([["type", "string"]])]];
    case "tuple":
      return tupleOf([new Map([["type", "string"]]), new Map([["type", "string"]])]);
    case "union":
      return [["anyOf", [new Map([["type", "string"]]), new Map([["type", "number"]])]]];
    default:
      return [["type", "string"]];
  }
}

/**
 * Gives a schema another type. Notes and options that every type has are kept, and whether it may be null.
 * @param {Place} place @param {string} type @param {string} name
 */
export function setType(place, type, name) {
  const { schema, nullable } = place;
  const options = optionsOf(schema);
  for (const key of [...TYPED_OPTIONS, ...(OUTER.includes(type) ? ["evidence", "cost"] : [])]) options.delete(key);
  const kept = [...schema].filter(([key]) => !TYPED.includes(key) && key !== "x-slm");
  const written = new Map(membersOf(type, name));
  const added = written.get("x-slm");
  const all = new Map([...options, ...(isObject(added) ? added : [])]);
  written.delete("x-slm");
  refill(schema, [...kept, ...written, .../** @type {[string, Json][]} */ (all.size ? [["x-slm", all]] : [])]);
  if (nullable) setNullable({ schema, holder: schema, nullable: false, shared: "" }, true);
}

/** @param {Place} place @param {boolean} nullable */
export function setNullable({ schema, holder }, nullable) {
  const forms = schema.get("anyOf") ?? schema.get("oneOf");
  if (Array.isArray(forms) && forms.filter((form) => !isNull(form)).length > 1) {
    forms.splice(0, forms.length, ...forms.filter((form) => !isNull(form)), ...(nullable ? [new Map([["type", "null"]])] : []));
    return;
  }
  if (!nullable && Array.isArray(forms) && forms.some(isNull)) {
    const solid = forms.find((form) => !isNull(form));
    schema.delete("anyOf");
    schema.delete("oneOf");
    if (isObject(solid)) for (const [key, value] of solid) if (!schema.has(key)) schema.set(key, value);
    return;
  }
  if (holder !== schema) { // a shared definition stays as it is
    const moved = [...schema].filter(([key]) => key === "$ref");
    for (const [key] of moved) schema.delete(key);
    schema.set("anyOf", [new Map(moved), new Map([["type", "null"]])]);
    return;
  }
  const types = typesOf(holder.get("type")).filter((type) => type !== "null");
  holder.set("type", nullable ? [...types, "null"] : types.length === 1 ? types[0] : types);
  const listed = holder.get("enum");
  if (Array.isArray(listed)) holder.set("enum", [...listed.filter((one) => one !== null), ...(nullable ? [null] : [])]);
}

const MONEY = /(?:^|_)(?:amounts?|total|subtotal|price|cost|fee|tax|vat|net|gross|balance|discount|salary|sum)(?:$|_)/u;
/** @type {[RegExp, string][]} */
const GUESSES = [
  [/(?:^|_)(?:rate|percent|percentage|weight|ratio|factor)$/u, "number"],
  [/(?:^|_)(?:date|day|issued|due|birthday|deadline|expires|expiry)(?:$|_)|_(?:on|at)$/u, "date"],
  [/^(?:is|has|was|can)_|_flag$|(?:^|_)(?:paid|signed|approved|confirmed|urgent|cancell?ed|included|attached)$/u, "boolean"],
  [/(?:^|_)(?:currency|status|category|kind|type|priority|severity|gender|language)$/u, "choice"],
  [/(?:^|_)(?:lines|items|rows|positions|entries)$/u, "table"],
  [/(?:^|_)(?:tags|keywords|labels)$/u, "list"],
  [/(?:^|_)(?:quantity|qty|count|pages|age|year)$|^number_of_/u, "integer"],
  [/(?:^|_)address$/u, "text"],
  [MONEY, "money"],
];

/** The type that a name suggests. @param {string} name */
export const guessType = (name) => GUESSES.find(([pattern]) => pattern.test(name.toLowerCase()))?.[1] ?? "text";

/** The name of a new field as typed: words and capitals become snake_case; a name in lower or camel case stays. @param {string} typed */
export function nameFrom(typed) {
  const text = typed.trim();
  if (!/\s|^\p{Lu}/u.test(text)) return text;
  const words = text.replaceAll(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/gu, " ");
  return words.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "_").replaceAll(/^_|_$/gu, "") || text;
}

/** Whether a typed name has capitals that its title needs: SKU, VAT ID. @param {string} typed */
export const hasAcronym = (typed) => /\p{Lu}{2}/u.test(typed);

/** The name as the labeling form shows it. @param {string} name */
export function titleOf(name) {
  const words = name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/gu, " ").replaceAll(/[_-]+/gu, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
