// The form between its HTML, drawn by the server from the schema, and the model.

import { isAbsent, isMarked, setAbsent, unmark } from "./absence.js";
import { Combobox } from "./combobox.js";
import { editorButtons } from "./json_editor_dialog.js";
import { origins } from "./merge.js";
import { fillVariants, holdForms, switchForm } from "./variants.js";
import { isRaw, join, own, split } from "./paths.js";
import { layLong } from "./clipboard.js";
import * as parts from "./nodes.js";

const { NODE, bodyOf, branchOf, childrenOf, columnOf, controlOf, isGroup, isLeaf, isRows, newItem, nodeOf, parentOf, positions, showRaw, stepsOf } = parts;
export { controlOf, indexOf, isLeaf, itemOf, parentOf, rowsOf, stepsOf } from "./nodes.js";

const WORDS = { absent: "not filled", null: "not in the document", raw: "kept as JSON" };

export class Form {
  // `settled` is called when a part was left in which the person typed.
  constructor(root, model, { changed, settled }) {
    this.root = root.querySelector(NODE);
    Object.assign(this, { model, changed, settled });
    this.paths = new WeakMap(); // where parts stand in the label, until rows or names change
    parts.identify(this.root);
    this.combobox = new Combobox(root, this);
    root.addEventListener("input", (event) => this.typed(event.target));
    root.addEventListener("change", (event) => {
      if (event.target.matches("[data-choice]")) this.typed(event.target);
      if (event.target.matches("[data-switch]")) switchForm(this, event.target.closest(NODE), Number(event.target.value));
    });
    root.addEventListener("click", (event) => this.clicked(event.target));
    root.addEventListener("submit", (event) => event.preventDefault());
    editorButtons(root, this);
    // The part in which the person types. What is found wrong with it, and what others make of it, waits until it is left.
    this.typing = null;
    this.spared = null; // the part that is not drawn
    root.addEventListener("input", ({ target }) => isTyped(target) && (this.typing = target.closest(NODE)));
    // After the list of choices, which takes what was typed.
    root.addEventListener("focusout", () => this.settle());
  }

  // What was typed is meant as it stands.
  settle() {
    if (!this.typing) return;
    this.typing = null;
    this.settled();
  }

  // -- from the model to the page --

  fill() {
    this.fillNode(this.root, this.model.entry);
  }

  // Draws what others changed, around the text that is half-typed. The part that has the focus keeps it.
  fillAround() {
    const control = this.root.contains(document.activeElement) ? document.activeElement : null;
    const whole = control?.value !== undefined && control.selectionStart === 0 && control.selectionEnd === control.value.length;
    const before = control?.value;
    this.spared = this.typing;
    this.fill();
    this.spared = null;
    if (whole && control.value !== before) control.select();
  }

  get typingPath() {
    return this.typing?.isConnected ? this.pathOf(this.typing) : null;
  }

  entryOf(node) {
    return this.model.get(stepsOf(node));
  }

  // The steps to the part that has the focus; null where none has.
  get stepsInFocus() {
    const node = document.activeElement?.matches("[data-control]") ? document.activeElement.closest(NODE) : null;
    return node && this.root.contains(node) ? stepsOf(node) : null;
  }

  fillNode(node, entry) {
    const kind = node.dataset.node;
    node.dataset.state = entry === undefined || entry === "" ? (isMarked(this, node) ? "null" : "absent") : entry === null ? "null" : isRaw(entry) ? "raw" : "value";
    if (kind === "variants") {
      fillVariants(this, node, entry);
    } else if (isGroup(node)) {
      const inside = node.dataset.state === "value" ? entry : {};
      for (const child of childrenOf(node)) this.fillNode(child, own(inside, child.dataset.key));
    } else if (isLeaf(node)) {
      return node === this.spared ? undefined : parts.fillLeaf(node, entry);
    } else {
      this.fillRows(node, Array.isArray(entry) ? entry : []);
    }
    this.markState(node);
    return showRaw(node, entry);
  }

  // What the head of a group or a list says: how many rows, whether it is in the document.
  markState(node) {
    const { state } = node.dataset;
    const rows = isRows(node) ? bodyOf(node).children.length : null;
    const count = [...node.children].find((child) => child.matches(".sf-node-head"))?.querySelector("[data-count]");
    const words = rows === 1 ? "1 row" : rows ? `${rows} rows` : "none in the document";
    if (count) count.textContent = WORDS[state] ?? words;
    const none = state === "null" || (state === "value" && rows === 0);
    nullButtonOf(node)?.setAttribute("aria-pressed", String(none));
  }

  fillRows(node, entries) {
    const body = bodyOf(node);
    if (origins.has(entries)) parts.moveRows(node, origins.get(entries));
    origins.delete(entries);
    while (body.children.length > entries.length) body.lastElementChild.remove();
    if (body.children.length < entries.length) {
      const more = document.createDocumentFragment();
      for (let left = entries.length - body.children.length; left > 0; left -= 1) more.append(newItem(node));
      body.append(more);
    }
    this.number(node, 0);
    if (node.dataset.node === "table") layLong(node, entries.length);
    let item = body.firstElementChild;
    for (const entry of entries) {
      this.fillNode(nodeOf(item), entry);
      item = item.nextElementSibling;
    }
  }

  // Counts the rows from one on: what stands in which changed.
  number(node, from) {
    this.paths = new WeakMap();
    let item = bodyOf(node).children[from];
    for (let index = from; item; index += 1, item = item.nextElementSibling) {
      if (positions.get(item) === index) continue;
      positions.set(item, index);
      item.querySelector("[data-number]").textContent = index + 1;
    }
  }

  // After one row came or went: only that one is drawn, as filling a long grid takes time.
  spliced(node, index, item) {
    const body = bodyOf(node);
    if (item) body.insertBefore(item, body.children[index] ?? null);
    else body.children[index].remove();
    this.number(node, index);
    node.dataset.state = "value";
    if (item) this.fillNode(nodeOf(item), this.model.get([...stepsOf(node), index]));
    this.markState(node);
    showRaw(node, []);
  }

  // -- from the page to the model --

  typed(control) {
    const leaf = control.closest(NODE);
    if (!isLeaf(leaf) || "combo" in control.dataset || !("control" in control.dataset)) return;
    leaf.dataset.touched = "";
    this.model.checkpoint(stepsOf(leaf).join("/"));
    this.put(leaf, parts.readLeaf(leaf));
  }

  // Puts an entry into a field: undefined empties it, null means "not in the document".
  put(node, entry) {
    const steps = stepsOf(node);
    const inRow = typeof steps.at(-1) === "number";
    if (entry !== undefined) unmark(this, node);
    this.model.set(steps, entry === undefined && inRow ? "" : entry);
    if (node.dataset.key === "key") this.paths = new WeakMap();
    if (entry === undefined) this.prune(parentOf(node));
    else this.hold(parentOf(node));
    this.fillNode(node, this.model.get(steps));
    for (let above = parentOf(node); above; above = parentOf(above)) {
      const inside = this.model.get(stepsOf(above));
      if (inside !== undefined) unmark(this, above);
      above.dataset.state = inside !== undefined ? "value" : isMarked(this, above) ? "null" : "absent";
      if (!isLeaf(above) && !isRows(above)) this.markState(above);
      showRaw(above, inside);
    }
    this.changed();
  }

  // What comes with a value: the form it is in, and the constants of the groups around it.
  hold(group) {
    holdForms(this, group);
  }

  // An optional group whose last field was emptied is itself not there.
  prune(group) {
    const parent = group ? parentOf(group) : null;
    if (!parent || !isGroup(parent) || !isGroup(group) || "required" in group.dataset) return;
    const steps = stepsOf(group);
    const entry = this.model.get(steps);
    if (!entry || Object.values(entry).some((inner) => inner !== "")) return;
    this.model.set(steps, typeof steps.at(-1) === "number" ? "" : undefined);
    this.prune(parent);
  }

  clicked(target) {
    const node = target.closest(NODE);
    if (!node) return;
    if (target.closest("[data-null]")) this.toggleNull(node);
    else if (target.closest("[data-add-row]")) this.addRow(node);
    else if (target.closest("[data-duplicate-row]")) this.duplicateRow(parts.itemOf(target));
    else if (target.closest("[data-delete-row]")) this.deleteRow(parts.itemOf(target));
    else if (target.closest("[data-start-over]")) {
      this.model.checkpoint();
      this.put(node, isRows(node) || node.dataset.node === "tuple" ? [] : node.dataset.node === "variants" ? { $form: 0 } : {});
    }
  }

  // "Not in the document": null where the schema allows it, else a note beside the value; an array or a map is empty.
  toggleNull(node) {
    if (!("absentable" in node.dataset)) return false;
    this.model.checkpoint();
    node.dataset.touched = "";
    setAbsent(this, node, !isAbsent(this, node));
    if (isLeaf(node)) controlOf(node)?.focus();
    return true;
  }

  blankOf(rows) {
    return newItem(rows);
  }

  addRow(rows, entry = undefined, at = undefined) {
    const body = bodyOf(rows);
    const index = at ?? body.children.length;
    const item = newItem(rows);
    const grouped = isGroup(nodeOf(item)) || rows.dataset.node === "map";
    this.model.checkpoint();
    this.model.insertRow(stepsOf(rows), index, entry ?? (grouped ? {} : ""));
    this.hold(parentOf(rows));
    this.spliced(rows, index, item);
    controlOf(body.children[index])?.focus();
    this.changed();
  }

  duplicateRow(item) {
    const rows = parts.rowsOf(item.parentElement);
    const index = parts.indexOf(item);
    const entry = structuredClone(this.model.get([...stepsOf(rows), index]));
    const column = columnOf(document.activeElement);
    this.addRow(rows, entry, index + 1);
    parts.focusColumn(bodyOf(rows).children[index + 1], column);
  }

  deleteRow(item) {
    const rows = parts.rowsOf(item.parentElement);
    const index = parts.indexOf(item);
    const column = columnOf(document.activeElement);
    this.model.checkpoint();
    this.model.removeRow(stepsOf(rows), index);
    this.spliced(rows, index, null);
    const body = bodyOf(rows);
    const neighbour = body.children[Math.min(index, body.children.length - 1)];
    if (neighbour) parts.focusColumn(neighbour, column);
    else rows.querySelector("[data-add-row]")?.focus();
    this.changed();
  }

  // -- finding one's way --

  // The node of a path, or the nearest one above it; `exact` says which.
  find(path) {
    for (let node = this.root, here = ""; ; ) {
      if (here === path && (isLeaf(node) || node.dataset.node !== "variants")) return { node, exact: true };
      const next = this.step(node, here, path);
      if (!next) return { node, exact: here === path };
      [node, here] = next;
    }
  }

  // The part below a node that a path leads into, with its own path.
  step(node, here, path) {
    const leads = (inner) => path === inner || path.startsWith(`${inner}.`) || path.startsWith(`${inner}[`);
    const { node: kind } = node.dataset;
    if (isLeaf(node)) return null;
    if (kind === "variants") {
      const [form] = branchOf(node)?.children ?? [];
      return form ? [form, here] : null;
    }
    if (isRows(node) && kind !== "map") {
      const index = /^\[(\d+)\]/u.exec(path.slice(here.length))?.[1];
      const item = path.startsWith(here) && index !== undefined ? bodyOf(node).children[index] : null;
      return item ? [nodeOf(item), join(here, Number(index))] : null;
    }
    const below = kind === "map" ? this.pairs(node).flatMap(([key, value]) => [key, value]) : childrenOf(node);
    for (const child of below) {
      const inner = this.pathOf(child);
      if (inner !== here && leads(inner)) return [child, inner];
    }
    const more = below.find((child) => child.dataset.key === "$more");
    return more && this.step(more, here, path);
  }

  // The name and the value of each row of a map.
  pairs(map) {
    return [...bodyOf(map).children].map((row) => childrenOf(row));
  }

  // Where a part's value stands in the label. The name in a row of a map has a path of its own: "tags[0]".
  pathOf(node) {
    let path = this.paths.get(node);
    if (path === undefined) this.paths.set(node, (path = this.placeOf(node)));
    return path;
  }

  placeOf(node) {
    const parent = parentOf(node);
    if (!parent) return "";
    const { key } = node.dataset;
    if (key === "$value" || key === "$more") return this.pathOf(parent);
    const above = parent && parentOf(parent);
    if (above?.dataset.node === "map") {
      const row = parts.indexOf(parent);
      const name = this.model.get([...stepsOf(above), row, "key"]) ?? "";
      return key === "key" ? join(this.pathOf(above), row) : join(this.pathOf(above), nameOf(above, name));
    }
    if (isRows(parent)) return join(this.pathOf(parent), parts.indexOf(parts.itemOf(node)));
    return join(this.pathOf(parent), parent.dataset.node === "tuple" ? Number(key) : key);
  }

  // Puts an entry where a path leads, also into a row of a map that is not there yet.
  putAt(path, entry) {
    const { node, exact } = this.find(path);
    if (exact) return this.put(node, entry);
    const map = node.dataset.node === "map" ? node : childrenOf(node).find((child) => child.dataset.key === "$more");
    const [name, ...further] = split(path.slice(this.pathOf(node).length));
    if (!map || entry === undefined || typeof name !== "string" || further.length) return undefined;
    return this.addRow(map, { key: entryOfName(map, name), value: entry });
  }

  // Takes away a name that the schema does not know, which no part stands for.
  removeAt(path) {
    const { node } = this.find(path);
    const steps = stepsOf(node);
    for (const name of Object.keys(this.model.get(steps) ?? {})) {
      if (join(this.pathOf(node), name) === path) this.model.set([...steps, name], undefined);
    }
    this.changed();
  }

  titleOf(path) {
    const { node } = this.find(path);
    return node.dataset.title ?? "the label";
  }

  // The node that an entry is drawn in, or the nearest one to it.
  nodeAt(steps) {
    let node = this.root;
    for (const step of steps) {
      let next = null;
      if (isRows(node)) next = [...bodyOf(node).children].slice(0, step + 1).at(-1);
      else if (node.dataset.node === "variants") next = branchOf(node)?.firstElementChild;
      else if (!isLeaf(node)) next = childrenOf(node).find((child) => child.dataset.key === String(step));
      if (!next) break;
      node = nodeOf(next);
    }
    return node;
  }

  focus(path) {
    this.focusNode(this.find(path).node);
  }

  focusNode(node) {
    const control = controlOf(node) ?? node.querySelector("[data-add-row]");
    control?.focus();
    control?.closest(".sf-field, .sf-item, tr")?.scrollIntoView({ block: "nearest" });
  }

  focusFirstEmpty() {
    const leaves = [...this.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]')];
    const empty = (leaf) => leaf.dataset.state === "absent" && "required" in leaf.dataset && !("fixed" in leaf.dataset);
    (controlOf(leaves.find(empty) ?? leaves[0]) ?? controlOf(this.root))?.focus();
  }
}

const isTyped = (control) => "control" in control.dataset && (control.tagName === "TEXTAREA" || control.type === "text");

function nullButtonOf(node) {
  return [...node.children].find((child) => child.matches(".sf-node-head"))?.querySelector("[data-null]") ?? null;
}

const nameLeaf = (map) => newItem(map).querySelector('[data-key="key"]');

// A name as it stands in the label: where names are choices, the entry is the JSON text of one.
export function nameOf(map, entry) {
  if (isRaw(entry)) return String(JSON.parse(entry.$json));
  const leaf = nameLeaf(map);
  return leaf.dataset.shape === "choice" && parts.isChoice(leaf, entry) ? JSON.parse(entry) : entry.trim();
}

// The entry of a name; one that is none of the choices is kept as JSON.
function entryOfName(map, name) {
  const leaf = nameLeaf(map);
  if (leaf.dataset.shape !== "choice") return name;
  const code = JSON.stringify(name);
  return parts.isChoice(leaf, code) ? code : { $json: code };
}
