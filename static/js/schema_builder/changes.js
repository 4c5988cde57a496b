// Changes of fields that touch more than their own schema: names, order, nesting, and the rules that read them.

/** @import { Json, Members } from "./json_tree.js" */
/** @import { Field } from "./fields.js" */

import { fieldsOwner, optionsOf, placeOf, propertiesOf, refill, requiredOf, setRequired } from "./fields.js";
import { copy, isObject } from "./json_tree.js";

/** @typedef {{ owner: Members, steps: (string | null)[] }} Ancestor an object around a field, and the path from it; null: each row */

const PLAIN = /^[^\W\d][\w$-]*$/u;
const PATH = /"(?:[^"\\]|\\.)*"|[^\W\d][\w$-]*(?:\[\]|\.[^\W\d][\w$-]*|\["(?:[^"\\]|\\.)*"\])*|(?:\["(?:[^"\\]|\\.)*"\])(?:\[\]|\.[^\W\d][\w$-]*|\["(?:[^"\\]|\\.)*"\])*/gu;
const STEP = /\[\]|\["(?:[^"\\]|\\.)*"\]|[^.[\]]+/gu;

/** The path of a field in a rule. @param {(string | null)[]} steps */
export function pathText(steps) {
  return steps.reduce((/** @type {string} */ text, step) => {
    if (step === null) return `${text}[]`;
    if (!PLAIN.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text ? `${text}.${step}` : step;
  }, "");
}

/** @param {string} text @returns {(string | null)[]} */
const stepsOf = (text) =>
  (text.match(STEP) ?? []).map((step) => (step === "[]" ? null : step.startsWith('["') ? JSON.parse(step.slice(1, -1)) : step));

/** The rules of an object, as text. @param {Members} owner @returns {string[]} */
export function rulesOf(owner) {
  const rules = optionsOf(owner).get("invariants");
  return Array.isArray(rules) ? rules.map((rule) => String(isObject(rule) ? (rule.get("rule") ?? "") : rule)) : [];
}

/** @param {Members} owner @param {(text: string) => string} change */
function changeRules(owner, change) {
  const rules = optionsOf(owner).get("invariants");
  if (!Array.isArray(rules)) return;
  rules.forEach((rule, index) => {
    if (isObject(rule)) rule.set("rule", change(String(rule.get("rule") ?? "")));
    else if (typeof rule === "string") rules[index] = change(rule);
  });
}

/** @param {string} rule @param {(string | null)[]} from @param {string} to the new last step */
function renamedIn(rule, from, to) {
  return rule.replaceAll(PATH, (word, offset) => {
    if (word.startsWith('"') || /^\s*\(/u.test(rule.slice(offset + word.length))) return word;
    const steps = stepsOf(word);
    if (!from.every((step, index) => steps[index] === step)) return word;
    steps[from.length - 1] = to;
    return pathText(steps);
  });
}

/** Renames a field, also in the rules that read it. @param {Field} field @param {string} to @param {Ancestor[]} ancestors */
export function rename(field, to, ancestors) {
  const { owner, name } = field;
  const properties = propertiesOf(owner);
  refill(properties, [...properties].map(([key, value]) => [key === name ? to : key, value]));
  const names = requiredOf(owner);
  if (names.includes(name)) owner.set("required", names.map((one) => (one === name ? to : one)));
  for (const key of ["dependentRequired", "dependentSchemas"]) {
    const rules = owner.get(key);
    if (isObject(rules)) refill(rules, [...rules].map(([one, value]) => [one === name ? to : one, renamedNames(value, name, to)]));
  }
  for (const { owner: around, steps } of ancestors) changeRules(around, (rule) => renamedIn(rule, [...steps, name], to));
  field.name = to;
}

/** @param {Json} value @param {string} name @param {string} to @returns {Json} */
const renamedNames = (value, name, to) => (Array.isArray(value) ? value.map((one) => (one === name ? to : one)) : value);

/** A name that no field of an object has. @param {Members} owner @param {string} wanted */
export function freeName(owner, wanted) {
  const properties = propertiesOf(owner);
  let name = wanted;
  for (let number = 2; properties.has(name); number += 1) name = `${wanted}_${number}`;
  return name;
}

/** @param {Members} owner @param {string} name @param {Json} schema @param {number} index */
export function insert(owner, name, schema, index) {
  if (!isObject(owner.get("properties"))) owner.set("properties", new Map());
  const properties = propertiesOf(owner);
  const entries = [...properties];
  entries.splice(index, 0, [name, schema]);
  refill(properties, entries);
}

/** @param {Field} field */
export function remove(field) {
  setRequired(field, false);
  propertiesOf(field.owner).delete(field.name);
}

/** @param {Field} field */
export const indexOf = ({ owner, name }) => [...propertiesOf(owner).keys()].indexOf(name);

/**
 * Moves a field to a place of an object, its own or another one.
 * @param {Field} field @param {Members} owner @param {number} index before the field is taken out
 */
export function move(field, owner, index) {
  const from = indexOf(field);
  const schema = propertiesOf(field.owner).get(field.name);
  if (schema === undefined) return;
  const isRequired = requiredOf(field.owner).includes(field.name);
  const target = owner === field.owner && from < index ? index - 1 : index;
  remove(field);
  field.name = freeName(owner, field.name);
  insert(owner, field.name, schema, target);
  field.owner = owner;
  if (isRequired) setRequired(field, true);
}

/** Adds a copy behind a field. @param {Field} field @returns {Field} */
export function duplicate(field) {
  const name = freeName(field.owner, field.name);
  const schema = propertiesOf(field.owner).get(field.name) ?? new Map();
  insert(field.owner, name, copy(schema), indexOf(field) + 1);
  return { owner: field.owner, name };
}

/**
 * The fields that a rule of an object can read, with their paths and types.
 * @param {Members} root @param {Members} owner @param {(field: Field) => string} typeOfField
 * @returns {{ path: string, type: string }[]}
 */
export function readable(root, owner, typeOfField) {
  /** @type {{ path: string, type: string }[]} */
  const found = [];
  /** @param {Members} object @param {(string | null)[]} steps @param {number} depth */
  const walk = (object, steps, depth) => {
    for (const [name, schema] of propertiesOf(object)) {
      const type = typeOfField({ owner: object, name });
      const here = [...steps, name];
      const inner = fieldsOwner(root, placeOf(root, schema));
      if (inner && depth < 4) walk(inner, type === "table" ? [...here, null] : here, depth + 1);
      if (type !== "group") found.push({ path: pathText(here), type });
    }
  };
  walk(owner, [], 0);
  return found;
}
