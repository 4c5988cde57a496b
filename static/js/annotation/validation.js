// What the server says about the label, beside the fields it is about.

import { keyCap } from "./shortcuts.js";
import { isLeaf, parentOf, rowsOf } from "./form.js";
import { table } from "./paths.js";

const MOST = 20; // messages below a grid; a press shows more
const MORE = 100;
const WEIGHT = ["clash", "problem", "warning", "look", "confirmed"];
const ICONS = { problem: "exclamation-octagon-fill", warning: "exclamation-triangle-fill", clash: "people-fill", look: "eye-fill" };

let messages = 0; // that were drawn, for ids of their own

export class Checks {
  // `key()` is the key that confirms. `looks`: the fields of a pre-filled form to look at, path -> reasons, or null.
  constructor(form, { confirm, take, remove, choose, right, key, looks }) {
    this.form = form;
    this.looks = looks;
    this.actions = { confirm, take, remove, choose, right, key };
    this.drawn = new Map();
    // A press of the mouse acts on a message and leaves the focus where it is.
    form.root.addEventListener("mousedown", (event) => event.target.closest(".sf-message, .sf-raw-note") && event.preventDefault());
    // A line that had the focus stays until it has lost it.
    form.root.addEventListener("focusout", ({ target }) => target.closest(".sf-message") && setTimeout(() => this.show(this.answer)));
    this.open();
  }

  open() {
    this.most = new Map(); // how many messages a grid shows, where somebody asked for more
    this.answer = { problems: [], warnings: [], shown: table(), spans: table(), missing: table(), readings: table(), doubts: table(), clashes: [] };
    this.tried = false;
    this.asked = new Set(); // fields that nobody answered, which the person was asked about
  }

  // Problems a person should see now: that a field is empty is no news until they have been there, or submit.
  get seen() {
    return this.answer.problems.filter((problem) => !this.isQuiet(problem));
  }

  get toFill() {
    return this.answer.problems.filter((problem) => problem.rule === "required");
  }

  // Values that are nowhere in the document, broken rules between fields: they are confirmed before a label counts.
  get toConfirm() {
    return this.answer.warnings;
  }

  // Whether there is something to confirm in a field, and whether it is confirmed as it stands.
  isDoubtful(path) {
    return this.answer.missing[path] !== undefined || path in this.answer.doubts;
  }

  isConfirmed(path) {
    const said = this.form.model.evidence[path] ?? {};
    const { missing, doubts } = this.answer;
    const digests = Object.keys(doubts[path] ?? {});
    return (missing[path] === undefined || Boolean(said.confirmed)) && digests.every((digest) => said.doubts?.includes(digest));
  }

  isQuiet(problem) {
    if (problem.rule !== "required") return false;
    const { node } = this.form.find(problem.path);
    if (node.dataset.state !== "absent") return true;
    return !this.tried && !("touched" in node.dataset);
  }

  show(answer) {
    const maps = ["shown", "spans", "missing", "readings", "doubts"];
    this.answer = { clashes: [], ...answer, ...Object.fromEntries(maps.map((name) => [name, table(answer[name])])) };
    this.halfTyped = this.form.typingPath;
    const wanted = new Map();
    const marked = new Map();
    this.described = new Map(); // ids of the messages of cells
    this.cells = new Map(); // what is said about a cell, which stands below its grid
    const add = (tone, item) => {
      const { node, exact } = this.form.find(item.path);
      const cell = node.matches("td, tr") ? node : null;
      const box = messagesOf(cell ? rowsOf(cell) : node);
      if (!box) return;
      if (!wanted.has(box)) wanted.set(box, []);
      wanted.get(box).push({ tone, item, cell, exact });
      if (cell && !item.bare) this.cells.set(item.path, [...(this.cells.get(item.path) ?? []), { tone, words: tone === "confirmed" ? `${item.message}; confirmed` : wordsOf(tone, item) }]);
      if (isLeaf(node) && marked.get(node) !== "problem" && tone !== "look") marked.set(node, tone);
    };
    const { seen } = this;
    for (const problem of seen) add("problem", problem);
    for (const warning of this.answer.warnings) add("warning", warning);
    for (const [path, of] of Object.entries(this.answer.missing)) {
      if (this.form.model.evidence[path]?.confirmed) add("confirmed", { path, of, rule: "evidence", message: "is not in the document" });
    }
    for (const [path, found] of Object.entries(this.answer.doubts)) {
      for (const [digest, message] of Object.entries(found)) {
        if (this.form.model.evidence[path]?.doubts?.includes(digest)) add("confirmed", { path, rule: "invariant", message });
      }
    }
    for (const clash of this.answer.clashes) add("clash", clash);
    // What stands there as a message already need not be said twice.
    const said = new Set([...seen, ...this.answer.warnings].map((item) => `${item.path} ${item.message}`));
    const own = new Set([...this.answer.problems, ...this.toConfirm].map((item) => item.path));
    for (const [path, reasons] of Object.entries(this.looks() ?? {})) {
      const words = reasons.filter((reason) => !said.has(`${path} ${reason}`)).join("; ");
      const settled = own.has(path);
      if (words || !settled) add("look", { path, message: words, bare: !words, settled });
    }
    this.draw(wanted);
    this.mark(marked);
    this.sides();
  }

  // Lines that stand already stay as they are: a screen reader hears what is new, and the focus is not moved.
  draw(wanted) {
    for (const box of this.drawn.keys()) if (!wanted.has(box)) wanted.set(box, []);
    for (const [box, items] of wanted) {
      const before = this.drawn.get(box) ?? new Map();
      const lines = this.linesOf(box, items, before);
      for (const [key, line] of before) if (lines.get(key) !== line) line.remove();
      let place = box.firstChild;
      for (const line of lines.values()) {
        if (line === place) place = place.nextSibling;
        else box.insertBefore(line, place);
      }
      if (lines.size) this.drawn.set(box, lines);
      else this.drawn.delete(box);
    }
  }

  // The lines of a box by what they say, the weightiest first; of very many those that the person asked for.
  linesOf(box, items, before) {
    const stay = [...before].filter(([, line]) => line.contains(document.activeElement) || line.dataset.about === this.halfTyped);
    const keys = new Set(stay.map(([key]) => key));
    const said = items.filter((entry) => entry.item.path !== this.halfTyped || keys.has(keyOf(entry)));
    const sorted = said.sort((one, other) => WEIGHT.indexOf(one.tone) - WEIGHT.indexOf(other.tone));
    const most = this.most.get(box) ?? MOST;
    const rest = sorted.length - most > 1 ? sorted.length - most : 0;
    const lines = new Map();
    for (const entry of rest ? sorted.slice(0, most) : sorted) {
      const key = keyOf(entry);
      const line = before.get(key) ?? this.message(entry);
      line.className = `sf-message sf-message-${entry.tone}`;
      lines.set(key, line);
      const tick = line.querySelector("[data-confirm]");
      if (tick) tick.checked = entry.tone === "confirmed";
      if (entry.cell) this.described.set(entry.cell, [...(this.described.get(entry.cell) ?? []), line.id]);
    }
    if (rest) {
      lines.set("more", before.get("more") ?? this.further(box));
      lines.get("more").firstChild.textContent = `${rest} more`;
    }
    for (const [key, line] of stay) if (!lines.has(key)) lines.set(key, line);
    return lines;
  }

  further(box) {
    const line = Object.assign(document.createElement("p"), { className: "sf-message sf-message-more" });
    line.append(button("", (event) => {
      const shown = box.children.length - 1;
      event.target.blur();
      this.most.set(box, shown + MORE);
      this.show(this.answer);
      box.children[shown]?.querySelector("button, input")?.focus();
    }));
    return line;
  }

  message({ tone, item, cell, exact }) {
    const line = Object.assign(document.createElement("p"), { className: `sf-message sf-message-${tone}`, id: `message-${(messages += 1)}` });
    line.dataset.about = item.path;
    const icon = ICONS[isDoubt(item) ? "warning" : tone];
    if (icon) line.append(Object.assign(document.createElement("i"), { className: `bi bi-${icon}`, ariaHidden: "true" }));
    const text = `${this.placeOf(item, cell, exact)}${wordsOf(tone, item)}`;
    if (cell) line.append(button(text, () => this.form.focus(item.path)));
    else if (!item.bare) line.append(Object.assign(document.createElement("span"), { textContent: text }));
    if (tone === "look" && !item.settled) line.append(button("looks right", () => this.actions.right(item.path)));
    if (tone === "clash") line.append(button("take it", (event) => this.acted(event, item, () => this.actions.take(item))));
    if (item.rule === "additionalProperties") line.append(button("remove it", (event) => this.acted(event, item, () => this.actions.remove(item.path))));
    if (item.rule === "ambiguous") line.append(...this.choices(item));
    if (isDoubt(item)) line.append(this.confirmation(item, tone === "confirmed"));
    return line;
  }

  // A key pressed on a button of a message leads back to the field; the mouse never left it.
  acted(event, item, action) {
    action();
    if (event.target.contains(document.activeElement)) this.form.focus(item.path);
  }

  // What a message begins with: where the cell is, which group or list it is about; nothing beside a field.
  placeOf({ path }, cell, exact) {
    if (cell) return `${[`Row ${cell.closest("tr").rowIndex}`, cell.dataset.title].filter(Boolean).join(", ")}: `;
    const { node } = this.form.find(path);
    if (!exact) return `${path}: `;
    return isLeaf(node) || !node.dataset.title ? "" : `${node.dataset.title} `;
  }

  // The dates that an ambiguous one can mean.
  choices(item) {
    return (this.answer.readings[item.path] ?? []).map((day) => {
      const choice = button(dayInWords(day), (event) => this.acted(event, item, () => this.actions.choose(item.path, day)));
      choice.dataset.reading = day;
      return choice;
    });
  }

  confirmation(item, confirmed) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: confirmed, tabIndex: -1 });
    box.className = "form-check-input";
    box.dataset.confirm = item.path;
    box.addEventListener("change", () => this.actions.confirm(item.path, box.checked));
    label.append(box, "Confirm value ", keyCap(this.actions.key()));
    // A press on the words would give the box the focus.
    label.addEventListener("click", (event) => {
      if (event.target === box) return;
      event.preventDefault();
      box.click();
    });
    return label;
  }

  mark(marked) {
    // Only what is marked or was: a long grid has thousands of cells.
    const before = this.marked ?? new Map();
    const { typing } = this.form;
    if (before.has(typing)) marked.set(typing, before.get(typing));
    else marked.delete(typing);
    this.marked = marked;
    for (const node of new Set([...before.keys(), ...marked.keys()])) {
      if (node === typing) continue;
      const tone = marked.get(node);
      node.classList.toggle("has-problem", tone === "problem");
      node.classList.toggle("has-warning", tone === "warning" || tone === "clash");
      const id = node.matches("td") ? this.described.get(node)?.join(" ") : messagesOf(node)?.id;
      for (const control of node.querySelectorAll("[data-control]")) {
        control.toggleAttribute("aria-invalid", false);
        if (tone === "problem") control.setAttribute("aria-invalid", "true");
        if (tone && id) control.setAttribute("aria-describedby", id);
        else control.removeAttribute("aria-describedby");
      }
    }
  }

  // What is said about a cell of a grid: [{tone, words}], the weightiest first.
  about(path) {
    const row = path?.slice(0, path.lastIndexOf("]") + 1);
    const said = [...(this.cells?.get(path) ?? []), ...(this.cells?.get(row) ?? [])];
    return said.sort((one, other) => WEIGHT.indexOf(one.tone) - WEIGHT.indexOf(other.tone));
  }

  // How a typed value was understood, and whether it stands in the document.
  sides() {
    for (const leaf of this.form.root.querySelectorAll('.sf-field[data-node="leaf"]')) {
      const path = this.form.pathOf(leaf);
      const shown = leaf.querySelector("[data-shown]");
      if (shown) shown.textContent = this.answer.shown[path] !== undefined ? `= ${this.answer.shown[path]}` : "";
      const side = leaf.querySelector("[data-side]");
      if (side) side.replaceChildren(this.place(path));
    }
  }

  place(path) {
    const spans = this.answer.spans[path];
    if (spans) {
      const at = this.form.model.evidence[path];
      const number = spans.findIndex(([start, end]) => start === at?.start && end === at?.end) + 1;
      return spans.length > 1 ? `in text ${number || 1}/${spans.length}` : "in text";
    }
    const missing = this.answer.missing[path] !== undefined;
    return Object.assign(document.createElement("span"), { className: "sf-side-missing", textContent: missing ? "not in text" : "" });
  }

  // The first field that keeps the label from being submitted.
  first() {
    const blocking = [...this.answer.problems, ...this.toConfirm];
    const paths = new Set(blocking.map((problem) => problem.path));
    const order = [...this.form.root.querySelectorAll("[data-node]")].map((node) => this.form.pathOf(node));
    return order.find((path) => paths.has(path)) ?? blocking[0]?.path ?? this.answer.warnings[0]?.path;
  }
}

// The same line, though a value is confirmed or not any more.
const keyOf = ({ tone, item, exact }) =>
  JSON.stringify([isDoubt(item) ? "doubt" : tone, item.rule, item.path, exact, wordsOf(tone, item), item.bare, item.settled]);
const isDoubt = (item) => item.rule === "evidence" || item.rule === "invariant";
export const dayInWords = (day) => new Date(`${day}T00:00`).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
const wordsOf = (tone, item) => (tone === "clash" ? `${item.by} wrote ${item.shown}` : item.message);

function messagesOf(node) {
  for (let here = node; here; here = parentOf(here)) {
    const box = [...here.children].find((child) => child.matches("[data-messages]"));
    if (box) return box;
  }
  return null;
}

function button(text, action) {
  const element = Object.assign(document.createElement("button"), { type: "button", textContent: text, tabIndex: -1 });
  element.addEventListener("click", action);
  return element;
}
