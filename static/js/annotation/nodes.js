// The parts of the form in the page ("nodes"): their kind, position and controls. The server renders them from the schema.

/** @import { Choice, Entry, Steps } from "./types" */

import { find, make } from "../site/dom.js";
import { isRaw } from "./paths.js";

export const NODE = "[data-node]";
const ROWS = '[data-node="table"], [data-node="list"], [data-node="map"]';

/** @typedef {Element | null | undefined} MaybeNode */

/** @param {Element} node */
export const parentOf = (node) => node.parentElement?.closest(NODE) ?? null;

/** The row around an element. @param {Element} element */
export const itemOf = (element) => element.closest("[data-item]");

/** The table, list or map around an element. @param {MaybeNode} element */
export const rowsOf = (element) => element?.closest(ROWS) ?? null;

/** @param {MaybeNode} node @param {string[]} kinds */
const isKind = (node, kinds) => kinds.includes(node?.dataset.node ?? "");

/** @param {MaybeNode} node */
export const isLeaf = (node) => isKind(node, ["leaf", "checks"]);

/** The leaf of a control; null for anything else. @param {Element | null} control */
export function leafOf(control) {
  const node = control?.matches("[data-control]") ? control.closest(NODE) : null;
  return isLeaf(node) ? node : null;
}

/** @param {MaybeNode} node */
export const isRows = (node) => isKind(node, ["table", "list", "map"]);

/** @param {MaybeNode} node */
export const isGroup = (node) => isKind(node, ["group", "tuple"]);

/** The name of a node in its group. @param {Element} node */
export const keyOf = (node) => node.dataset.key ?? "";

/**
 * Parts of nodes that are looked up again and again, as long as they are in the page.
 * @type {WeakMap<Element, Record<string, Element>>}
 */
const cache = new WeakMap();

/** @param {Element} node @param {string} name @param {() => Element} lookUp */
function cached(node, name, lookUp) {
  const known = cache.get(node) ?? {};
  if (!known[name]?.isConnected) known[name] = lookUp();
  cache.set(node, known);
  return known[name];
}

/** @param {Element} node @param {string} selector */
export const childOf = (node, selector) => [...node.children].find((child) => child.matches(selector));

/** The element with the rows. @param {Element} rows */
export const bodyOf = (rows) => cached(rows, "body", () => find(rows, "[data-body]"));

/** The form that a node with variants shows; null before it is filled. @param {Element} node */
export const variantOf = (node) => branchOf(node).firstElementChild;

/** @param {Element} node */
export const branchOf = (node) => cached(node, "branch", () => /** @type {Element} */ (childOf(node, "[data-branch]")));

/** The node of a row. @param {Element} item @returns {Element} */
export const nodeOf = (item) => (item.matches(NODE) ? item : cached(item, "node", () => find(item, NODE)));

/** Whether a node is a whole row. @param {Element} node */
export function isRow(node) {
  const item = itemOf(node);
  return item !== null && nodeOf(item) === node;
}

/**
 * The positions of rows, kept by the form: counting siblings for every path is slow in long grids.
 * @type {WeakMap<Element, number>}
 */
export const positions = new WeakMap();

/** @param {Element} item */
export const indexOf = (item) => positions.get(item) ?? [...(item.parentElement?.children ?? [])].indexOf(item);

/**
 * The steps to the entry of a node in the draft. The path of its value in the label is `Form.pathOf`.
 * @param {Element} node
 * @returns {Steps}
 */
export function stepsOf(node) {
  const parent = parentOf(node);
  if (!parent) return [];
  if (isRows(parent)) return [...stepsOf(parent), indexOf(/** @type {Element} */ (itemOf(node)))];
  return [...stepsOf(parent), parent.dataset.node === "tuple" ? Number(keyOf(node)) : keyOf(node)];
}

/** @type {WeakMap<Element, Element[]>} */
const children = new WeakMap();

/** The nodes directly in a group; they never change. @param {Element} group @returns {Element[]} */
export function childrenOf(group) {
  const known = children.get(group);
  if (known) return known;
  const found = [...group.querySelectorAll(NODE)].filter((node) => parentOf(node) === group);
  children.set(group, found);
  return found;
}

// -- controls ---------------------------------------------------------------------------------------------------------

/** The control of a node that takes the focus. @param {MaybeNode} node */
export function controlOf(node) {
  const controls = node ? controlsOf(node) : [];
  return controls.find((control) => control.checked) ?? controls[0] ?? null;
}

/** @param {Element} node */
export const controlsOf = (node) => [...node.querySelectorAll("[data-control]")];

/** @type {Map<string, Choice[]> | null} */
let lists = null;

/**
 * The choices of a long list, which is in the page once for all fields that use it.
 * @param {Element} leaf
 * @returns {Choice[]}
 */
export function choicesOf(leaf) {
  lists ??= new Map(Object.entries(JSON.parse(document.getElementById("form-choices")?.textContent ?? "{}")));
  return lists.get(leaf.dataset.choices ?? "") ?? [];
}

/** @param {Element} leaf @param {Entry} code */
export const isChoice = (leaf, code) =>
  choicesOf(leaf).some((choice) => choice[0] === code) || controlsOf(leaf).some((control) => control.type === "radio" && control.value === code);

/** Shows an entry in the controls of a leaf. @param {Element} leaf @param {Entry} entry */
export function fillLeaf(leaf, entry) {
  const { state } = leaf.dataset;
  const raw = state === "raw" && isRaw(entry) ? entry.$json : null;
  const isAbsent = state === "null";
  const absence = "evidence" in leaf.dataset ? "not in the document" : "none";
  for (const control of controlsOf(leaf)) {
    if (control.type === "radio") {
      control.checked = state === "value" && control.value === String(entry);
    } else if (control.type === "checkbox") {
      control.checked = Array.isArray(entry) && entry.includes(control.value);
    } else if (control.tagName === "SELECT") {
      control.options[0].textContent = isAbsent ? absence : raw ?? "";
      control.value = state === "value" ? String(entry) : "";
    } else {
      const text = raw ?? (state !== "value" ? "" : "combo" in control.dataset ? labelOf(leaf, entry) : String(entry));
      if (control.value !== text) control.value = text;
      if (isAbsent) control.placeholder = leaf.matches("td") ? "–" : absence;
      else control.placeholder = control.dataset.idle ?? "";
      grow(control);
    }
  }
  leaf.querySelector("[data-null]")?.setAttribute("aria-pressed", String(isAbsent));
}

/** @param {Element} leaf @param {Entry} code */
const labelOf = (leaf, code) => choicesOf(leaf).find((choice) => choice[0] === code)?.[1] ?? String(code);

/** The entry that the controls of a leaf hold. @param {Element} leaf @returns {Entry} */
export function readLeaf(leaf) {
  const controls = controlsOf(leaf);
  const { shape } = leaf.dataset;
  if (shape === "checks") return controls.filter((control) => control.checked).map((control) => control.value);
  const [first] = controls;
  const value = first.type === "radio" ? controls.find((control) => control.checked)?.value : first.value;
  if (value === undefined || value === "") return undefined;
  if (shape === "boolean") return value === "true";
  return shape === "json" ? { $json: value } : value;
}

const growsByItself = CSS.supports("field-sizing", "content");

/** Lets a text area grow with its text. @param {FormControl} control */
function grow(control) {
  if (growsByItself || control.tagName !== "TEXTAREA") return;
  control.style.height = "auto";
  control.style.height = `${control.scrollHeight + 2}px`;
}

// -- rows -------------------------------------------------------------------------------------------------------------

/** A blank row. @param {Element} rows */
export const newItem = (rows) => copyOf(/** @type {HTMLTemplateElement} */ (childOf(rows, "template[data-blank]")));

/**
 * Puts rows in the order of a merge: `from` has the earlier position of each, null for a new one. Rows that stay are
 * never taken out of the page, as one may have the focus.
 * @param {Element} rows @param {(number | null)[]} from
 */
export function moveRows(rows, from) {
  const body = bodyOf(rows);
  const before = [...body.children];
  const items = from.map((place) => (place === null ? newItem(rows) : before[place]));
  const kept = new Set(items);
  for (const item of before) if (!kept.has(item)) item.remove();
  let place = body.firstElementChild;
  for (const item of items) {
    if (item === place) place = place.nextElementSibling;
    else body.insertBefore(item, place);
  }
}

/** Templates without the whitespace between their elements: a grid has thousands of copies. @type {WeakSet<HTMLTemplateElement>} */
const compact = new WeakSet();

/** @param {HTMLTemplateElement} template */
export function copyOf(template) {
  if (!compact.has(template)) {
    const texts = document.createTreeWalker(template.content, NodeFilter.SHOW_TEXT);
    const blank = [];
    while (texts.nextNode()) if (!texts.currentNode.nodeValue?.trim()) blank.push(texts.currentNode);
    for (const text of blank) text.parentNode?.removeChild(text);
    compact.add(template);
  }
  const copy = /** @type {Element} */ (template.content.firstElementChild?.cloneNode(true));
  identify(copy);
  return copy;
}

/** @param {Element | null} element */
export const columnOf = (element) => element?.closest("td")?.cellIndex ?? null;

/** @param {Element | undefined} item @param {number | null} column */
export function focusColumn(item, column) {
  const cell = column !== null ? item?.children[column] : null;
  const control = /** @type {FormControl | null} */ (controlOf(cell) ?? controlOf(item));
  control?.focus();
  if (cell) control?.select?.();
}

/**
 * Shows a value that a group or list cannot hold as JSON, with a button that replaces it.
 * @param {Element} node @param {Entry} entry
 */
export function showRaw(node, entry) {
  const existing = childOf(node, ".sf-raw-note");
  if (!isRaw(entry)) {
    existing?.remove();
    return;
  }
  const note = existing ?? make("div", { className: "sf-raw-note" });
  const button = make("button", { type: "button", className: "sf-row-button", textContent: "Start over", tabIndex: -1 });
  button.dataset.startOver = "";
  note.replaceChildren(make("code", { textContent: entry.$json }), button);
  if (!existing) node.append(note);
}

let identifiers = 0;

/** Gives labels and messages the ids they point to; rows are copies, so the server cannot. @param {Element} root */
export function identify(root) {
  for (const leaf of [root, ...root.querySelectorAll(NODE)].filter((node) => isLeaf(node))) {
    identifiers += 1;
    const id = `field-${identifiers}`;
    const controls = controlsOf(leaf);
    const [group] = leaf.getElementsByClassName("sf-choices");
    const label = leaf.querySelector(".sf-field-label");
    const messages = leaf.querySelector("[data-messages]");
    if (label) label.id = `${id}-label`;
    if (messages) messages.id = `${id}-messages`;
    if (group) {
      group.removeAttribute("id");
      if (label) group.setAttribute("aria-labelledby", label.id);
      else group.removeAttribute("aria-labelledby");
      label?.removeAttribute("for");
      for (const control of controls) control.name = id;
    } else if (controls.length) {
      controls[0].id = id;
      label?.setAttribute("for", id);
    }
    if (label || leaf.matches("td")) continue;
    const title = leaf.dataset.title || leaf.closest(".sf-rows, .sf-group")?.dataset.title || "value";
    if (group) group.setAttribute("aria-label", title);
    else for (const control of controls) control.setAttribute("aria-label", title);
  }
}

// Texts of a document or a spreadsheet as entries of a grid's columns.

const YES = ["yes", "true", "1", "x", "y"];
const NO = ["no", "false", "0", "n"];

/**
 * A text as an entry of a column; one that is not a choice stays, and the validation rejects it.
 * @param {Element} column @param {string} text
 * @returns {Entry}
 */
export function entryOfText(column, text) {
  const { shape } = column.dataset;
  const plain = text.toLowerCase();
  if (!text) return undefined;
  if (shape === "boolean") return YES.includes(plain) ? true : NO.includes(plain) ? false : text;
  if (shape === "json") return { $json: JSON.stringify(text) };
  if (shape !== "choice") return text;
  return optionsOf(column).find(([code, label]) => code === text || label.toLowerCase() === plain)?.[0] ?? text;
}

/** The texts that a column takes; undefined for any. @param {Element} column */
export function textsOf(column) {
  const { shape } = column.dataset;
  if (shape === "boolean") return [...YES, ...NO];
  return shape === "choice" ? optionsOf(column).map(([, label]) => label) : undefined;
}

/** @param {Element} cell @returns {[code: string, label: string][]} */
function optionsOf(cell) {
  const control = controlOf(cell);
  if (control?.tagName !== "SELECT") return choicesOf(cell).map(([code, label]) => [code, label]);
  return [...control.options].slice(1).map((option) => [option.value, option.text]);
}
