// The form between its HTML, drawn by the server from the schema, and the model.

import { isRaw, join } from "./label_paths.js";

const NODE = "[data-node]";
let identifiers = 0;

export const parentOf = (node) => node.parentElement?.closest(NODE) ?? null;
export const itemOf = (node) => node.closest("[data-item]");
export const rowsOf = (node) => node?.closest('[data-node="table"], [data-node="list"]') ?? null;
export const isLeaf = (node) => ["leaf", "checks"].includes(node?.dataset.node);
const bodyOf = (rows) => rows.querySelector("[data-body]");

// Kept by fillRows, which runs after every change of rows: counting siblings for every path is slow in long grids.
const positions = new WeakMap();
export const indexOf = (item) => positions.get(item) ?? [...item.parentElement.children].indexOf(item);

export function stepsOf(node) {
  const parent = parentOf(node);
  if (!parent) return [];
  if (["table", "list"].includes(parent.dataset.node)) return [...stepsOf(parent), indexOf(itemOf(node))];
  return [...stepsOf(parent), node.dataset.key];
}

export class Form {
  constructor(root, model, changed) {
    this.root = root.querySelector(NODE);
    this.model = model;
    this.changed = changed;
    identify(this.root);
    root.addEventListener("input", (event) => this.typed(event.target));
    root.addEventListener("change", (event) => {
      if (event.target.matches("[data-choice]")) this.typed(event.target);
    });
    root.addEventListener("click", (event) => this.clicked(event.target));
    root.addEventListener("submit", (event) => event.preventDefault());
  }

  // -- from the model to the page --

  fill() {
    this.fillNode(this.root, this.model.entry);
  }

  fillNode(node, entry) {
    const kind = node.dataset.node;
    node.dataset.state = entry === undefined ? "absent" : entry === null ? "null" : isRaw(entry) ? "raw" : "value";
    if (kind === "group") {
      const inside = node.dataset.state === "value" ? entry : {};
      for (const child of childrenOf(node)) this.fillNode(child, inside[child.dataset.key]);
      showRaw(node, entry);
    } else if (isLeaf(node)) {
      fillLeaf(node, entry);
    } else {
      this.fillRows(node, Array.isArray(entry) ? entry : []);
      showRaw(node, entry);
    }
  }

  fillRows(node, entries) {
    const body = bodyOf(node);
    while (body.children.length > entries.length) body.lastElementChild.remove();
    while (body.children.length < entries.length) body.append(newItem(node));
    entries.forEach((entry, index) => {
      const item = body.children[index];
      positions.set(item, index);
      item.querySelector("[data-number]").textContent = index + 1;
      this.fillNode(item.matches(NODE) ? item : item.querySelector(NODE), entry);
    });
    const words = { absent: "not filled", null: "not in the document", raw: "kept as JSON" };
    const count = entries.length === 1 ? "1 row" : entries.length ? `${entries.length} rows` : "none in the document";
    node.querySelector("[data-count]").textContent = words[node.dataset.state] ?? count;
    const none = node.dataset.state === "null" || (node.dataset.state === "value" && !entries.length);
    node.querySelector("[data-null]")?.setAttribute("aria-pressed", String(none));
  }

  // -- from the page to the model --

  typed(control) {
    const leaf = control.closest(NODE);
    if (!isLeaf(leaf)) return;
    leaf.dataset.touched = "";
    this.model.checkpoint(stepsOf(leaf).join("/"));
    this.put(leaf, readLeaf(leaf));
  }

  // Puts an entry into a field: undefined empties it, null means "not in the document".
  put(node, entry) {
    const steps = stepsOf(node);
    const inRow = typeof steps.at(-1) === "number";
    this.model.set(steps, entry === undefined && inRow ? "" : entry);
    if (entry === undefined) this.prune(parentOf(node));
    this.fillNode(node, this.model.get(steps));
    for (let above = parentOf(node); above; above = parentOf(above)) {
      const inside = this.model.get(stepsOf(above));
      above.dataset.state = inside === undefined ? "absent" : "value";
      showRaw(above, inside);
    }
    this.changed();
  }

  // An optional group whose last field was emptied is itself not there.
  prune(group) {
    const parent = group ? parentOf(group) : null;
    if (parent?.dataset.node !== "group" || "required" in group.dataset) return;
    const steps = stepsOf(group);
    const entry = this.model.get(steps);
    if (!entry || Object.keys(entry).length) return;
    this.model.set(steps, undefined);
    this.prune(parent);
  }

  clicked(target) {
    const node = target.closest(NODE);
    if (!node) return;
    if (target.closest("[data-null]")) this.toggleNull(node);
    else if (target.closest("[data-add-row]")) this.addRow(node);
    else if (target.closest("[data-duplicate-row]")) this.duplicateRow(itemOf(target));
    else if (target.closest("[data-delete-row]")) this.deleteRow(itemOf(target));
    else if (target.closest("[data-start-over]")) {
      this.model.checkpoint();
      this.put(node, node.dataset.node === "group" ? {} : []);
    }
  }

  // "Not in the document": null where the schema allows it, else left out; an array is empty.
  toggleNull(node) {
    if (!("absentable" in node.dataset)) return false;
    this.model.checkpoint();
    node.dataset.touched = "";
    const array = !isLeaf(node) || node.dataset.node === "checks";
    const nothing = "nullable" in node.dataset ? null : array ? [] : undefined;
    const now = this.model.get(stepsOf(node));
    const already = array && Array.isArray(nothing) ? Array.isArray(now) && !now.length : now === nothing;
    this.put(node, already ? undefined : nothing);
    if (isLeaf(node)) controlOf(node)?.focus();
    return true;
  }

  blankOf(rows) {
    return newItem(rows);
  }

  addRow(rows, entry = undefined, at = undefined) {
    const body = bodyOf(rows);
    const index = at ?? body.children.length;
    const blank = rows.dataset.node === "table" || newItem(rows).querySelector(NODE)?.dataset.node === "group" ? {} : "";
    this.model.checkpoint();
    this.model.insertRow(stepsOf(rows), index, entry ?? blank);
    this.fillNode(rows, this.model.get(stepsOf(rows)));
    controlOf(body.children[index])?.focus();
    this.changed();
  }

  duplicateRow(item) {
    const rows = rowsOf(item.parentElement);
    const index = indexOf(item);
    const entry = structuredClone(this.model.get([...stepsOf(rows), index]));
    const column = columnOf(document.activeElement);
    this.addRow(rows, entry, index + 1);
    focusColumn(bodyOf(rows).children[index + 1], column);
  }

  deleteRow(item) {
    const rows = rowsOf(item.parentElement);
    const index = indexOf(item);
    const column = columnOf(document.activeElement);
    this.model.checkpoint();
    this.model.removeRow(stepsOf(rows), index);
    this.fillNode(rows, this.model.get(stepsOf(rows)));
    const body = bodyOf(rows);
    const neighbour = body.children[Math.min(index, body.children.length - 1)];
    if (neighbour) focusColumn(neighbour, column);
    else rows.querySelector("[data-add-row]")?.focus();
    this.changed();
  }

  // -- finding one's way --

  // The node of a path, or the nearest one above it; `exact` says which.
  find(path) {
    let found = this.root;
    for (let node = this.root; node; ) {
      found = node;
      const here = this.pathOf(node);
      if (here === path) return { node, exact: true };
      node = this.below(node).find((child) => {
        const inner = this.pathOf(child);
        return path === inner || path.startsWith(`${inner}.`) || path.startsWith(`${inner}[`);
      });
    }
    return { node: found, exact: false };
  }

  below(node) {
    if (node.dataset.node === "group") return childrenOf(node);
    if (isLeaf(node)) return [];
    return [...bodyOf(node).children].map((item) => (item.matches(NODE) ? item : item.querySelector(NODE)));
  }

  pathOf(node) {
    return stepsOf(node).reduce(join, "");
  }

  titleOf(path) {
    const { node } = this.find(path);
    return node.dataset.title ?? "the label";
  }

  focus(path) {
    const { node } = this.find(path);
    const control = controlOf(node) ?? node.querySelector("[data-add-row]");
    control?.focus();
    control?.closest(".sf-field, .sf-item, tr")?.scrollIntoView({ block: "nearest" });
  }

  focusFirstEmpty() {
    const leaves = [...this.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]')];
    const empty = (leaf) => leaf.dataset.state === "absent" && "required" in leaf.dataset;
    controlOf(leaves.find(empty) ?? leaves[0])?.focus();
  }
}

// -- one control ------------------------------------------------------------------------------------------------------

export function controlOf(node) {
  const controls = [...(node?.querySelectorAll("[data-control]") ?? [])];
  return controls.find((control) => control.checked) ?? controls[0] ?? null;
}

function controlsOf(leaf) {
  return [...leaf.querySelectorAll("[data-control]")];
}

function fillLeaf(leaf, entry) {
  const state = leaf.dataset.state;
  const raw = state === "raw" ? entry.$json : null;
  // Where null is not allowed, an optional field that is empty is what "not in the document" means.
  const words = "evidence" in leaf.dataset ? "not in the document" : "none";
  const out = state === "null" || (state === "absent" && "absentable" in leaf.dataset && !("nullable" in leaf.dataset));
  for (const control of controlsOf(leaf)) {
    if (control.type === "radio") {
      control.checked = state === "value" && control.value === String(entry);
    } else if (control.type === "checkbox") {
      control.checked = Array.isArray(entry) && entry.includes(control.value);
    } else if (control.tagName === "SELECT") {
      control.options[0].textContent = out ? words : raw ?? "";
      control.value = state === "value" ? String(entry) : "";
    } else {
      const text = raw ?? (state === "value" ? String(entry) : "");
      if (control.value !== text) control.value = text;
      control.placeholder = !out ? "" : leaf.matches("td") ? "–" : words;
      grow(control);
    }
  }
  leaf.querySelector("[data-null]")?.setAttribute("aria-pressed", String(out));
}

function readLeaf(leaf) {
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

// -- rows ---------------------------------------------------------------------------------------------------------------

const columnOf = (element) => element?.closest?.("td")?.cellIndex ?? null;

function focusColumn(item, column) {
  const cell = column !== null ? item?.children[column] : null;
  (controlOf(cell) ?? controlOf(item))?.focus();
}

function newItem(rows) {
  const template = [...rows.children].find((child) => child.matches("template[data-blank]"));
  const item = template.content.firstElementChild.cloneNode(true);
  identify(item);
  return item;
}

function childrenOf(group) {
  return [...group.querySelectorAll(NODE)].filter((node) => parentOf(node) === group);
}

// What a group or an array cannot show is kept, shown as JSON, and can be replaced.
function showRaw(node, entry) {
  const there = [...node.children].find((child) => child.matches(".sf-raw-note"));
  if (!isRaw(entry)) return there?.remove();
  const note = there ?? document.createElement("div");
  note.className = "sf-raw-note";
  note.replaceChildren(Object.assign(document.createElement("code"), { textContent: entry.$json }));
  note.append(Object.assign(document.createElement("button"), { type: "button", className: "sf-row-button", textContent: "start over" }));
  note.lastElementChild.dataset.startOver = "";
  if (!there) node.append(note);
  return undefined;
}

// Ids that labels and messages point to; rows are copies, so ids are given here and not by the server.
function identify(root) {
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
      label?.removeAttribute("for");
      for (const control of controls) control.name = id;
    } else if (controls.length) {
      controls[0].id = id;
      label?.setAttribute("for", id);
    }
    if (!label && !leaf.matches("td")) for (const control of controls) control.setAttribute("aria-label", leaf.closest(".sf-rows")?.dataset.title ?? "value");
  }
}
