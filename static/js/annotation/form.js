// The form: between its HTML, which the server renders from the schema, and the draft.

/** @import { Draft } from "./draft.js" */
/** @import { Entry, EntryGroup, Steps } from "./types" */

import { isAbsent, isMarked, setAbsent, unmark } from "./absence.js";
import { Combobox } from "./combobox.js";
import { layOutGrid } from "./grid.js";
import { editorButtons } from "./json_editor_dialog.js";
import { origins } from "./merge.js";
import {
  NODE, bodyOf, childOf, childrenOf, columnOf, controlOf, fillLeaf, focusColumn, identify, indexOf, isChoice, isGroup, isLeaf, isRows, itemOf,
  keyOf, leafOf, moveRows, newItem, nodeOf, parentOf, positions, readLeaf, rowsOf, showRaw, stepsOf, variantOf,
} from "./nodes.js";
import { isNamed, isRaw, join, own, split } from "./paths.js";
import { fillVariants, putImplied, switchForm } from "./variants.js";
import { find } from "../site/dom.js";

/** @type {Record<string, string>} */
const STATE_LABELS = { absent: "not filled", null: "not in the document", raw: "kept as JSON" };

export class Form {
  /**
   * The node in which the user types. Messages about it, and what others change in it, wait until it is left.
   * @type {Element | null}
   */
  typing = null;
  /** A node that is not redrawn. @type {Element | null} */
  #spared = null;
  /** Paths of nodes, until rows or names change. @type {WeakMap<Element, string>} */
  #paths = new WeakMap();

  /**
   * @param {HTMLElement} root
   * @param {Draft} draft
   * @param {{ changed: () => void, left: () => void }} callbacks `left`: a node in which the user typed was left
   */
  constructor(root, draft, { changed, left }) {
    this.root = find(root, NODE);
    this.draft = draft;
    this.changed = changed;
    this.left = left;
    identify(this.root);
    this.combobox = new Combobox(root, this);
    // What is typed over selected text, or deletes it, is undone by itself.
    root.addEventListener("beforeinput", ({ target }) => {
      const { selectionStart, selectionEnd } = /** @type {FormControl} */ (target);
      if (selectionStart !== selectionEnd) this.draft.endBurst();
    });
    root.addEventListener("input", (event) => this.typed(event.target));
    root.addEventListener("change", ({ target }) => {
      if (target.matches("[data-choice]")) this.typed(target);
      const node = target.matches("[data-switch]") ? target.closest(NODE) : null;
      if (node) switchForm(this, node, Number(/** @type {HTMLInputElement} */ (target).value));
    });
    root.addEventListener("click", (event) => this.#clicked(event.target));
    root.addEventListener("submit", (event) => event.preventDefault());
    editorButtons(root, this);
    root.addEventListener("input", ({ target }) => isTextControl(target) && (this.typing = target.closest(NODE)));
    // After the combobox, which takes what was typed.
    root.addEventListener("focusout", () => this.commitTyping());
  }

  /** What was typed is final. */
  commitTyping() {
    this.combobox.commitTyping();
    if (!this.typing) return;
    this.typing = null;
    this.left();
  }

  // -- from the draft to the page --

  fill() {
    this.fillNode(this.root, this.draft.entry);
  }

  /** Draws what others changed, around the text that is half-typed. The node with the focus keeps it. */
  fillAround() {
    const control = /** @type {FormControl | null} */ (this.root.contains(document.activeElement) ? document.activeElement : null);
    const isSelected = control?.value !== undefined && control.selectionStart === 0 && control.selectionEnd === control.value.length;
    const before = control?.value;
    this.#spared = this.typing;
    this.fill();
    this.#spared = null;
    if (isSelected && control.value !== before) control.select();
  }

  get typingPath() {
    return this.typing?.isConnected ? this.pathOf(this.typing) : null;
  }

  /** @param {Element} node */
  entryOf(node) {
    return this.draft.get(stepsOf(node));
  }

  /** The field with the focus; null where none has it. */
  get leafInFocus() {
    return this.root.contains(document.activeElement) ? leafOf(document.activeElement) : null;
  }

  /** The steps to the field with the focus; null where none has it. */
  get stepsInFocus() {
    const leaf = this.leafInFocus;
    return leaf && stepsOf(leaf);
  }

  /** @param {Element} node @param {Entry} entry */
  fillNode(node, entry) {
    node.dataset.state = this.#stateOf(node, entry);
    if (isLeaf(node)) {
      if (node !== this.#spared) fillLeaf(node, entry);
      return;
    }
    if (node.dataset.node === "variants") {
      fillVariants(this, node, entry);
    } else if (isGroup(node)) {
      const inner = /** @type {EntryGroup} */ (node.dataset.state === "value" ? entry : {});
      for (const child of childrenOf(node)) this.fillNode(child, own(inner, keyOf(child)));
    } else {
      this.#fillRows(node, Array.isArray(entry) ? entry : []);
    }
    this.#drawState(node);
    showRaw(node, entry);
  }

  /** @param {Element} node @param {Entry} entry */
  #stateOf(node, entry) {
    if (entry === null) return "null";
    if (entry === undefined || entry === "") return isMarked(this, node) ? "null" : "absent";
    return isRaw(entry) ? "raw" : "value";
  }

  /** The head of a group or list: the number of rows, and whether it is in the document. @param {Element} node */
  #drawState(node) {
    const state = node.dataset.state ?? "";
    const count = isRows(node) ? bodyOf(node).children.length : null;
    const label = childOf(node, ".sf-node-head")?.querySelector("[data-count]");
    const rows = count === 1 ? "1 row" : count ? `${count} rows` : "none in the document";
    if (label) label.textContent = STATE_LABELS[state] ?? rows;
    const isNone = state === "null" || (state === "value" && count === 0);
    childOf(node, ".sf-node-head")?.querySelector("[data-null]")?.setAttribute("aria-pressed", String(isNone));
  }

  /** @param {Element} rows @param {Entry[]} entries */
  #fillRows(rows, entries) {
    const body = bodyOf(rows);
    const from = origins.get(entries);
    if (from) moveRows(rows, from);
    origins.delete(entries);
    while (body.children.length > entries.length) body.lastElementChild?.remove();
    if (body.children.length < entries.length) {
      const added = document.createDocumentFragment();
      for (let left = entries.length - body.children.length; left > 0; left -= 1) added.append(newItem(rows));
      body.append(added);
    }
    this.#number(rows, 0);
    if (rows.dataset.node === "table") layOutGrid(rows, entries);
    let item = body.firstElementChild;
    for (const entry of entries) {
      if (!item) break;
      this.fillNode(nodeOf(item), entry);
      item = item.nextElementSibling;
    }
  }

  /** Numbers the rows from one on. @param {Element} rows @param {number} from */
  #number(rows, from) {
    this.#paths = new WeakMap();
    let item = /** @type {Element | null} */ (bodyOf(rows).children[from] ?? null);
    for (let index = from; item; index += 1, item = item.nextElementSibling) {
      if (positions.get(item) === index) continue;
      positions.set(item, index);
      find(item, "[data-number]").textContent = String(index + 1);
    }
  }

  /**
   * Draws a row that was added, or removes one: filling a long grid again takes time.
   * @param {Element} rows @param {number} index @param {Element | null} item
   */
  #splice(rows, index, item) {
    const body = bodyOf(rows);
    if (item) body.insertBefore(item, body.children[index] ?? null);
    else body.children[index].remove();
    this.#number(rows, index);
    rows.dataset.state = "value";
    if (item) this.fillNode(nodeOf(item), this.draft.get([...stepsOf(rows), index]));
    this.#drawState(rows);
    showRaw(rows, []);
  }

  // -- from the page to the draft --

  /** @param {Element} control */
  typed(control) {
    const leaf = control.closest(NODE);
    if (!leaf || !isLeaf(leaf) || "combo" in control.dataset || !("control" in control.dataset)) return;
    leaf.dataset.touched = "";
    this.draft.checkpoint(stepsOf(leaf).join("/"));
    this.put(leaf, readLeaf(leaf));
  }

  /**
   * Puts an entry into a field: undefined empties it, null means "not in the document".
   * @param {Element} node @param {Entry} entry
   */
  put(node, entry) {
    const steps = stepsOf(node);
    const isRow = typeof steps.at(-1) === "number";
    if (entry !== undefined) unmark(this, node);
    this.draft.set(steps, entry === undefined && isRow ? "" : entry);
    if (keyOf(node) === "key") this.#paths = new WeakMap();
    if (entry === undefined) this.#prune(parentOf(node));
    else putImplied(this, parentOf(node));
    this.fillNode(node, this.draft.get(steps));
    for (let above = parentOf(node); above; above = parentOf(above)) {
      const inner = this.draft.get(stepsOf(above));
      if (inner !== undefined) unmark(this, above);
      above.dataset.state = inner !== undefined ? "value" : isMarked(this, above) ? "null" : "absent";
      if (!isLeaf(above) && !isRows(above)) this.#drawState(above);
      showRaw(above, inner);
    }
    this.changed();
  }

  /** Removes an optional group whose last field was emptied. @param {Element | null} group */
  #prune(group) {
    const parent = group ? parentOf(group) : null;
    if (!group || !parent || !isGroup(parent) || !isGroup(group) || "required" in group.dataset) return;
    const steps = stepsOf(group);
    const entry = this.draft.get(steps);
    if (!entry || Object.values(entry).some((inner) => inner !== "")) return;
    this.draft.set(steps, typeof steps.at(-1) === "number" ? "" : undefined);
    this.#prune(parent);
  }

  /** @param {Element} target */
  #clicked(target) {
    const node = target.closest(NODE);
    if (!node) return;
    if (target.closest("[data-null]")) this.toggleAbsent(node);
    else if (target.closest("[data-add-row]")) this.addRow(node);
    else if (target.closest("[data-duplicate-row]")) this.duplicateRow(/** @type {Element} */ (itemOf(target)));
    else if (target.closest("[data-delete-row]")) this.deleteRow(/** @type {Element} */ (itemOf(target)));
    else if (target.closest("[data-start-over]")) {
      this.draft.checkpoint();
      this.put(node, isRows(node) || node.dataset.node === "tuple" ? [] : node.dataset.node === "variants" ? { $form: 0 } : {});
    }
  }

  /** Turns "not in the document" on or off. @param {Element} node @returns {boolean} false where the field is required */
  toggleAbsent(node) {
    if (!("absentable" in node.dataset)) return false;
    this.draft.checkpoint();
    node.dataset.touched = "";
    setAbsent(this, node, !isAbsent(this, node));
    if (isLeaf(node)) controlOf(node)?.focus();
    return true;
  }

  /** @param {Element} rows @param {Entry} entry @param {number} index */
  addRow(rows, entry = undefined, index = bodyOf(rows).children.length) {
    const item = newItem(rows);
    const blank = isGroup(nodeOf(item)) || rows.dataset.node === "map" ? {} : "";
    this.draft.checkpoint();
    this.draft.insertRow(stepsOf(rows), index, entry ?? blank);
    putImplied(this, parentOf(rows));
    this.#splice(rows, index, item);
    controlOf(item)?.focus();
    this.changed();
  }

  /** @param {Element} item */
  duplicateRow(item) {
    const rows = itemRows(item);
    const index = indexOf(item);
    const entry = structuredClone(this.draft.get([...stepsOf(rows), index]));
    const column = columnOf(document.activeElement);
    this.addRow(rows, entry, index + 1);
    focusColumn(bodyOf(rows).children[index + 1], column);
  }

  /** @param {Element} item */
  deleteRow(item) {
    const rows = itemRows(item);
    const index = indexOf(item);
    const column = columnOf(document.activeElement);
    this.draft.checkpoint();
    this.draft.removeRow(stepsOf(rows), index);
    this.#splice(rows, index, null);
    const body = bodyOf(rows);
    const neighbor = body.children[Math.min(index, body.children.length - 1)];
    if (neighbor) focusColumn(neighbor, column);
    else rows.querySelector("[data-add-row]")?.focus();
    this.changed();
  }

  // -- paths --

  /**
   * The node of a path, or the nearest one above it; `exact` says which.
   * @param {string} path
   * @returns {{ node: Element, exact: boolean }}
   */
  find(path) {
    /** @type {[Element, string]} */
    let [node, here] = [this.root, ""];
    for (;;) {
      if (here === path && (isLeaf(node) || node.dataset.node !== "variants")) return { node, exact: true };
      const next = this.#step(node, here, path);
      if (!next) return { node, exact: here === path };
      [node, here] = next;
    }
  }

  /**
   * The node below `node` on the way to a path, and its own path.
   * @param {Element} node @param {string} here @param {string} path
   * @returns {[Element, string] | null}
   */
  #step(node, here, path) {
    if (isLeaf(node)) return null;
    const { node: kind } = node.dataset;
    if (kind === "variants") {
      const variant = variantOf(node);
      return variant && [variant, here];
    }
    if (isRows(node) && kind !== "map") {
      const index = /^\[(\d+)\]/u.exec(path.slice(here.length))?.[1];
      const item = path.startsWith(here) && index !== undefined ? bodyOf(node).children[Number(index)] : null;
      return item ? [nodeOf(item), join(here, Number(index))] : null;
    }
    const nodes = kind === "map" ? this.pairs(node).flat() : childrenOf(node);
    for (const child of nodes) {
      const inner = this.pathOf(child);
      if (inner !== here && (path === inner || path.startsWith(`${inner}.`) || path.startsWith(`${inner}[`))) return [child, inner];
    }
    const more = nodes.find((child) => keyOf(child) === "$more");
    return more ? this.#step(more, here, path) : null;
  }

  /** The nodes of the name and the value of each row of a map. @param {Element} map */
  pairs(map) {
    return [...bodyOf(map).children].map((row) => childrenOf(row));
  }

  /**
   * The path of a node's value in the label. The name in a row of a map has a path of its own: "tags[0]".
   * @param {Element} node
   */
  pathOf(node) {
    let path = this.#paths.get(node);
    if (path === undefined) this.#paths.set(node, (path = this.#computePath(node)));
    return path;
  }

  /** @param {Element} node @returns {string} */
  #computePath(node) {
    const parent = parentOf(node);
    if (!parent) return "";
    const key = keyOf(node);
    if (key === "$value" || key === "$more") return this.pathOf(parent);
    const above = parentOf(parent);
    if (above?.dataset.node === "map") {
      const row = indexOf(parent);
      const name = this.draft.get([...stepsOf(above), row, "key"]) ?? "";
      return join(this.pathOf(above), key === "key" ? row : nameOf(above, name));
    }
    if (isRows(parent)) return join(this.pathOf(parent), indexOf(/** @type {Element} */ (itemOf(node))));
    return join(this.pathOf(parent), parent.dataset.node === "tuple" ? Number(key) : key);
  }

  /** Puts an entry at a path, also into a row of a map that does not exist yet. @param {string} path @param {Entry} entry */
  putAt(path, entry) {
    const { node, exact } = this.find(path);
    if (exact) {
      this.put(node, entry);
      return;
    }
    const map = node.dataset.node === "map" ? node : childrenOf(node).find((child) => keyOf(child) === "$more");
    const [name, ...further] = split(path.slice(this.pathOf(node).length));
    if (!map || entry === undefined || typeof name !== "string" || further.length) return;
    this.addRow(map, { key: entryOfName(map, name), value: entry });
  }

  /** Removes a name that the schema does not know, which has no node. @param {string} path */
  removeAt(path) {
    const { node } = this.find(path);
    const steps = stepsOf(node);
    const entry = this.draft.get(steps);
    for (const name of isNamed(entry) ? Object.keys(entry) : []) {
      if (join(this.pathOf(node), name) === path) this.draft.set([...steps, name], undefined);
    }
    this.changed();
  }

  /** @param {string} path */
  titleOf(path) {
    return (path && this.find(path).node.dataset.title) || "the label";
  }

  /** The node of an entry, or the nearest one to it. @param {Steps} steps */
  nodeAt(steps) {
    /** @type {Element} */
    let node = this.root;
    for (const step of steps) {
      let next = null;
      if (isRows(node)) next = [...bodyOf(node).children].slice(0, Number(step) + 1).at(-1);
      else if (node.dataset.node === "variants") next = variantOf(node);
      else if (!isLeaf(node)) next = childrenOf(node).find((child) => keyOf(child) === String(step));
      if (!next) break;
      node = nodeOf(next);
    }
    return node;
  }

  // -- focus --

  /** @param {string} path */
  focus(path) {
    this.focusNode(this.find(path).node);
  }

  /** @param {Element} node */
  focusNode(node) {
    const control = controlOf(node) ?? node.querySelector("[data-add-row]");
    control?.focus();
    control?.closest(".sf-field, .sf-item, tr")?.scrollIntoView({ block: "nearest" });
  }

  focusFirstEmpty() {
    const leaves = [...this.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]')];
    const isEmpty = (/** @type {Element} */ { dataset }) => dataset.state === "absent" && "required" in dataset && !("fixed" in dataset);
    (controlOf(leaves.find(isEmpty) ?? leaves[0]) ?? controlOf(this.root))?.focus();
  }
}

/** @param {Element} element */
function isTextControl(element) {
  const { dataset, tagName, type } = /** @type {FormControl} */ (element);
  return "control" in dataset && (tagName === "TEXTAREA" || type === "text");
}

/** The rows that a row is in. @param {Element} item */
const itemRows = (item) => /** @type {Element} */ (rowsOf(item.parentElement));

/** @param {Element} map */
const nameLeaf = (map) => find(newItem(map), '[data-key="key"]');

/**
 * A name of a map as the label has it: where names are choices, the entry is the JSON text of one.
 * @param {Element} map @param {Entry} entry
 */
export function nameOf(map, entry) {
  if (isRaw(entry)) return String(JSON.parse(entry.$json));
  const leaf = nameLeaf(map);
  return leaf.dataset.shape === "choice" && isChoice(leaf, entry) ? JSON.parse(String(entry)) : String(entry).trim();
}

/**
 * The entry of a name; one that is not among the choices is kept as JSON.
 * @param {Element} map @param {string} name
 * @returns {Entry}
 */
function entryOfName(map, name) {
  const leaf = nameLeaf(map);
  if (leaf.dataset.shape !== "choice") return name;
  const code = JSON.stringify(name);
  return isChoice(leaf, code) ? code : { $json: code };
}
