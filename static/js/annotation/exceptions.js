// Exception-only labeling: where a model filled the form, Tab goes only to the fields that need a review. The server says
// which and why with every save.

/** @import { Confirmations } from "./confirmations.js" */
/** @import { Draft } from "./draft.js" */
/** @import { Form } from "./form.js" */
/** @import { Shortcuts } from "./shortcuts.js" */
/** @import { ByPath, DocumentState } from "./types" */
/** @import { Validation } from "./validation.js" */

import { controlOf, isLeaf } from "./nodes.js";
import { table } from "./paths.js";
import { $ } from "../site/dom.js";
import { headers } from "../site/http.js";

export class Exceptions {
  /** Reasons to review a field; null where no model filled the form. @type {ByPath<string[]> | null} */
  reasons = null;
  /** Where Tab goes: what was to be reviewed when the user came to the current field. @type {Element[]} */
  #stops = [];

  /**
   * @param {object} options
   * @param {HTMLElement} options.page
   * @param {Form} options.form
   * @param {Draft} options.draft
   * @param {Validation} options.validation
   * @param {Confirmations} options.confirmations
   * @param {Shortcuts} options.shortcuts
   * @param {(text: string) => void} options.announce
   * @param {() => void} options.changed
   */
  constructor({ page, form, draft, validation, confirmations, shortcuts, announce, changed }) {
    this.page = page;
    this.form = form;
    this.draft = draft;
    this.validation = validation;
    this.confirmations = confirmations;
    this.shortcuts = shortcuts;
    this.announce = announce;
    this.changed = changed;
    this.isOnly = "exceptionsOnly" in page.dataset;
    $("prefill-toggle").addEventListener("click", () => this.toggle());
    page.addEventListener("focusin", () => (this.#stops = this.#nodesToVisit()));
    page.addEventListener("keydown", (event) => this.#tab(event));
  }

  get #isActive() {
    return this.isOnly && this.reasons !== null && !$("form").hidden;
  }

  /** @param {DocumentState} state */
  open(state) {
    $("prefill").hidden = state.exceptions === null;
    if (state.prediction) $("prefill-model").textContent = state.prediction.model;
    this.show(state.exceptions);
  }

  /** @param {ByPath<string[]> | null} reasons */
  show(reasons) {
    this.reasons = reasons && table(reasons);
    this.draw();
  }

  draw() {
    const nodes = new Set(this.#nodes());
    for (const node of $("form").querySelectorAll("[data-look]")) if (!nodes.has(node)) delete node.dataset.look;
    for (const node of nodes) node.dataset.look = "";
    $("form").toggleAttribute("data-exceptions", this.isOnly && this.reasons !== null);
    if (this.reasons === null) return;
    const count = Object.keys(this.reasons).length;
    const total = this.form.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]').length;
    $("prefill-count").textContent = count ? `${count} of ${Math.max(total, count)} to review` : `all ${total} fields pass`;
    $("prefill").dataset.tone = count ? "warning" : "good";
    $("prefill-toggle").setAttribute("aria-pressed", String(this.isOnly));
    $("prefill-toggle-words").textContent = this.isOnly ? "Visit all fields" : "Visit only fields to review";
  }

  #nodes() {
    return Object.keys(this.reasons ?? {}).map((path) => this.form.find(path).node);
  }

  /** What Tab visits: nodes to review, and those with a conflict. */
  #nodesToVisit() {
    if (!this.#isActive) return [];
    return [...new Set([...this.#nodes(), ...this.validation.shown.conflicts.map(({ path }) => this.form.find(path).node)])];
  }

  /** The controls to visit, from top to bottom. */
  #controls() {
    const controls = this.#stops
      .filter((node) => node.isConnected)
      .map((node) => (isLeaf(node) ? controlOf(node) : null) ?? node.querySelector("[data-add-row], [data-control]"))
      .filter((control) => control !== null);
    const inOrder = (/** @type {Node} */ a, /** @type {Node} */ b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
    return [...new Set(controls)].sort(inOrder);
  }

  /** @param {KeyboardEvent & Targeted} event */
  #tab(event) {
    if (event.key !== "Tab" || event.ctrlKey || event.altKey || event.metaKey || !this.#isActive) return;
    // The switch is above the form, the submit button below it.
    if (!event.target.closest(event.shiftKey ? "#form, #submit-button" : "#form, #prefill")) return;
    event.preventDefault();
    this.#go(event.target, event.shiftKey);
  }

  /**
   * Goes to the next field to review; after the last one to the submit button, before the first to the switch.
   * @param {Element} from
   */
  #go(from, back = false) {
    const side = back ? Node.DOCUMENT_POSITION_PRECEDING : Node.DOCUMENT_POSITION_FOLLOWING;
    const isOther = (/** @type {Element} */ stop) => stop.closest("[data-node]") !== from.closest("[data-node]");
    const beyond = this.#controls().filter((stop) => isOther(stop) && from.compareDocumentPosition(stop) & side);
    const target = (back ? beyond.at(-1) : beyond[0]) ?? $(back ? "prefill-toggle" : "submit-button");
    target.focus();
    target.closest(".sf-field, .sf-item, tr")?.scrollIntoView({ block: "nearest" });
  }

  /** @returns {boolean} false where there is nothing to review */
  focusFirst() {
    this.#stops = this.#nodesToVisit();
    const [first] = this.#controls();
    first?.focus();
    return Boolean(first);
  }

  /** Marks the field as reviewed, and goes to the next one. @param {string | null} path */
  markReviewed(path) {
    if (this.reasons === null) return;
    const { node } = this.form.find(path ?? "");
    const { activeElement } = document;
    const from = activeElement?.closest("#form") ? activeElement : controlOf(node) ?? node;
    if (path !== null && (this.reasons[path] || !this.confirmations.isChecked)) this.#mark(path, this.reasons);
    this.#stops = this.#nodesToVisit();
    this.#go(from);
    if (!Object.keys(this.reasons).length) this.announce(`Every field is reviewed. ${this.shortcuts.label("submit")} submits.`);
  }

  /** @param {string} path @param {ByPath<string[]>} reasons */
  #mark(path, reasons) {
    const { draft, validation } = this;
    if (validation.shown.problems.some((problem) => problem.path === path)) {
      this.announce("This value does not match the schema yet.");
      return;
    }
    draft.checkpoint();
    draft.evidence[path] = { ...draft.evidence[path], seen: true };
    this.confirmations.ask(path, true);
    const { [path]: _, ...others } = reasons;
    this.show(others);
    this.changed();
  }

  toggle() {
    if (this.reasons === null) return;
    this.isOnly = !this.isOnly;
    this.#stops = this.#nodesToVisit();
    this.draw();
    this.announce(this.isOnly ? "Tab visits only fields to review." : "Tab visits all fields.");
    const body = new URLSearchParams({ on: this.isOnly ? "1" : "0" });
    const form = { ...headers(), "content-type": "application/x-www-form-urlencoded" };
    // Only the default of the next page: a failure loses nothing.
    fetch(this.page.dataset.exceptionsUrl ?? "", { method: "POST", headers: form, body }).catch(() => {});
  }
}
