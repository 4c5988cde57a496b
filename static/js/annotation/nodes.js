// The parts of the form as they stand in the page: what a part is, where it lies, what its controls show.

import { isRaw } from "./paths.js";

export const NODE = "[data-node]";
export const ROWS = '[data-node="table"], [data-node="list"], [data-node="map"]';
let identifiers = 0;

export const parentOf = (node) => node.parentElement?.closest(NODE) ?? null;
export const itemOf = (node) => node.closest("[data-item]");
export const rowsOf = (node) => node?.closest(ROWS) ?? null;
export const isLeaf = (node) => ["leaf", "checks"].includes(node?.dataset.node);
export const isRows = (node) => ["table", "list", "map"].includes(node?.dataset.node);
export const isGroup = (node) => ["group", "tuple"].includes(node?.dataset.node);
const kept = new WeakMap(); // what is found in a part again and again, as long as it stands
const remember = (node, name, find) => {
  const known = kept.get(node) ?? {};
  if (!known[name]?.isConnected) known[name] = find();
  kept.set(node, known);
  return known[name];
};
const childOf = (node, selector) => [...node.children].find((child) => child.matches(selector));
export const bodyOf = (rows) => remember(rows, "body", () => rows.querySelector("[data-body]"));
export const branchOf = (node) => remember(node, "branch", () => childOf(node, "[data-branch]"));
export const nodeOf = (item) => (item.matches(NODE) ? item : remember(item, "node", () => item.querySelector(NODE)));

// Kept by the form, which counts after every change of rows: counting siblings for every path is slow in long grids.
export const positions = new WeakMap();
export const indexOf = (item) => positions.get(item) ?? [...item.parentElement.children].indexOf(item);

// Where a part's entry lies in the model. (Where its value lies in the label is another thing: Form.pathOf.)
export function stepsOf(node) {
  const parent = parentOf(node);
  if (!parent) return [];
  if (isRows(parent)) return [...stepsOf(parent), indexOf(itemOf(node))];
  return [...stepsOf(parent), parent.dataset.node === "tuple" ? Number(node.dataset.key) : node.dataset.key];
}

// The parts directly in a group; they stay the same as long as it stands.
const inside = new WeakMap();
export function childrenOf(group) {
  if (!inside.has(group)) inside.set(group, [...group.querySelectorAll(NODE)].filter((node) => parentOf(node) === group));
  return inside.get(group);
}

// -- one control ------------------------------------------------------------------------------------------------------

export function controlOf(node) {
  const controls = [...(node?.querySelectorAll("[data-control]") ?? [])];
  return controls.find((control) => control.checked) ?? controls[0] ?? null;
}

export const controlsOf = (leaf) => [...leaf.querySelectorAll("[data-control]")];

const lists = new Map();

// The choices of a long list, [code, label, note] each; they stand in the page once for all fields that take them.
export function choicesOf(leaf) {
  const name = leaf.dataset.choices;
  if (!name) return [];
  if (!lists.has(name)) {
    const all = JSON.parse(document.getElementById("form-choices")?.textContent ?? "{}");
    for (const [key, choices] of Object.entries(all)) lists.set(key, choices);
  }
  return lists.get(name) ?? [];
}

export const isChoice = (leaf, code) =>
  choicesOf(leaf).some((choice) => choice[0] === code) || controlsOf(leaf).some((control) => control.type === "radio" && control.value === code);

export function fillLeaf(leaf, entry) {
  const state = leaf.dataset.state;
  const raw = state === "raw" ? entry.$json : null;
  const words = "evidence" in leaf.dataset ? "not in the document" : "none";
  const out = state === "null";
  for (const control of controlsOf(leaf)) {
    if (control.type === "radio") {
      control.checked = state === "value" && control.value === String(entry);
    } else if (control.type === "checkbox") {
      control.checked = Array.isArray(entry) && entry.includes(control.value);
    } else if (control.tagName === "SELECT") {
      control.options[0].textContent = out ? words : raw ?? "";
      control.value = state === "value" ? String(entry) : "";
    } else {
      const text = raw ?? (state !== "value" ? "" : "combo" in control.dataset ? labelOf(leaf, entry) : String(entry));
      if (control.value !== text) control.value = text;
      control.placeholder = !out ? control.dataset.idle ?? "" : leaf.matches("td") ? "–" : words;
      grow(control);
    }
  }
  leaf.querySelector("[data-null]")?.setAttribute("aria-pressed", String(out));
}

const labelOf = (leaf, code) => choicesOf(leaf).find((choice) => choice[0] === code)?.[1] ?? String(code);

export function readLeaf(leaf) {
  const controls = controlsOf(leaf);
  const shape = leaf.dataset.shape;
  if (shape === "checks") return controls.filter((control) => control.checked).map((control) => control.value);
  const [first] = controls;
  const value = first.type === "radio" ? controls.find((control) => control.checked)?.value : first.value;
  if (value === undefined || value === "") return undefined;
  if (shape === "boolean") return value === "true";
  return shape === "json" ? { $json: value } : value;
}

// Browsers without field-sizing need help to grow a text area with its text.
const grows = CSS.supports("field-sizing", "content");
function grow(control) {
  if (grows || control.tagName !== "TEXTAREA") return;
  control.style.height = "auto";
  control.style.height = `${control.scrollHeight + 2}px`;
}

// -- copies -------------------------------------------------------------------------------------------------------------

export function newItem(rows) {
  return copyOf(childOf(rows, "template[data-blank]"));
}

// Puts the rows where a merge puts them: `from` says which row each was, null for a new one. A row that stays is never
// taken out of the page, as it may hold the focus.
export function moveRows(node, from) {
  const body = bodyOf(node);
  const before = [...body.children];
  const rows = from.map((place) => (place === null ? newItem(node) : before[place]));
  const stay = new Set(rows);
  for (const row of before) if (!stay.has(row)) row.remove();
  let place = body.firstElementChild;
  for (const row of rows) {
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
}

export function copyOf(template) {
  const copy = template.content.firstElementChild.cloneNode(true);
  identify(copy);
  return copy;
}

export const columnOf = (element) => element?.closest?.("td")?.cellIndex ?? null;

export function focusColumn(item, column) {
  const cell = column !== null ? item?.children[column] : null;
  (controlOf(cell) ?? controlOf(item))?.focus();
}

// What a group or an array cannot show is kept, shown as JSON, and can be replaced.
export function showRaw(node, entry) {
  const there = childOf(node, ".sf-raw-note");
  if (!isRaw(entry)) return there?.remove();
  const note = there ?? document.createElement("div");
  note.className = "sf-raw-note";
  note.replaceChildren(Object.assign(document.createElement("code"), { textContent: entry.$json }));
  note.append(Object.assign(document.createElement("button"), { type: "button", className: "sf-row-button", textContent: "start over", tabIndex: -1 }));
  note.lastElementChild.dataset.startOver = "";
  if (!there) node.append(note);
  return undefined;
}

// Ids that labels and messages point to; rows are copies, so ids are given here and not by the server.
export function identify(root) {
  for (const leaf of [root, ...root.querySelectorAll(NODE)].filter((node) => isLeaf(node))) {
    identifiers += 1;
    const id = `field-${identifiers}`;
    const controls = controlsOf(leaf);
    const [group] = leaf.getElementsByClassName("sf-choices");
    const label = leaf.querySelector(".sf-field-label");
    if (label) label.id = `${id}-label`;
    const messages = leaf.querySelector("[data-messages]");
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
    const words = leaf.dataset.title || leaf.closest(".sf-rows, .sf-group")?.dataset.title || "value";
    if (group) group.setAttribute("aria-label", words);
    else for (const control of controls) control.setAttribute("aria-label", words);
  }
}
