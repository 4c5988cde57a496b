// What the server says about the label, beside the fields it is about.

import { controlOf, isLeaf, parentOf, rowsOf } from "./label_form.js";

const ICONS = { problem: "exclamation-octagon-fill", warning: "exclamation-triangle-fill", clash: "people-fill", look: "eye-fill" };

export class Checks {
  // `looks`: the fields of a pre-filled form to look at, path -> reasons, or null.
  constructor(form, { confirm, take, remove, right, looks }) {
    this.form = form;
    this.looks = looks;
    this.actions = { confirm, take, remove, right };
    this.drawn = new Map();
    this.open();
  }

  open() {
    this.answer = { problems: [], warnings: [], shown: {}, spans: {}, missing: {}, clashes: [] };
    this.tried = false;
  }

  // Problems a person should see now: that a field is empty is no news until they have been there, or submit.
  get seen() {
    return this.answer.problems.filter((problem) => !this.isQuiet(problem));
  }

  get toFill() {
    return this.answer.problems.filter((problem) => problem.rule === "required");
  }

  get toConfirm() {
    return this.answer.warnings.filter((warning) => warning.rule === "evidence");
  }

  isQuiet(problem) {
    if (problem.rule !== "required") return false;
    const { node } = this.form.find(problem.path);
    if (node.dataset.state !== "absent") return true;
    return !this.tried && !("touched" in node.dataset);
  }

  show(answer) {
    this.answer = { clashes: [], ...answer };
    const wanted = new Map();
    const marked = new Map();
    const add = (tone, item) => {
      const { node, exact } = this.form.find(item.path);
      const cell = node.matches("td") ? node : null;
      const box = messagesOf(cell ? rowsOf(cell) : node);
      if (!box) return;
      if (!wanted.has(box)) wanted.set(box, []);
      wanted.get(box).push({ tone, item, cell, exact });
      if (isLeaf(node) && marked.get(node) !== "problem" && tone !== "look") marked.set(node, tone);
    };
    for (const problem of this.seen) add("problem", problem);
    for (const warning of this.answer.warnings) add("warning", warning);
    for (const [path, of] of Object.entries(this.answer.missing)) {
      if (this.form.model.evidence[path]?.confirmed) add("confirmed", { path, of, message: "is not in the document" });
    }
    for (const clash of this.answer.clashes) add("clash", clash);
    for (const [path, reasons] of Object.entries(this.looks() ?? {})) {
      // What stands there as a message already need not be said twice.
      const said = [...this.seen, ...this.answer.warnings].filter((item) => item.path === path).map((item) => item.message);
      const words = reasons.filter((reason) => !said.includes(reason)).join("; ");
      const settled = [...this.answer.problems, ...this.toConfirm].some((item) => item.path === path);
      if (words || !settled) add("look", { path, message: words, bare: !words, settled });
    }
    this.draw(wanted);
    this.mark(marked);
    this.sides();
  }

  draw(wanted) {
    for (const box of this.drawn.keys()) {
      if (wanted.has(box)) continue;
      const lost = box.contains(document.activeElement);
      box.replaceChildren();
      if (lost) this.refocus(box);
    }
    const drawn = new Map();
    for (const [box, items] of wanted) {
      const signature = JSON.stringify(items.map(({ tone, item, exact }) => [tone, item, exact]));
      if (this.drawn.get(box) !== signature || !box.isConnected) {
        const held = box.contains(document.activeElement) ? document.activeElement.dataset.confirm : undefined;
        const lost = box.contains(document.activeElement);
        box.replaceChildren(...items.map((entry) => this.message(entry)));
        if (lost) this.refocus(box, held);
      }
      drawn.set(box, signature);
    }
    this.drawn = drawn;
  }

  // The button that had the focus is gone: the same one of the new messages has it, or the field they are about.
  refocus(box, confirms = undefined) {
    const same = confirms === undefined ? null : box.querySelector(`[data-confirm="${CSS.escape(confirms)}"]`);
    (same ?? controlOf(box.closest("[data-node]")))?.focus();
  }

  message({ tone, item, cell, exact }) {
    const line = Object.assign(document.createElement("p"), { className: `sf-message sf-message-${tone}` });
    const icon = ICONS[tone];
    if (icon) line.append(Object.assign(document.createElement("i"), { className: `bi bi-${icon}`, ariaHidden: "true" }));
    const where = cell ? `Row ${cell.parentElement.rowIndex}, ${cell.dataset.title}` : exact ? "" : item.path;
    const words = tone === "clash" ? `${item.by} wrote ${item.shown}` : item.message;
    const text = where ? `${where}: ${words}` : words;
    if (cell) line.append(button(text, () => controlOf(cell)?.focus()));
    else if (!item.bare) line.append(Object.assign(document.createElement("span"), { textContent: text }));
    if (tone === "look" && !item.settled) line.append(Object.assign(button("looks right", () => this.actions.right(item.path)), { tabIndex: -1 }));
    if (tone === "clash") line.append(button("take it", () => this.actions.take(item)));
    if (item.rule === "additionalProperties") line.append(button("remove it", () => this.actions.remove(item.path)));
    if (item.rule === "evidence" || tone === "confirmed") line.append(this.confirmation(item, tone === "confirmed"));
    return line;
  }

  confirmation(item, confirmed) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: confirmed });
    box.className = "form-check-input";
    box.dataset.confirm = item.path;
    box.addEventListener("change", () => this.actions.confirm(item.path, box.checked ? this.answer.missing[item.path] : null));
    label.append(box, "it is right all the same");
    return label;
  }

  mark(marked) {
    // Only what is marked or was: a long grid has thousands of cells.
    const before = this.marked?.keys() ?? [];
    this.marked = marked;
    for (const node of new Set([...before, ...marked.keys()])) {
      const tone = marked.get(node);
      node.classList.toggle("has-problem", tone === "problem");
      node.classList.toggle("has-warning", tone === "warning" || tone === "clash");
      const box = messagesOf(node.matches("td") ? rowsOf(node) : node);
      for (const control of node.querySelectorAll("[data-control]")) {
        control.toggleAttribute("aria-invalid", false);
        if (tone === "problem") control.setAttribute("aria-invalid", "true");
        if (tone && box?.id) control.setAttribute("aria-describedby", box.id);
        else control.removeAttribute("aria-describedby");
      }
    }
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

function messagesOf(node) {
  for (let here = node; here; here = parentOf(here)) {
    const box = [...here.children].find((child) => child.matches("[data-messages]"));
    if (box) return box;
  }
  return null;
}

function button(text, action) {
  const element = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  element.addEventListener("click", action);
  return element;
}
