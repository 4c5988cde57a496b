// The label as JSON text, written from the form as the server would write it. Only the server normalizes typed values: a
// text that was not saved yet is written as typed.

/** @import { ByPath, Entry, EntryGroup } from "./types" */
/** @import { Form } from "./form.js" */
/** @import { Value } from "./json_values.js" */

import { nameOf } from "./form.js";
import { print, raw, valueOfText } from "./json_values.js";
import { bodyOf, childrenOf, choicesOf, controlsOf, isLeaf, keyOf, nodeOf, variantOf } from "./nodes.js";
import { isRaw, own, table } from "./paths.js";

/**
 * @param {Form} form
 * @param {(path: string) => string | undefined} normalized how the server read the current text of a field, if it did
 * @returns {{ text: string, typed: ByPath<string> }} the JSON, and the texts in it that the server has not read
 */
export function writeJson(form, normalized) {
  /** @type {ByPath<string>} */
  const typed = table();
  const value = new Writer(form, normalized, typed).value(form.root, form.draft.entry);
  return { text: print(value ?? {}), typed };
}

class Writer {
  /** @param {Form} form @param {(path: string) => string | undefined} normalized @param {ByPath<string>} typed */
  constructor(form, normalized, typed) {
    this.form = form;
    this.normalized = normalized;
    this.typed = typed;
  }

  /** @param {Element} node @param {Entry} entry @returns {Value} undefined where there is nothing */
  value(node, entry) {
    if (entry === undefined || entry === "") return undefined;
    if (entry === null) return null;
    if (isRaw(entry)) return raw(entry.$json);
    const group = /** @type {EntryGroup} */ (entry);
    const entries = /** @type {Entry[]} */ (entry);
    switch (node.dataset.node) {
      case "variants":
        return this.value(/** @type {Element} */ (variantOf(node)), group.$value);
      case "group":
        return this.group(node, group);
      case "map":
        return this.map(node, /** @type {EntryGroup[]} */ (entries));
      case "tuple":
        return this.tuple(node, entries);
      case "checks":
        return entries.map((code) => choice(node, String(code)));
      case "leaf":
        return typeof entry === "boolean" ? entry : this.leaf(node, String(entry));
      default:
        return this.rows(node, entries);
    }
  }

  /** @param {Element} node @param {EntryGroup} entry */
  group(node, entry) {
    /** @type {Record<string, Value>} */
    const result = table();
    const names = new Set();
    for (const child of childrenOf(node)) {
      const key = keyOf(child);
      names.add(key);
      const value = this.value(child, own(entry, key));
      if (value === undefined) continue;
      if (key === "$more") Object.assign(result, value);
      else result[key] = value;
    }
    for (const [name, inner] of Object.entries(entry)) if (!names.has(name) && isRaw(inner)) result[name] = raw(inner.$json);
    return result;
  }

  /** @param {Element} node @param {Entry[]} entries */
  rows(node, entries) {
    const items = [...bodyOf(node).children];
    return entries.map((entry, index) => this.row(nodeOf(items[index]), entry));
  }

  /** @param {Element} node @param {Entry} entry @returns {Value} */
  row(node, entry) {
    return this.value(node, entry) ?? (isLeaf(node) ? "" : {});
  }

  /** @param {Element} node @param {EntryGroup[]} rows */
  map(node, rows) {
    /** @type {Record<string, Value>} */
    const result = table();
    /** @type {(name: string) => string} */
    const unused = (name) => (name in result ? unused(`${name} (2)`) : name);
    this.form.pairs(node).forEach(([, inner], index) => {
      const { key = "", value } = rows[index];
      const name = key && nameOf(node, key);
      if (name || (value !== undefined && value !== "")) result[unused(name || "unnamed")] = this.row(inner, value);
    });
    return result;
  }

  /** @param {Element} node @param {Entry[]} entries */
  tuple(node, entries) {
    const values = childrenOf(node).slice(0, entries.length).map((child, index) => this.row(child, entries[index]));
    while (values.length && values.at(-1) === "") values.pop();
    return values;
  }

  /** @param {Element} node @param {string} entry @returns {Value} */
  leaf(node, entry) {
    const text = entry.trim();
    const { shape = "" } = node.dataset;
    if (!text) return undefined;
    if (shape === "choice") return choice(node, entry);
    if (shape === "json") return raw(text);
    const path = this.form.pathOf(node);
    const known = this.normalized(path);
    const value = valueOfText(text, { shape, known, isNullable: "nullable" in node.dataset });
    if (value !== undefined) return value;
    if (["number", "date"].includes(shape)) this.typed[path] = text;
    return text;
  }
}

/** The code of a choice is its JSON text; anything else is a text. @param {Element} node @param {string} code */
function choice(node, code) {
  const options = choicesOf(node).map(([known]) => known);
  const values = controlsOf(node).flatMap((control) => (control.tagName === "SELECT" ? [...control.options].map(({ value }) => value) : control.value));
  const known = [...options, ...values];
  return known.includes(code) ? raw(code) ?? code : code;
}
