// The label as JSON, written from what stands in the form, as the server would write it. What was typed and not saved yet
// is understood by the server alone: such a text stands as it was typed, and is read as typed when it is saved.

import { branchOf, bodyOf, childrenOf, choicesOf, controlsOf, isLeaf, nodeOf } from "./nodes.js";
import { nameOf } from "./form.js";
import { isRaw, own, table } from "./paths.js";

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/u;

// JSON text that stands for itself: numbers keep their digits.
class Verbatim {
  constructor(text) {
    this.text = text;
  }
}

// `understood(path)`: how the server read the text that stands there now, or undefined. Returns the JSON text, and the
// texts in it that nobody has read yet, by path.
export function written(form, understood) {
  const typed = table();
  const value = new Writer(form, understood, typed).value(form.root, form.model.entry);
  return { text: print(value ?? {}), typed };
}

class Writer {
  constructor(form, understood, typed) {
    Object.assign(this, { form, understood, typed });
  }

  // undefined: nothing stands there.
  value(node, entry) {
    if (entry === undefined || entry === "") return undefined;
    if (entry === null) return null;
    if (isRaw(entry)) return raw(entry.$json);
    const { node: kind } = node.dataset;
    if (kind === "variants") return this.value(branchOf(node).firstElementChild, entry.$value);
    if (kind === "group") return this.group(node, entry);
    if (kind === "map") return this.map(node, entry);
    if (kind === "tuple") return this.places(node, entry);
    if (kind === "checks") return entry.map((code) => choice(node, code));
    if (!isLeaf(node)) return this.rows(node, entry);
    return typeof entry === "boolean" ? entry : this.leaf(node, entry);
  }

  group(node, entry) {
    const result = table();
    const names = new Set();
    for (const child of childrenOf(node)) {
      const { key } = child.dataset;
      names.add(key);
      const value = this.value(child, own(entry, key));
      if (value === undefined) continue;
      if (key === "$more") Object.assign(result, value);
      else result[key] = value;
    }
    for (const name of Object.keys(entry)) if (!names.has(name) && isRaw(entry[name])) result[name] = raw(entry[name].$json);
    return result;
  }

  rows(node, entries) {
    const items = [...bodyOf(node).children];
    return entries.map((entry, index) => this.row(nodeOf(items[index]), entry));
  }

  row(node, entry) {
    return this.value(node, entry) ?? (isLeaf(node) ? "" : {});
  }

  map(node, rows) {
    const result = table();
    this.form.pairs(node).forEach(([, inner], index) => {
      const { key: name = "", value } = rows[index];
      const shown = name && nameOf(node, name);
      const free = (wanted) => (wanted in result ? free(`${wanted} (2)`) : wanted);
      if (shown || (value !== undefined && value !== "")) result[free(shown || "unnamed")] = this.row(inner, value);
    });
    return result;
  }

  places(node, entries) {
    const values = childrenOf(node).slice(0, entries.length).map((child, index) => this.row(child, entries[index]));
    while (values.length && values.at(-1) === "") values.pop();
    return values;
  }

  leaf(node, entry) {
    const { shape } = node.dataset;
    const text = String(entry).trim();
    if (!text) return undefined;
    if (shape === "choice") return choice(node, entry);
    if (shape === "json") return raw(text);
    const path = this.form.pathOf(node);
    const known = this.understood(path);
    if (shape === "number") {
      if (NUMBER.test(known ?? text) || known === "null") return new Verbatim(known ?? text);
    } else if (known !== undefined) {
      return known === "null" && "nullable" in node.dataset ? null : known;
    }
    if (["number", "date"].includes(shape)) this.typed[path] = text;
    return text;
  }
}

function raw(text) {
  if (!text.trim()) return undefined;
  try {
    JSON.parse(text);
    return new Verbatim(text.trim());
  } catch {
    return text;
  }
}

// The code of a choice is its JSON text; anything else that was typed is a text.
function choice(node, code) {
  const options = choicesOf(node).map(([known]) => known);
  const controls = controlsOf(node).flatMap((control) => (control.tagName === "SELECT" ? [...control.options] : [control]));
  const known = [...options, ...controls.map((control) => control.value)];
  return known.includes(code) ? raw(code) ?? code : code;
}

// Indented by two blanks, as the server indents.
function print(value, indent = "") {
  if (value instanceof Verbatim) return value.text;
  const inner = `${indent}  `;
  const list = (parts, open, close) => (parts.length ? `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${indent}${close}` : open + close);
  if (Array.isArray(value)) return list(value.map((part) => print(part, inner)), "[", "]");
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return list(Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${print(part, inner)}`), "{", "}");
}
