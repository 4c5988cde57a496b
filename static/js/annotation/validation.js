// The server's findings at the fields they are about.

/** @import { Form } from "./form.js" */
/** @import { ByPath, FieldFacts, FieldTone, Findings, OpenConflict, Problem, Shown } from "./types" */

import { childOf, isLeaf, isRow, isRows, parentOf, rowsOf } from "./nodes.js";
import { table } from "./paths.js";
import { keyCap } from "./chords.js";
import { around, find, make } from "../site/dom.js";
import { formatDate } from "../site/format.js";

/**
 * @typedef {object} Item what a message is about
 * @property {string} path
 * @property {string} text
 * @property {string} [rule]
 * @property {OpenConflict} [conflict]
 * @property {boolean} [bare] a field to review whose reasons are shown as other messages
 * @property {boolean} [settled] a field to review that another message lets the user settle
 *
 * @typedef {{ tone: FieldTone, item: Item, cell: Element | null, exact: boolean }} Message `cell`: in a grid; `exact`: the path has a node
 *
 * @typedef {object} Actions
 * @property {(path: string, isConfirmed: boolean) => void} confirm
 * @property {(conflict: OpenConflict) => void} take
 * @property {(path: string) => void} remove
 * @property {(path: string, date: string) => void} chooseReading
 * @property {(path: string) => void} markReviewed
 * @property {() => string} confirmKey
 * @property {() => ByPath<string[]> | null} exceptions
 */

const MAX_SHOWN = 20; // messages below a grid, until more are asked for
const MORE = 100;
/** @type {FieldTone[]} the most important first */
const ORDER = ["conflict", "problem", "warning", "look", "confirmed"];
/** @type {Partial<Record<FieldTone, string>>} */
const ICONS = { problem: "exclamation-octagon-fill", warning: "exclamation-triangle-fill", conflict: "people-fill", look: "eye-fill" };

let messageCount = 0; // for ids

export class Validation {
  /** @type {Shown} */
  shown = noFindings();
  /** Whether a submit was rejected: from then on empty required fields are problems to be seen. */
  wasSubmitted = false;
  /** Unanswered fields that the user was asked about. @type {Set<string>} */
  asked = new Set();
  /** How many messages a grid shows. @type {Map<Element, number>} */
  #limits = new Map();
  /** The lines in the page, by box and by what they say. @type {Map<Element, Map<string, HTMLElement>>} */
  #lines = new Map();
  /** Ids of the messages of cells. @type {Map<Element, string[]>} */
  #descriptions = new Map();
  /** Messages of cells by path: they are drawn below the grid. @type {Map<string, FieldFacts["messages"]>} */
  #cells = new Map();
  /** @type {Map<Element, FieldTone>} */
  #marked = new Map();
  /** @type {string | null} */
  #typingPath = null;

  /** @param {Form} form @param {Actions} actions */
  constructor(form, actions) {
    this.form = form;
    this.actions = actions;
    // The mouse acts on a message and leaves the focus where it is.
    form.root.addEventListener("mousedown", (event) => event.target.closest(".sf-message, .sf-raw-note") && event.preventDefault());
    // A line with the focus stays until it has lost it.
    form.root.addEventListener("focusout", ({ target }) => target.closest(".sf-message") && setTimeout(() => this.show(this.shown)));
  }

  open() {
    this.#limits = new Map();
    this.shown = noFindings();
    this.wasSubmitted = false;
    this.asked = new Set();
  }

  /** Problems to be seen now: that a field is empty is no news until the user was there, or submits. */
  get visibleProblems() {
    return this.shown.problems.filter((problem) => !this.#isQuiet(problem));
  }

  /** What is still to be filled: required fields and rows. */
  get missingRequired() {
    return this.shown.problems.filter(({ rule }) => rule === "required" || rule === "empty");
  }

  /** @param {string} path */
  needsConfirmation(path) {
    return this.shown.missing[path] !== undefined || path in this.shown.doubts;
  }

  /** Whether everything that needs confirmation at a path is confirmed. @param {string} path */
  isConfirmed(path) {
    const evidence = this.form.draft.evidence[path] ?? {};
    const { missing, doubts } = this.shown;
    const digests = Object.keys(doubts[path] ?? {});
    return (missing[path] === undefined || Boolean(evidence.confirmed)) && digests.every((digest) => evidence.doubts?.includes(digest));
  }

  /** @param {Problem} problem */
  #isQuiet({ rule, path }) {
    if (rule !== "required" && rule !== "empty") return false;
    const { node } = this.form.find(path);
    const { dataset } = node;
    if (rule === "empty") return !this.wasSubmitted && !("touched" in dataset) && (isRows(node) || isRow(node));
    return dataset.state !== "absent" || (!this.wasSubmitted && !("touched" in dataset));
  }

  /** @param {Omit<Findings, "evidence" | "exceptions"> & { conflicts?: OpenConflict[] }} findings */
  show({ problems, warnings, unanswered, conflicts = [], ...maps }) {
    this.shown = {
      problems, warnings, unanswered, conflicts,
      shown: table(maps.shown), spans: table(maps.spans), missing: table(maps.missing), readings: table(maps.readings), doubts: table(maps.doubts),
    };
    this.#typingPath = this.form.typingPath;
    this.#descriptions = new Map();
    this.#cells = new Map();
    /** @type {Map<Element, Message[]>} */
    const boxes = new Map();
    /** @type {Map<Element, FieldTone>} */
    const marked = new Map();
    for (const [tone, item] of this.#items()) {
      const { node, exact } = this.form.find(item.path);
      const cell = node.matches("td, tr") ? node : null;
      const box = messageBoxOf(cell ? rowsOf(cell) : node);
      if (!box) continue;
      boxes.set(box, [...(boxes.get(box) ?? []), { tone, item, cell, exact }]);
      if (cell && !item.bare) {
        const text = tone === "confirmed" ? `${item.text}; confirmed` : item.text;
        this.#cells.set(item.path, [...(this.#cells.get(item.path) ?? []), { tone, text }]);
      }
      if (isLeaf(node) && marked.get(node) !== "problem" && tone !== "look") marked.set(node, tone);
    }
    this.#draw(boxes);
    this.#mark(marked);
    this.drawFacts();
  }

  /** All messages about the label. @returns {[FieldTone, Item][]} */
  #items() {
    const { shown, form: { draft }, visibleProblems } = this;
    const toItem = (/** @type {Problem} */ { path, rule, message }) => ({ path, rule, text: message });
    /** @type {[FieldTone, Item][]} */
    const items = [];
    for (const problem of visibleProblems) items.push(["problem", toItem(problem)]);
    for (const warning of shown.warnings) items.push(["warning", toItem(warning)]);
    for (const path of Object.keys(shown.missing)) {
      if (draft.evidence[path]?.confirmed) items.push(["confirmed", { path, rule: "evidence", text: "is not in the document" }]);
    }
    for (const [path, broken] of Object.entries(shown.doubts)) {
      for (const [digest, text] of Object.entries(broken)) {
        if (draft.evidence[path]?.doubts?.includes(digest)) items.push(["confirmed", { path, rule: "invariant", text }]);
      }
    }
    for (const conflict of shown.conflicts) items.push(["conflict", { path: conflict.path, text: conflict.by === "you" ? `You wrote ${conflict.shown} in another tab` : `${conflict.by} wrote ${conflict.shown}`, conflict }]);
    // A reason that is a message already is not repeated.
    const messages = new Set([...visibleProblems, ...shown.warnings].map(({ path, message }) => `${path} ${message}`));
    const withMessages = new Set([...shown.problems, ...shown.warnings].map(({ path }) => path));
    for (const [path, reasons] of Object.entries(this.actions.exceptions() ?? {})) {
      const text = reasons.filter((reason) => !messages.has(`${path} ${reason}`)).join("; ");
      const settled = withMessages.has(path);
      if (text || !settled) items.push(["look", { path, text, bare: !text, settled }]);
    }
    return items;
  }

  /**
   * Lines that exist stay as they are: a screen reader hears what is new, and the focus does not move.
   * @param {Map<Element, Message[]>} boxes
   */
  #draw(boxes) {
    for (const box of this.#lines.keys()) if (!boxes.has(box)) boxes.set(box, []);
    for (const [box, messages] of boxes) {
      const before = this.#lines.get(box) ?? new Map();
      const lines = this.#linesOf(box, messages, before);
      for (const [key, line] of before) if (lines.get(key) !== line) line.remove();
      let place = box.firstChild;
      for (const line of lines.values()) {
        if (line === place) place = place.nextSibling;
        else box.insertBefore(line, place);
      }
      if (lines.size) this.#lines.set(box, lines);
      else this.#lines.delete(box);
    }
  }

  /**
   * The lines of a box by what they say, the most important first.
   * @param {Element} box @param {Message[]} messages @param {Map<string, HTMLElement>} before
   */
  #linesOf(box, messages, before) {
    const stay = [...before].filter(([, line]) => line.contains(document.activeElement));
    const sorted = messages
      .filter((message) => message.item.path !== this.#typingPath || before.has(keyOf(message)))
      .sort((one, other) => ORDER.indexOf(one.tone) - ORDER.indexOf(other.tone));
    const limit = this.#limits.get(box) ?? MAX_SHOWN;
    const rest = sorted.length - limit > 1 ? sorted.length - limit : 0;
    /** @type {Map<string, HTMLElement>} */
    const lines = new Map();
    for (const message of rest ? sorted.slice(0, limit) : sorted) {
      const key = keyOf(message);
      const line = before.get(key) ?? this.#line(message);
      line.className = `sf-message sf-message-${message.tone}`;
      lines.set(key, line);
      const checkbox = line.querySelector("input[data-confirm]");
      if (checkbox) checkbox.checked = message.tone === "confirmed";
      if (message.cell) this.#descriptions.set(message.cell, [...(this.#descriptions.get(message.cell) ?? []), line.id]);
    }
    if (rest) {
      const more = before.get("more") ?? this.#moreLine(box);
      find(more, "button").textContent = `${rest} more`;
      lines.set("more", more);
    }
    for (const [key, line] of stay) if (!lines.has(key)) lines.set(key, line);
    return lines;
  }

  /** @param {Element} box */
  #moreLine(box) {
    const line = make("p", { className: "sf-message sf-message-more" });
    const more = button("", () => {
      const count = box.children.length - 1;
      more.blur();
      this.#limits.set(box, count + MORE);
      this.show(this.shown);
      box.children[count]?.querySelector("button, input")?.focus();
    });
    line.append(more);
    return line;
  }

  /** @param {Message} message */
  #line(message) {
    const { tone, item, cell } = message;
    messageCount += 1;
    const line = make("p", { className: `sf-message sf-message-${tone}`, id: `message-${messageCount}` });
    line.dataset.about = item.path;
    const icon = ICONS[isConfirmable(item) ? "warning" : tone];
    if (icon) line.append(make("i", { className: `bi bi-${icon}`, ariaHidden: "true" }));
    const text = `${this.#prefixOf(message)}${item.text}`;
    if (cell) line.append(button(text, () => this.form.focus(item.path)));
    else if (!item.bare) line.append(make("span", { textContent: text }));
    line.append(...this.#controls(message));
    return line;
  }

  /** What can be done about a message. @param {Message} message @returns {HTMLElement[]} */
  #controls({ tone, item }) {
    const { path, rule, conflict } = item;
    const { actions } = this;
    /**
     * After a key on a button of a message the focus returns to the field; the mouse never left it.
     * @param {string} text @param {() => void} action
     */
    const actionButton = (text, action) => {
      const control = button(text, () => {
        action();
        if (control.contains(document.activeElement)) this.form.focus(path);
      });
      return named(control, this.form.titleOf(path));
    };
    if (tone === "look" && !item.settled) return [named(button("Looks right", () => actions.markReviewed(path)), this.form.titleOf(path))];
    if (conflict) return [actionButton("Use theirs", () => actions.take(conflict))];
    if (rule === "additionalProperties") return [actionButton("Remove it", () => actions.remove(path))];
    if (rule === "ambiguous") {
      return (this.shown.readings[path] ?? []).map((date) => {
        const reading = actionButton(formatDate(date), () => actions.chooseReading(path, date));
        reading.dataset.reading = date;
        return reading;
      });
    }
    return isConfirmable(item) ? [this.#confirmation(path, tone === "confirmed")] : [];
  }

  /** Which cell, group or list a message is about; nothing at a field. @param {Message} message */
  #prefixOf({ item: { path }, cell, exact }) {
    if (cell) return `${[`Row ${around(cell, "tr").rowIndex}`, cell.dataset.title].filter(Boolean).join(", ")}: `;
    const { node } = this.form.find(path);
    if (!exact) return `${path}: `;
    return isLeaf(node) || !node.dataset.title ? "" : `${node.dataset.title} `;
  }

  /** @param {string} path @param {boolean} isConfirmed */
  #confirmation(path, isConfirmed) {
    const label = make("label");
    const checkbox = make("input", { type: "checkbox", checked: isConfirmed, tabIndex: -1, className: "form-check-input" });
    checkbox.dataset.confirm = path;
    named(checkbox, this.form.titleOf(path), "Confirm value");
    checkbox.addEventListener("change", () => this.actions.confirm(path, checkbox.checked));
    label.append(checkbox, "Confirm value ", keyCap(this.actions.confirmKey()));
    // A click on the label would give the checkbox the focus.
    label.addEventListener("click", (event) => {
      if (event.target === checkbox) return;
      event.preventDefault();
      checkbox.click();
    });
    return label;
  }

  /** @param {Map<Element, FieldTone>} marked */
  #mark(marked) {
    // Only what is marked or was: a long grid has thousands of cells.
    const before = this.#marked;
    const { typing } = this.form;
    if (typing && marked.has(typing)) {
      const tone = before.get(typing);
      if (tone) marked.set(typing, tone);
      else marked.delete(typing);
    }
    this.#marked = marked;
    for (const node of new Set([...before.keys(), ...marked.keys()])) {
      if (node === typing && marked.has(node)) continue;
      const tone = marked.get(node);
      node.classList.toggle("has-problem", tone === "problem");
      node.classList.toggle("has-warning", tone === "warning" || tone === "conflict");
      const id = node.matches("td") ? this.#descriptions.get(node)?.join(" ") : messageBoxOf(node)?.id;
      for (const control of node.querySelectorAll("[data-control]")) {
        control.removeAttribute("aria-invalid");
        if (tone === "problem") control.setAttribute("aria-invalid", "true");
        if (tone && id) control.setAttribute("aria-describedby", id);
        else control.removeAttribute("aria-describedby");
      }
    }
  }

  /** What the line below the form shows about a field. @param {string} path @returns {FieldFacts} */
  factsOf(path) {
    const { shown, spans, readings } = this.shown;
    const isAmbiguous = this.visibleProblems.some((problem) => problem.rule === "ambiguous" && problem.path === path);
    return {
      shown: shown[path],
      place: this.#placeOf(path),
      spans: spans[path],
      messages: this.#messagesOfCell(path),
      toConfirm: this.needsConfirmation(path) && !this.isConfirmed(path),
      readings: isAmbiguous ? readings[path] : [],
    };
  }

  /** Messages of a cell and its row, the most important first. @param {string} path */
  #messagesOfCell(path) {
    const row = path.slice(0, path.lastIndexOf("]") + 1);
    const messages = [...(this.#cells.get(path) ?? []), ...(this.#cells.get(row) ?? [])];
    return messages.sort((one, other) => ORDER.indexOf(one.tone) - ORDER.indexOf(other.tone));
  }

  /** Draws how typed values are normalized, and whether they are in the document. */
  drawFacts() {
    for (const leaf of this.form.root.querySelectorAll('.sf-field[data-node="leaf"]')) {
      const path = this.form.pathOf(leaf);
      const normalized = leaf.querySelector("[data-shown]");
      if (normalized) normalized.textContent = this.shown.shown[path] !== undefined ? `= ${this.shown.shown[path]}` : "";
      leaf.querySelector("[data-side]")?.replaceChildren(this.#placeOf(path));
    }
  }

  /** @param {string} path */
  #placeOf(path) {
    const spans = this.shown.spans[path];
    if (spans) {
      const at = this.form.draft.evidence[path];
      const number = spans.findIndex(([start, end]) => start === at?.start && end === at?.end) + 1;
      return spans.length > 1 ? `in text ${number || 1}/${spans.length}` : "in text";
    }
    const isMissing = this.shown.missing[path] !== undefined;
    return make("span", { className: "sf-side-missing", textContent: isMissing ? "not in text" : "" });
  }

  /** The path of the first field that blocks a submit. */
  firstBlocking() {
    const blocking = [...this.shown.problems, ...this.shown.warnings];
    const paths = new Set(blocking.map((problem) => problem.path));
    const order = [...this.form.root.querySelectorAll("[data-node]")].map((node) => this.form.pathOf(node));
    return order.find((path) => paths.has(path)) ?? blocking[0]?.path;
  }
}

/** @returns {Shown} */
const noFindings = () => ({
  problems: [], warnings: [], conflicts: [], shown: table(), spans: table(), missing: table(), readings: table(), doubts: table(),
});

/** Equal for the same line, also once its value is confirmed. @param {Message} message */
const keyOf = ({ tone, item, exact }) =>
  JSON.stringify([isConfirmable(item) ? "confirmable" : tone, item.rule, item.path, exact, item.text, item.bare, item.settled]);

/** @param {Item} item */
const isConfirmable = (item) => item.rule === "evidence" || item.rule === "invariant";

/** The nearest element for messages. @param {Element | null} node */
function messageBoxOf(node) {
  for (let here = node; here; here = parentOf(here)) {
    const box = childOf(here, "[data-messages]");
    if (box) return box;
  }
  return null;
}

/**
 * Tells a screen reader which field a control of a message is about.
 * @template {HTMLElement} T
 * @param {T} control @param {string} title
 * @returns {T}
 */
function named(control, title, text = control.textContent?.trim() ?? "") {
  control.setAttribute("aria-label", `${text}: ${title}`);
  return control;
}

/** @param {string} text @param {() => void} action */
function button(text, action) {
  const element = make("button", { type: "button", textContent: text, tabIndex: -1 });
  element.addEventListener("click", action);
  return element;
}
