// Where a model filled the form: which fields a person has to look at. What passed every check stays quiet, and Tab goes
// from one to look at to the next. The server says which, and why, with every save.

import { headers } from "./autosave.js";
import { controlOf, isLeaf } from "./form.js";
import { table } from "./paths.js";

const $ = (id) => document.getElementById(id);

export class Exceptions {
  constructor({ page, form, model, checks, confirm, keys, say, changed }) {
    Object.assign(this, { page, form, model, checks, confirm, keys, say, changed });
    this.plan = []; // where Tab goes: what was to be looked at when the person came to the field they are in
    this.only = "exceptionsOnly" in page.dataset;
    this.found = null; // path -> reasons; null: no model filled this form
    $("prefill-toggle").addEventListener("click", () => this.toggle());
    page.addEventListener("focusin", () => (this.plan = this.stops()));
    page.addEventListener("keydown", (event) => this.tab(event));
  }

  get isOn() {
    return this.only && this.found !== null && !$("form").hidden;
  }

  open(state) {
    $("prefill").hidden = state.exceptions === null;
    if (state.prediction) $("prefill-model").textContent = state.prediction.model;
    this.show(state.exceptions);
  }

  show(found) {
    this.found = found && table(found);
    this.draw();
  }

  draw() {
    const looks = new Set(this.nodes());
    for (const node of this.form.root.parentElement.querySelectorAll("[data-look]")) if (!looks.has(node)) delete node.dataset.look;
    for (const node of looks) node.dataset.look = "";
    $("form").toggleAttribute("data-exceptions", this.only && this.found !== null);
    if (this.found === null) return;
    const count = Object.keys(this.found).length;
    const total = this.form.root.querySelectorAll('[data-node="leaf"], [data-node="checks"]').length;
    $("prefill-count").textContent = count ? `${count} of ${Math.max(total, count)} to look at` : `all ${total} fields pass`;
    $("prefill").dataset.tone = count ? "warning" : "good";
    $("prefill-toggle").setAttribute("aria-pressed", String(this.only));
    $("prefill-toggle-words").textContent = this.only ? "Visit all fields" : "Only those to look at";
  }

  nodes() {
    return Object.keys(this.found ?? {}).map((path) => this.form.find(path).node);
  }

  // What Tab visits: the parts to look at, and those that somebody else changed, too.
  stops() {
    if (!this.isOn) return [];
    return [...new Set([...this.nodes(), ...this.checks.answer.clashes.map(({ path }) => this.form.find(path).node)])];
  }

  // The controls of these parts, from top to bottom.
  controls() {
    const controls = this.plan.filter((node) => node.isConnected).map((node) => (isLeaf(node) ? controlOf(node) : null) ?? node.querySelector("[data-add-row], [data-control]"));
    const inOrder = (a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1);
    return [...new Set(controls)].filter(Boolean).sort(inOrder);
  }

  tab(event) {
    if (event.key !== "Tab" || event.ctrlKey || event.altKey || event.metaKey || !this.isOn) return;
    // Above the form stands the switch, behind it the button that submits.
    if (!event.target.closest(event.shiftKey ? "#form, #submit-button" : "#form, #prefill")) return;
    event.preventDefault();
    this.go(event.target, event.shiftKey);
  }

  // Goes to the next field to look at; behind the last one to the button that submits, before the first to the switch.
  go(from, back = false) {
    const side = back ? Node.DOCUMENT_POSITION_PRECEDING : Node.DOCUMENT_POSITION_FOLLOWING;
    const isOther = (stop) => stop.closest("[data-node]") !== from.closest("[data-node]");
    const beyond = this.controls().filter((stop) => isOther(stop) && from.compareDocumentPosition(stop) & side);
    const target = (back ? beyond.at(-1) : beyond[0]) ?? $(back ? "prefill-toggle" : "submit-button");
    target.focus();
    target.closest(".sf-field, .sf-item, tr")?.scrollIntoView({ block: "nearest" });
  }

  focusFirst() {
    this.plan = this.stops();
    const [first] = this.controls();
    if (!first) return false;
    first.focus();
    return true;
  }

  // The field is right as it stands: it is looked at, and the next one comes.
  right(path) {
    if (this.found === null) return;
    const node = this.form.find(path ?? "").node;
    const from = document.activeElement?.closest("#form") ? document.activeElement : controlOf(node) ?? node;
    if (path !== null && (this.found[path] || !this.confirm.isKnown)) this.mark(path);
    this.plan = this.stops();
    this.go(from);
    const left = Object.keys(this.found).length;
    if (!left) this.say(`Everything is looked at. ${this.keys.words("submit")} submits.`);
  }

  mark(path) {
    const { model, checks } = this;
    if (checks.answer.problems.some((problem) => problem.path === path)) {
      this.say("This one does not fit the schema yet.");
      return;
    }
    model.checkpoint();
    model.evidence[path] = { ...model.evidence[path], seen: true };
    this.confirm.ask(path, true);
    const { [path]: _, ...others } = this.found;
    this.show(others);
    this.changed();
  }

  toggle() {
    if (this.found === null) return;
    this.only = !this.only;
    this.plan = this.stops();
    this.draw();
    this.say(this.only ? "Tab visits only the fields to look at." : "Tab visits all fields.");
    const body = new URLSearchParams({ on: this.only ? "1" : "0" });
    const sent = { ...headers(), "content-type": "application/x-www-form-urlencoded" };
    // Only what the next page starts with: where it is not kept, nothing is lost.
    fetch(this.page.dataset.exceptionsUrl, { method: "POST", headers: sent, body }).catch(() => {});
  }
}
