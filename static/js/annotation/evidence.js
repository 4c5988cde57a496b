// Between the fields and the document: what is marked, what a selection fills, which place a value stands at.

import { addLines } from "./grid.js";
import { DocumentView } from "./text_view.js";
import { controlOf, isLeaf, stepsOf } from "./form.js";
import { PageView } from "./page_view.js";

const $ = (id) => document.getElementById(id);
const UNTYPED = ["choice", "boolean"];

export class Evidence {
  // `left` is called when a field was left for the first time, `entered` with the path of the one that has the focus now.
  constructor({ model, form, checks, status, left, entered }) {
    Object.assign(this, { model, form, checks, status, entered });
    const selected = (words, start, end) => this.selected(words, start, end);
    this.text = new DocumentView($("document"), $("document-scroll"), { selected, clicked: (path) => form.focus(path) });
    this.pages = new PageView({
      selected,
      slice: (start, end) => this.text.slice(start, end),
      numeric: () => this.node?.dataset.shape === "number",
      say: (words) => status.say(words),
    });
    this.listen($("form"), left);
    this.close();
  }

  open(state) {
    this.close();
    this.text.open(state.text);
    this.pages.open(state.pages);
  }

  close() {
    this.at = null; // the part that had the focus last: what a selection in the document fills
    this.lit = null; // the field under the pointer
    this.block = null; // lines selected for a grid: Alt+R makes rows of them
  }

  get node() {
    return this.at?.isConnected ? this.at : null;
  }

  // Its path: where it stands now, as rows come and go.
  get focused() {
    return this.node === null ? null : this.form.pathOf(this.node);
  }

  listen(root, left) {
    root.addEventListener("focusin", (event) => {
      const node = event.target.closest("[data-node]");
      if (!isLeaf(node) || !event.target.matches("[data-control]")) return;
      this.at = node;
      this.block = null;
      this.entered(this.focused);
      this.draw();
      this.reveal();
      this.line();
    });
    root.addEventListener("input", () => (this.block = null));
    root.addEventListener("focusout", (event) => {
      const node = event.target.closest("[data-node]");
      if (!isLeaf(node) || "touched" in node.dataset || node.contains(event.relatedTarget)) return;
      if (!event.relatedTarget?.closest?.("#form")) return;
      node.dataset.touched = "";
      left();
    });
    root.addEventListener("mouseover", (event) => {
      const node = event.target.closest('[data-node="leaf"]');
      const path = node ? this.form.pathOf(node) : null;
      if (path === this.lit) return;
      this.lit = path;
      this.draw();
    });
  }

  draw() {
    const marks = [];
    for (const leaf of this.form.root.querySelectorAll('[data-node="leaf"]')) {
      const path = this.form.pathOf(leaf);
      const place = this.model.evidence[path];
      const strong = path === this.focused;
      if (!strong && place?.start === undefined) continue;
      const { colour, title } = leaf.dataset;
      if (place?.start !== undefined) {
        const tone = strong ? "strong" : path === this.lit ? "lit" : "faint";
        marks.push({ start: place.start, end: place.end, path, colour, title, tone });
      }
      if (!strong) continue;
      for (const [start, end] of this.checks.answer.spans[path] ?? []) {
        if (start !== place?.start) marks.push({ start, end, path, colour, title, tone: "other" });
      }
    }
    this.text.mark(marks);
    this.pages.mark(marks);
  }

  reveal() {
    const place = this.model.evidence[this.focused];
    if (place?.start === undefined) return;
    this.text.reveal(place.start);
    this.pages.reveal(place.start);
  }

  // The line below the form.
  line() {
    const { node, focused, checks } = this;
    if (this.block) return this.status.block(this.block.lines.length);
    const { shown, spans } = checks.answer;
    const toConfirm = checks.isDoubtful(focused) && !checks.isConfirmed(focused);
    const readings = checks.seen.some((problem) => problem.rule === "ambiguous" && problem.path === focused) ? checks.answer.readings[focused] : [];
    const facts = { shown: shown[focused], place: checks.place(focused), spans: spans[focused], said: checks.about(focused), toConfirm, readings };
    return this.status.field(node, node && isLeaf(node) ? facts : null);
  }

  // Goes to the next place where the focused field's value stands. False: it stands nowhere.
  cycle() {
    const spans = this.checks.answer.spans[this.focused];
    if (!spans?.length) return false;
    const place = this.model.evidence[this.focused];
    const now = spans.findIndex(([start, end]) => start === place?.start && end === place?.end);
    const [start, end] = spans[(now + 1) % spans.length];
    this.model.checkpoint();
    this.model.evidence[this.focused] = { start, end };
    this.checks.sides();
    this.draw();
    this.reveal();
    this.line();
    if (spans.length > 1) this.form.changed();
    return true;
  }

  // Text selected in the document fills the field that had the focus; several lines are kept for a grid.
  selected(words, start, end) {
    const { node, form, model } = this;
    if ($("form").hidden) return;
    const block = words.includes("\n") && this.gridFor(node) ? words.split("\n").filter((line) => line.trim()) : null;
    // A field that holds lines is filled with them; rows can be made of them all the same.
    const filled = node?.dataset.node === "leaf" && !node.matches("td") && node.dataset.shape === "lines";
    this.block = block && !filled ? { lines: block } : null;
    if (this.block) {
      this.line();
      return;
    }
    if (node?.dataset.node !== "leaf" || UNTYPED.includes(node.dataset.shape)) return;
    const before = { path: this.focused, entry: model.get(stepsOf(node)), evidence: model.evidence[this.focused] };
    model.checkpoint();
    model.evidence[this.focused] = { start, end, by: "hand" };
    node.dataset.touched = "";
    const value = words.replace(/\s+/gu, " ");
    form.put(node, node.dataset.shape === "json" ? { $json: JSON.stringify(value) } : value);
    const control = controlOf(node);
    control.focus();
    control.setSelectionRange?.(value.length, value.length);
    if (block) this.block = { lines: block, before };
    this.line();
    this.draw();
  }

  gridFor(node) {
    return node?.closest('[data-node="table"]') ?? this.form.root.querySelector('[data-node="table"]');
  }

  // Makes rows of the selected lines. False: none are selected.
  addBlock(node) {
    if (!this.block) return false;
    const grid = this.gridFor(node);
    const { lines, before } = this.block;
    this.block = null;
    if (before) this.putBack(before);
    const added = addLines(grid, lines, this.form);
    this.status.say(`${added} rows added.`);
    getSelection().removeAllRanges();
    const first = this.model.get(stepsOf(grid)).length - added;
    this.form.focus(`${this.form.pathOf(grid)}[${Math.max(0, first)}]`);
    return true;
  }

  // What a selection filled although it was not meant for the field.
  putBack({ path, entry, evidence }) {
    const { node, exact } = this.form.find(path);
    if (!exact) return;
    if (evidence === undefined) delete this.model.evidence[path];
    else this.model.evidence[path] = evidence;
    this.form.put(node, entry);
  }
}
