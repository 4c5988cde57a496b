// Rules between the fields of an object: two operands and a comparison to choose, or an expression to write.

/** @import { Json, Members } from "./json_tree.js" */
/** @import { Builder } from "./builder.js" */

import { make } from "../site/dom.js";
import { readable, rulesOf } from "./changes.js";
import { button, input, select } from "./controls.js";
import { optionsOf, placeOf, propertiesOf, setOption, typeOf } from "./fields.js";
import { isObject, Numeral } from "./json_tree.js";

/** @type {[string, string][]} */
const OPERATORS = [
  ["==", "= equals"], [">=", "≥ at least, not before"], ["<=", "≤ at most, not after"], [">", "> more than, after"],
  ["<", "< less than, before"], ["!=", "≠ differs from"],
];
const NUMERIC = ["number", "integer", "money"];
const RULE = /^(?<left>.+?)\s*(?<operator>==|!=|<=|>=|<|>)\s*(?<right>.+)$/u;
const LATER = /(?:^|_)(?:due|end|until|to|expiry|expires|delivery|paid|valid)(?:_|$)/u;
const NUMBER = /^(?:0|[1-9]\d*)(?:\.\d+)?$/u;

/** @param {Builder} builder @param {Members} owner @param {string} title */
export function ruleBox(builder, owner, title) {
  const fields = readable(builder.tree, owner, (field) => typeOf(builder.tree, placeOf(builder.tree, propertiesOf(field.owner).get(field.name))));
  const box = make("fieldset", { className: "builder-rules" });
  box.append(make("legend", { textContent: title }));
  const rules = rulesOf(owner);
  const operands = operandsOf(fields);
  rules.forEach((rule, index) => box.append(ruleLine(builder, owner, { rule, index, operands })));
  const line = make("div", { className: "builder-actions" });
  line.append(button("add-rule", "bi-plus-lg", ["Add a rule", "Add rule"], () => addRule(builder, owner, first(operands))));
  for (const [rule, words] of suggestions(fields, rules)) {
    const control = button("suggested-rule", "bi-lightbulb", [`Add the rule ${rule}`, words], () => addRule(builder, owner, rule));
    control.classList.add("builder-suggestion");
    line.append(control);
  }
  box.append(line);
  return box;
}

/** @param {{ path: string, type: string }[]} fields @returns {[string, string][]} */
function operandsOf(fields) {
  /** @type {[string, string][]} */
  const found = [];
  for (const { path, type } of fields) {
    if (path.includes("[]")) {
      if (NUMERIC.includes(type)) found.push([`sum(${path})`, `sum of ${path.replace("[]", "")}`]);
      if (type === "date") found.push([`max(${path})`, `latest ${path.replace("[]", "")}`]);
    } else if (!["list", "table", "other"].includes(type)) found.push([path, path]);
  }
  return found;
}

/** @param {[string, string][]} operands */
const first = (operands) => `${operands[0]?.[0] ?? "a"} == ${operands[1]?.[0] ?? operands[0]?.[0] ?? "b"}`;

/** Rules that documents with such fields usually keep. @param {{ path: string, type: string }[]} fields @param {string[]} rules @returns {[string, string][]} */
function suggestions(fields, rules) {
  /** @type {[string, string][]} */
  const found = [];
  const top = fields.filter(({ path }) => !path.includes("[]") && !path.includes("."));
  const dates = top.filter(({ type }) => type === "date");
  const start = dates.find(({ path }) => !LATER.test(path));
  for (const { path } of dates) if (start && LATER.test(path)) found.push([`${path} >= ${start.path}`, `${path} not before ${start.path}`]);
  const total = ["subtotal", "net_total", "net", "total", "total_amount", "amount"].map((name) => top.find(({ path, type }) => path === name && NUMERIC.includes(type))).find(Boolean);
  const parts = fields.filter(({ path, type }) => /\[\]\.(?:amount|total|net|line_total)$/u.test(path) && NUMERIC.includes(type));
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

/** @param {Builder} builder @param {Members} owner @param {string} rule */
function addRule(builder, owner, rule) {
  const index = entries(owner).length;
  builder.change(() => setOption(owner, "invariants", [...entries(owner), rule]), { renders: true });
  const lines = [...builder.root.querySelectorAll(".builder-rule")].filter((line) => line.dataset.index === String(index));
  lines.at(-1)?.querySelector("select, input")?.focus();
}

/** @param {Json} entry @param {string} rule @returns {Json} */
function withRule(entry, rule) {
  return isObject(entry) ? new Map([...entry, ["rule", rule]]) : rule;
}

/** @param {Builder} builder @param {Members} owner @param {{ rule: string, index: number, operands: [string, string][] }} line */
function ruleLine(builder, owner, { rule, index, operands }) {
  const box = make("div", { className: "builder-rule" });
  box.dataset.index = String(index);
  const entry = entries(owner)[index];
  /** @param {string} text @param {boolean} renders */
  const put = (text, renders) => builder.change(() => entries(owner).splice(index, 1, withRule(entries(owner)[index], text)), { renders });
  const { left = "", operator = "", right = "" } = RULE.exec(rule)?.groups ?? {};
  const known = operands.map(([code]) => code);
  if (known.includes(left) && (known.includes(right) || NUMBER.test(right))) {
    const numbers = /** @type {[string, string][]} */ ([...new Set(["0", ...(NUMBER.test(right) ? [right] : [])])].map((number) => [number, number]));
    const written = /** @type {[string, string]} */ (["", "write it as an expression…"]);
    const one = select("rule-left", operands, left, (code) => put(`${code} ${operator} ${right}`, true));
    const compare = select("rule-operator", OPERATORS, operator, (code) => put(`${left} ${code} ${right}`, true));
    const two = select("rule-right", [...operands, ...numbers, written], right, (code) => put(code ? `${left} ${operator} ${code}` : `${left} ${operator} ${right} + 0`, true));
    one.setAttribute("aria-label", `Left side of rule ${index + 1}`);
    compare.setAttribute("aria-label", `Comparison of rule ${index + 1}`);
    two.setAttribute("aria-label", `Right side of rule ${index + 1}`);
    box.append(one, compare, two);
  } else {
    const text = input("rule-text", rule, (typed) => (typed.trim() ? put(typed.trim(), false) : "Write a rule, such as due_date >= date."), "due_date >= date");
    text.setAttribute("aria-label", `Rule ${index + 1}`);
    text.classList.add("builder-rule-text");
    box.append(text);
  }
  box.append(tolerance(builder, owner, index, entry), button("remove-rule", "bi-trash", `Remove rule ${index + 1}`, () => {
    builder.change(() => {
      const rest = entries(owner).filter((_, place) => place !== index);
      setOption(owner, "invariants", rest.length ? rest : undefined);
    }, { renders: true });
  }));
  return box;
}

/** @param {Builder} builder @param {Members} owner @param {number} index @param {Json} entry */
function tolerance(builder, owner, index, entry) {
  const allowed = isObject(entry) ? entry.get("tolerance") : undefined;
  const control = input("rule-tolerance", allowed instanceof Numeral ? allowed.text : "", (typed) => {
    const value = typed.trim();
    if (value && !NUMBER.test(value)) return "A number from 0 is expected.";
    return builder.change(() => {
      const now = entries(owner)[index];
      const rule = isObject(now) ? new Map(now) : new Map([["rule", now]]);
      if (value) rule.set("tolerance", new Numeral(value));
      else rule.delete("tolerance");
      entries(owner).splice(index, 1, rule.size === 1 ? (rule.get("rule") ?? "") : rule);
    });
  }, "± 0");
  control.setAttribute("aria-label", `Allowed difference of rule ${index + 1}`);
  control.classList.add("builder-tolerance");
  return control;
}
