// The builder: the fields of a schema as rows. Every change is written to the JSON at once, and read back from it.

/** @import { Body } from "./fields.js" */
/** @import { Members, Steps } from "./json_tree.js" */

import { make } from "../site/dom.js";
import { duplicate, freeName, indexOf, insert, move, remove, rename } from "./changes.js";
import { button } from "./controls.js";
import { documentBox } from "./details.js";
import { watchDrag } from "./drag.js";
import { guessType, hasAcronym, nameFrom, propertiesOf, set, setRequired, setType } from "./fields.js";
import { isObject, parse, print } from "./json_tree.js";
import { watchKeys } from "./keys.js";
import { jsonStepsIn, keyIn, Row } from "./row_model.js";
import { fieldRow } from "./field_row.js";
import { ruleBox } from "./rules.js";

/** @typedef {{ key: string, part: string }} Spot a control: the key of its row and its part */

const WRITE_AFTER = 350; // ms without a key
const TREE = new Map();

export class Builder {
  /**
   * @param {HTMLElement} root
   * @param {{ write: (text: string) => void, goTo: (steps: Steps) => void, undo: () => void, redo: () => void }} hooks
   */
  constructor(root, hooks) {
    this.root = root;
    this.hooks = hooks;
    /** @type {Members} */
    this.tree = TREE;
    /** @type {Set<string>} rows whose details are shown */
    this.open = new Set();
    /** @type {WeakSet<Members>} fields that were just added: their name suggests their type */
    this.fresh = new WeakSet();
    /** @type {Map<string, string[]>} why fields are as they are, by pattern */
    this.reasons = new Map();
    /** @type {WeakMap<Members, Set<number>>} rules that are shown as expressions, by object */
    this.writtenRules = new WeakMap();
    /** @type {Map<Element, Row>} */
    this.rows = new Map();
    /** @type {{ steps: Steps, message: string } | null} */
    this.problem = null;
    this.timer = 0;
    /** Whether the page shows an older state of the fields than the schema has. */
    this.isStale = false;
    this.isDown = false;
    this.isPointing = false;
    this.watchPointer();
    watchKeys(this);
    watchDrag(this);
  }

  /** Shows a text; the fields stay as they are while it is no JSON. @param {string} text @returns {boolean} whether it is */
  show(text) {
    this.cancel();
    let value;
    try {
      value = parse(text);
    } catch {
      value = null;
    }
    const isShown = isObject(value);
    this.root.inert = !isShown;
    this.root.classList.toggle("builder-stale", !isShown);
    if (!isObject(value)) return false;
    this.problem = null;
    this.tree = value;
    this.render();
    return true;
  }

  /** The control of a part of a row; key "": outside of all rows. @param {Spot} spot @returns {HTMLElement | null} */
  find({ key, part }) {
    const controls = [.../** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll(`[data-part="${part}"]`))];
    return controls.find((control) => (this.rowOf(control)?.key ?? "") === key) ?? null;
  }

  /** @param {Element | null} element @returns {Row | null} */
  rowOf(element) {
    const item = element?.closest("li.builder-field");
    return (item && this.rows.get(item)) ?? null;
  }

  /** @returns {Spot | null} */
  get spot() {
    const active = document.activeElement;
    if (!active || !this.root.contains(active)) return null;
    const row = this.rowOf(active);
    return { key: row ? row.key : "", part: active.dataset.part ?? "" };
  }

  /** @param {Spot | null} [focus] the control to focus; by default the one that has the focus */
  render(focus) {
    this.isStale = false;
    const spot = focus ?? this.spot;
    this.rows.clear();
    this.root.replaceChildren(this.list(this.tree, null), this.adder(this.tree, null), ruleBox(this, this.tree, { title: "Rules between fields", key: "", steps: [] }), documentBox(this));
    if (this.problem) this.showProblem(this.problem.steps, this.problem.message);
    if (spot) this.focus(spot);
  }

  /**
   * Renders once the pointer is up and no list of a select is open: what is pressed must stay where it is. Keys have
   * moved the focus by then.
   */
  renderLater() {
    this.isStale = true;
    setTimeout(() => {
      const active = document.activeElement;
      const isChoosing = this.isPointing && active?.matches("select") && this.root.contains(active);
      if (!this.isStale || this.isDown) return;
      if (isChoosing) active.addEventListener("blur", () => this.isStale && this.renderLater(), { once: true });
      else this.render();
    });
  }

  /** Follows the pointer, for `renderLater`. */
  watchPointer() {
    addEventListener("pointerdown", () => {
      this.isDown = true;
      this.isPointing = true;
    }, true);
    addEventListener("keydown", () => {
      this.isPointing = false;
    }, true);
    for (const name of /** @type {const} */ (["pointerup", "pointercancel", "dragend"])) {
      addEventListener(name, () => {
        this.isDown = false;
        if (this.isStale) this.renderLater();
      }, true);
    }
  }

  /** @param {Spot} spot */
  focus(spot) {
    const control = this.find(spot) ?? this.find({ key: spot.key, part: "name" });
    control?.focus({ preventScroll: false });
    if (control?.matches("input[type=text]") && spot.part === "name") control.select();
  }

  /** @param {Members} owner @param {Row | null} outer the row whose fields they are */
  list(owner, outer) {
    const list = make("ol", { className: "builder-fields" });
    for (const name of propertiesOf(owner).keys()) {
      const row = new Row(this.tree, { owner, name }, outer);
      const item = fieldRow(this, row);
      this.rows.set(item, row);
      for (const body of row.bodies) item.append(this.inner(row, body));
      list.append(item);
    }
    return list;
  }

  /** The fields of a group, row, value or form. @param {Row} row @param {Body} body */
  inner(row, { owner, title }) {
    const box = make("div", { className: "builder-inner" });
    if (title) box.append(make("p", { className: "builder-form", textContent: title }));
    box.append(this.list(owner, row), this.adder(owner, row));
    if (this.open.has(row.key)) box.append(ruleBox(this, owner, { title: row.type === "table" ? "Rules in each row" : "Rules in the group", key: row.key, steps: jsonStepsIn(row, owner) }));
    return box;
  }

  /** @param {Members} owner @param {Row | null} row whose fields they are */
  adder(owner, row) {
    const title = row ? `Add field to ${row.field.name}` : "Add field";
    const control = button("add", "bi-plus-lg", [title, "Add field"], () => this.add(owner, row, propertiesOf(owner).size));
    control.setAttribute("aria-label", title);
    return control;
  }

  // -- changes --

  /** Changes the tree; text inputs write the JSON after a pause. @param {() => unknown} act @param {{ renders?: boolean, focus?: Spot }} [options] */
  change(act, { renders = false, focus } = {}) {
    act();
    if (!renders) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.flush(), WRITE_AFTER);
      return;
    }
    this.write();
    this.render(focus);
  }

  /** Writes what was typed and is not in the JSON yet. */
  flush() {
    const active = document.activeElement;
    if (active?.dataset.part === "name" && this.root.contains(active)) active.dispatchEvent(new Event("change"));
    if (this.timer) this.write();
    if (this.isStale) this.render();
  }

  cancel() {
    clearTimeout(this.timer);
    this.timer = 0;
  }

  write() {
    this.cancel();
    for (const control of this.root.querySelectorAll("input[type=text], textarea")) control.defaultValue = control.value;
    this.hooks.write(print(this.tree));
  }

  /** @param {Members} owner @param {Row | null} outer @param {number} index */
  add(owner, outer, index) {
    this.flush();
    const name = freeName(owner, "field");
    const schema = new Map([["type", "string"]]);
    this.fresh.add(schema);
    const key = keyIn(outer, owner, name);
    this.change(() => insert(owner, name, schema, index), { renders: true, focus: { key, part: "name" } });
  }

  /** Adds behind a row, or inside a group without fields. @param {Row} row */
  addAfter(row) {
    if (row.inside && !propertiesOf(row.inside).size) this.add(row.inside, row, 0);
    else this.add(row.field.owner, row.outer, indexOf(row.field) + 1);
  }

  /** A new field that was not named goes, and the next one comes behind the group: Enter twice leaves it. @param {Row} row */
  leave(row) {
    const { outer } = row;
    if (!outer || !isObject(row.value) || !this.fresh.has(row.value)) return false;
    remove(row.field);
    this.add(outer.field.owner, outer.outer, indexOf(outer.field) + 1);
    return true;
  }

  /** Starts a schema whose only field was not named yet. */
  start() {
    const [[name, schema], ...more] = [...propertiesOf(this.tree), ["", null]];
    if (more.length !== 1 || !name || !isObject(schema)) return;
    this.fresh.add(schema);
    this.focus({ key: keyIn(null, this.tree, name), part: "name" });
  }

  /** @param {Row} row @param {string} typed @returns {string} what is wrong with it */
  rename(row, typed) {
    const { field, value } = row;
    const isFresh = isObject(value) && this.fresh.has(value);
    const name = isFresh ? nameFrom(typed) : typed.trim();
    if (name === field.name) return "";
    if (!name) return "A field needs a name.";
    if (propertiesOf(field.owner).has(name)) return "Another field of this object has this name.";
    const isOpen = this.open.delete(row.key);
    rename(field, name, row.ancestors);
    if (isOpen) this.open.add(row.key);
    if (isFresh) {
      this.fresh.delete(value);
      const type = guessType(name);
      if (type !== "text") this.retype(row, type);
      if (hasAcronym(typed) && isObject(row.value)) set(row.value, "title", typed.trim());
    }
    this.write();
    this.renderLater();
    return "";
  }

  /** @param {Row} row @param {string} type */
  retype(row, type) {
    const schema = new Map();
    const place = row.place ?? { schema, holder: schema, nullable: false, shared: "" };
    if (place.schema === schema) propertiesOf(row.field.owner).set(row.field.name, schema);
    this.fresh.delete(place.schema);
    setType(place, type, row.field.name);
    if (type === "choice") this.open.add(row.key);
  }

  /** @param {Row} row @param {boolean} isRequired */
  require(row, isRequired) {
    this.change(() => setRequired(row.field, isRequired), { renders: true });
  }

  /** @param {Row} row */
  remove(row) {
    const names = [...propertiesOf(row.field.owner).keys()];
    const next = names[indexOf(row.field) + 1] ?? names[indexOf(row.field) - 1];
    const key = next === undefined ? (row.outer?.key ?? "") : row.keyOf(next);
    this.change(() => remove(row.field), { renders: true, focus: { key, part: next === undefined ? "add" : "name" } });
  }

  /** @param {Row} row */
  duplicate(row) {
    const found = duplicate(row.field);
    this.change(() => {}, { renders: true, focus: { key: row.keyOf(found.name), part: "name" } });
  }

  /** @param {Row} row @param {number} step -1 or 1 */
  moveBy(row, step) {
    const index = indexOf(row.field) + step;
    if (index < 0 || index >= propertiesOf(row.field.owner).size) return;
    this.moveTo(row, row.field.owner, row.outer, step > 0 ? index + 1 : index);
  }

  /** Into the group above. @param {Row} row */
  nest(row) {
    const before = [...propertiesOf(row.field.owner).keys()][indexOf(row.field) - 1];
    const key = row.keyOf(before);
    const target = [...this.rows.values()].find((other) => other.key === key);
    if (target?.inside) this.moveTo(row, target.inside, target, propertiesOf(target.inside).size);
  }

  /** Behind the group that it is in. @param {Row} row */
  lift(row) {
    const { outer } = row;
    if (outer) this.moveTo(row, outer.field.owner, outer.outer, indexOf(outer.field) + 1);
  }

  /** @param {Row} row @param {Members} owner @param {Row | null} outer the row of the owner @param {number} index */
  moveTo(row, owner, outer, index) {
    for (let around = outer; around; around = around.outer) if (around.key === row.key) return;
    const part = this.spot?.part || "name";
    const isOpen = this.open.delete(row.key);
    move(row.field, owner, index);
    row.outer = outer;
    if (isOpen) this.open.add(row.key);
    this.change(() => {}, { renders: true, focus: { key: row.key, part } });
  }

  /** @param {Row} row @param {boolean} [isOpen] */
  toggle(row, isOpen = !this.open.has(row.key)) {
    this.flush();
    if (isOpen) this.open.add(row.key);
    else this.open.delete(row.key);
    this.render({ key: row.key, part: isOpen && document.activeElement?.dataset.part !== "details" ? firstPart(row) : "details" });
  }

  /** @param {Row} row */
  goTo(row) {
    this.hooks.goTo(row.jsonSteps);
  }

  /** Shows what is wrong at the field that it is about. @param {Steps} steps in the JSON @param {string} message */
  showProblem(steps, message) {
    this.problem = { steps, message };
    for (const old of this.root.querySelectorAll(".builder-problem")) old.remove();
    const problem = make("p", { className: "field-error builder-problem", textContent: message });
    const lines = [.../** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll(".builder-rule"))];
    const rule = lines.find(({ dataset: { place = "" } }) => JSON.stringify(steps.slice(0, JSON.parse(place).length).map(String)) === place);
    if (rule) {
      rule.append(problem);
      return;
    }
    let best = null;
    for (const [item, row] of this.rows) {
      const holds = row.jsonSteps.length <= steps.length && row.jsonSteps.every((step, index) => step === steps[index]);
      if (holds && (!best || row.jsonSteps.length > best.row.jsonSteps.length)) best = { item, row };
    }
    if (best) best.item.querySelector(".builder-row")?.after(problem);
    else this.root.prepend(problem);
  }

  clearProblem() {
    this.problem = null;
    for (const old of this.root.querySelectorAll(".builder-problem")) old.remove();
  }
}

/** @param {Row} row */
const firstPart = (row) => ({ choice: "values", list: "items", map: "items", tuple: "value-0", union: "form-0" })[row.type] ?? (row.place ? "title" : "edit-json");
