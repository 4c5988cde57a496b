// Rules between the fields of an object: two sides and a comparison to choose, or an expression to write.

/** @import { Json, Members, Steps } from "./json_tree.js" */
/** @import { Builder } from "./builder.js" */
/** @import { Field } from "./fields.js" */

import { make } from "../site/dom.js";
import { readable, rulesOf } from "./changes.js";
import { button, input, select } from "./controls.js";
import { optionsOf, placeOf, propertiesOf, setOption, typeOf } from "./fields.js";
import { isObject, Numeral } from "./json_tree.js";

/** @typedef {{ code: string, title: string, kind: string }} Operand a side of a rule; sides of one kind can be compared */
/** @typedef {{ owner: Members, key: string, steps: Steps, operands: Operand[] }} Rules those of one object; `key`: of its row, "" for the document */

/** @type {[string, string][]} */
const OPERATORS = [
  ["==", "= Equals"], [">=", "≥ At least, not before"], ["<=", "≤ At most, not after"], [">", "> More than, after"],
  ["<", "< Less than, before"], ["!=", "≠ Differs from"],
];
const EQUALITY = ["==", "!="];
/** @type {Record<string, string>} */
const KINDS = { number: "number", integer: "number", money: "number", date: "date", text: "text", choice: "text", boolean: "boolean" };
const RULE = /^(?<left>.+?)\s*(?<operator>==|!=|<=|>=|<|>)\s*(?<right>.+)$/u;
const LATER = /(?:^|_)(?:due|end|until|to|expiry|expires|delivery|paid|valid)(?:_|$)/u;
const NUMBER = /^(?:0|[1-9]\d*)(?:\.\d+)?$/u;
const TODAY = "today()";

/** @param {Builder} builder @param {Members} owner @param {{ title: string, key: string, steps: Steps }} place */
export function ruleBox(builder, owner, { title, key, steps }) {
  const fields = readable(builder.tree, owner, (field) => typeInRules(builder, field));
  const box = make("fieldset", { className: "builder-rules" });
  box.append(make("legend", { textContent: title }));
  const rules = { owner, key, steps, operands: operandsOf(fields) };
  const texts = rulesOf(owner);
  texts.forEach((_, index) => box.append(ruleLine(builder, rules, index)));
  const line = make("div", { className: "builder-actions" });
  if (rules.operands.length) line.append(button("add-rule", "bi-plus-lg", ["Add a rule", "Add rule"], () => addRule(builder, rules, starter(rules.operands))));
  for (const [rule, words] of suggestions(fields, texts)) {
    const control = button("suggested-rule", "bi-lightbulb", [`Add the rule ${rule}`, words], () => addRule(builder, rules, rule));
    control.classList.add("builder-suggestion");
    line.append(control);
  }
  box.append(line);
  return box;
}

/** The type of a field in a rule: a text that is compared as a date is a date. @param {Builder} builder @param {Field} field */
function typeInRules(builder, field) {
  const place = placeOf(builder.tree, propertiesOf(field.owner).get(field.name));
  const type = typeOf(builder.tree, place);
  const kind = place && type === "text" ? String(optionsOf(place.schema).get("kind") ?? "") : "";
  return ["date", "money"].includes(kind) ? kind : type;
}

/** @param {{ path: string, type: string }[]} fields @returns {Operand[]} */
function operandsOf(fields) {
  /** @type {Operand[]} */
  const found = [];
  for (const { path, type } of fields) {
    const kind = KINDS[type];
    if (!path.includes("[]")) {
      if (kind) found.push({ code: path, title: path, kind });
    } else if (kind === "number") found.push({ code: `sum(${path})`, title: `sum of ${path.replace("[]", "")}`, kind });
    else if (kind === "date") found.push({ code: `max(${path})`, title: `latest ${path.replace("[]", "")}`, kind });
  }
  return found;
}

/** A rule to start with: between two fields that can be compared. @param {Operand[]} operands */
function starter(operands) {
  const of = (/** @type {string} */ kind) => operands.filter((operand) => operand.kind === kind).map(({ code }) => code);
  const [dates, numbers, texts] = [of("date"), of("number"), of("text")];
  const end = dates.find((date) => LATER.test(date)) ?? dates[1];
  if (dates.length > 1) return `${end} >= ${dates.find((date) => date !== end)}`;
  if (dates.length) return `${dates[0]} <= ${TODAY}`;
  if (numbers.length) return numbers.length > 1 ? `${numbers[0]} <= ${numbers[1]}` : `${numbers[0]} >= 0`;
  return texts.length > 1 ? `${texts[0]} != ${texts[1]}` : `${operands[0].code} != null`;
}

/** What a left side can be compared with. @param {Operand[]} operands @param {Operand} left @param {string} right as it is now @returns {[string, string][]} */
function rightsOf(operands, left, right) {
  /** @type {[string, string][]} */
  const found = operands.filter(({ code, kind }) => kind === left.kind && code !== left.code).map(({ code, title }) => [code, title]);
  if (left.kind === "date") found.push([TODAY, "today"]);
  if (left.kind === "number") for (const number of new Set(["0", ...(NUMBER.test(right) ? [right] : [])])) found.push([number, number]);
  return found;
}

/** Rules that documents with such fields usually keep. @param {{ path: string, type: string }[]} fields @param {string[]} rules @returns {[string, string][]} */
function suggestions(fields, rules) {
  /** @type {[string, string][]} */
  const found = [];
  const isNumber = (/** @type {string} */ type) => KINDS[type] === "number";
  const top = fields.filter(({ path }) => !path.includes("[]") && !path.includes("."));
  const dates = top.filter(({ type }) => type === "date");
  const start = dates.find(({ path }) => !LATER.test(path));
  for (const { path } of dates) if (start && LATER.test(path)) found.push([`${path} >= ${start.path}`, `${path} not before ${start.path}`]);
  if (start) found.push([`${start.path} <= ${TODAY}`, `${start.path} not in the future`]);
  const total = ["subtotal", "net_total", "net", "total", "total_amount", "amount"].map((name) => top.find(({ path, type }) => path === name && isNumber(type))).find(Boolean);
  const parts = fields.filter(({ path, type }) => /\[\]\.(?:amount|total|net|line_total)$/u.test(path) && isNumber(type));
  if (total) for (const { path } of parts) found.push([`sum(${path}) == ${total.path}`, `sum of ${path.replace("[]", "")} = ${total.path}`]);
  const names = new Set(top.map(({ path }) => path));
  const whole = ["total", "total_amount", "amount"].find((name) => names.has(name));
  if (whole && names.has("subtotal") && names.has("tax")) found.push([`subtotal + tax == ${whole}`, `subtotal + tax = ${whole}`]);
  if (["quantity", "unit_price", "amount"].every((name) => names.has(name))) found.push(["quantity * unit_price == amount", "quantity × unit_price = amount"]);
  return found.filter(([rule]) => !rules.includes(rule)).slice(0, 4);
}

/** @param {Members} owner @returns {Json[]} */
function entries(owner) {
  const rules = optionsOf(owner).get("invariants");
  return Array.isArray(rules) ? rules : [];
}

/** The first control of a rule. @param {Rules} rules @param {number} index */
const firstOf = ({ key }, index) => ({ key, part: `rule-${index}` });

/** @param {Builder} builder @param {Rules} rules @param {string} rule */
function addRule(builder, rules, rule) {
  const { owner } = rules;
  builder.change(() => setOption(owner, "invariants", [...entries(owner), rule]), { renders: true, focus: firstOf(rules, entries(owner).length) });
}

/** @param {Builder} builder @param {Rules} rules @param {number} index */
function removeRule(builder, rules, index) {
  const { owner, key } = rules;
  const rest = entries(owner).filter((_, place) => place !== index);
  const written = [...writtenRules(builder, owner)].filter((place) => place !== index).map((place) => (place > index ? place - 1 : place));
  builder.writtenRules.set(owner, new Set(written));
  const focus = rest.length ? firstOf(rules, Math.min(index, rest.length - 1)) : { key, part: "add-rule" };
  builder.change(() => setOption(owner, "invariants", rest.length ? rest : undefined), { renders: true, focus });
}

/** Changes a rule, its tolerance or its message. @param {Members} owner @param {number} index @param {[string, Json | undefined]} member */
function putMember(owner, index, [name, value]) {
  const now = entries(owner)[index];
  const rule = isObject(now) ? new Map(now) : new Map([["rule", now]]);
  if (value === undefined) rule.delete(name);
  else rule.set(name, value);
  entries(owner).splice(index, 1, rule.size === 1 ? (rule.get("rule") ?? "") : rule);
}

/** The rules of an object that are shown as expressions, though they could be chosen. @param {Builder} builder @param {Members} owner @returns {Set<number>} */
const writtenRules = (builder, owner) => builder.writtenRules.get(owner) ?? new Set();

/** @param {Builder} builder @param {Rules} rules @param {number} index */
function ruleLine(builder, rules, index) {
  const { owner, steps, operands } = rules;
  const box = make("div", { className: "builder-rule" });
  box.dataset.place = JSON.stringify([...steps, "x-slm", "invariants", index].map(String));
  const text = rulesOf(owner)[index];
  const { left = "", operator = "", right = "" } = RULE.exec(text)?.groups ?? {};
  const first = operands.find(({ code }) => code === left);
  const rights = first ? rightsOf(operands, first, right) : [];
  const isChosen = rights.some(([code]) => code === right) && !writtenRules(builder, owner).has(index);
  if (first && isChosen) box.append(...sides(builder, rules, { index, first, operator, right, rights }));
  else box.append(expression(builder, owner, index, text));
  const entry = entries(owner)[index];
  if (isChosen ? first?.kind === "number" : operands.some(({ code, kind }) => kind === "number" && text.includes(code))) box.append(tolerance(builder, owner, index, entry));
  box.append(
    button(`remove-rule-${index}`, "bi-trash", `Remove rule ${index + 1}`, () => removeRule(builder, rules, index)),
    message(builder, owner, index, entry),
  );
  return box;
}

/**
 * A rule as three choices. @param {Builder} builder @param {Rules} rules
 * @param {{ index: number, first: Operand, operator: string, right: string, rights: [string, string][] }} rule
 */
function sides(builder, rules, { index, first, operator, right, rights }) {
  const { owner, operands } = rules;
  /** @param {string} text */
  const put = (text) => builder.change(() => putMember(owner, index, ["rule", text]), { renders: true });
  /** @param {string} code */
  const putLeft = (code) => {
    const left = operands.find((operand) => operand.code === code) ?? first;
    const choices = rightsOf(operands, left, right).map(([other]) => other);
    const sign = left.kind === first.kind ? operator : left.kind === "date" ? "<=" : "!=";
    put(choices.length ? `${code} ${sign} ${choices.includes(right) ? right : choices[0]}` : `${code} != null`);
  };
  const write = () => {
    builder.writtenRules.set(owner, new Set([...writtenRules(builder, owner), index]));
    builder.render(firstOf(rules, index));
  };
  const isOrdered = ["number", "date"].includes(first.kind);
  const one = select(`rule-${index}`, operands.map(({ code, title }) => [code, title]), first.code, putLeft);
  const signs = OPERATORS.filter(([code]) => isOrdered || EQUALITY.includes(code) || code === operator);
  const compare = select(`rule-operator-${index}`, signs, operator, (code) => put(`${first.code} ${code} ${right}`));
  const two = select(`rule-right-${index}`, [...rights, ["", "Write an expression…"]], right, (code) => (code ? put(`${first.code} ${operator} ${code}`) : write()));
  one.setAttribute("aria-label", `Left side of rule ${index + 1}`);
  compare.setAttribute("aria-label", `Comparison of rule ${index + 1}`);
  two.setAttribute("aria-label", `Right side of rule ${index + 1}`);
  return [one, compare, two];
}

/** @param {Builder} builder @param {Members} owner @param {number} index @param {string} rule */
function expression(builder, owner, index, rule) {
  const text = input(`rule-${index}`, rule, (typed) => {
    if (!typed.trim()) return "Write a rule, such as due_date >= date.";
    return builder.change(() => putMember(owner, index, ["rule", typed.trim()]));
  }, "due_date >= date");
  text.setAttribute("aria-label", `Rule ${index + 1}`);
  text.classList.add("builder-rule-text");
  return text;
}

/** @param {Builder} builder @param {Members} owner @param {number} index @param {Json} entry */
function tolerance(builder, owner, index, entry) {
  const allowed = isObject(entry) ? entry.get("tolerance") : undefined;
  const control = input(`rule-tolerance-${index}`, allowed instanceof Numeral ? allowed.text : "", (typed) => {
    const value = typed.trim();
    if (value && !NUMBER.test(value)) return "Enter a number of 0 or more.";
    return builder.change(() => putMember(owner, index, ["tolerance", value ? new Numeral(value) : undefined]));
  }, "± 0");
  control.setAttribute("aria-label", `Allowed difference of rule ${index + 1}`);
  control.classList.add("builder-tolerance");
  return control;
}

/** What annotators read if a label breaks the rule. @param {Builder} builder @param {Members} owner @param {number} index @param {Json} entry */
function message(builder, owner, index, entry) {
  const text = isObject(entry) ? String(entry.get("message") ?? "") : "";
  const control = input(`rule-message-${index}`, text, (typed) => builder.change(() => putMember(owner, index, ["message", typed.trim() || undefined])), "Error message (default: the rule in words)");
  control.setAttribute("aria-label", `Message of rule ${index + 1}`);
  control.classList.add("builder-rule-message");
  return control;
}
