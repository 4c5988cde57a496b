// The document's text with evidence marked in it, and what the user selects there. Text is only ever set as text.

/** @import { Mark } from "./types" */

import { make } from "../site/dom.js";

/** @typedef {{ start: number, text: string, element: HTMLElement, drawn: string }} TextLine `drawn`: the marks that it shows */
/** @typedef {Mark & { from: number, to: number }} PlacedMark in UTF-16 units */
/**
 * @typedef {(words: string, start: number, end: number, rows?: [start: number, end: number][][]) => void} Selected
 *   gets a selection with its place in characters; `rows`: its parts by line, where the lines of a page are selected
 * @typedef {{ text: string, unitAt: (index: number) => number }} DocumentLine `unitAt`: the place in the document, in UTF-16 units
 */

const RANK = { faint: 0, other: 1, lit: 2, strong: 3 };

export class TextView {
  text = "";
  /** @type {TextLine[]} */
  #lines = [];
  /** Where each character begins, in UTF-16 units; null where they are the same. @type {number[] | null} */
  #units = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #settling = null;

  /**
   * @param {HTMLElement} root @param {HTMLElement} scroll
   * @param {object} callbacks
   * @param {Selected} callbacks.selected
   * @param {(path: string) => void} callbacks.clicked
   * @param {(isSelected: boolean) => void} callbacks.touched text is selected by a finger, which may still extend it
   */
  constructor(root, scroll, { selected, clicked, touched }) {
    this.root = root;
    this.scroll = scroll;
    this.selected = selected;
    let isTouch = false;
    root.addEventListener("pointerdown", (event) => (isTouch = event.pointerType === "touch"));
    // A click clears the old selection only after the button is up, so it is read a moment later; a key pressed in that
    // moment is for what was selected.
    root.addEventListener("mouseup", () => {
      if (!isTouch) this.#settling ??= setTimeout(() => this.settle());
    });
    document.addEventListener("keydown", () => this.settle(), true);
    document.addEventListener("selectionchange", () => isTouch && touched(this.#range !== null));
    root.addEventListener("click", (event) => {
      const path = event.target.closest(".mark")?.dataset.path;
      if (path !== undefined && getSelection()?.isCollapsed) clicked(path);
    });
  }

  /** Reads what was selected a moment ago: drawing marks would clear it. */
  settle() {
    if (this.#settling === null) return;
    clearTimeout(this.#settling);
    this.#settling = null;
    this.readSelection();
  }

  /** @param {string} text */
  open(text) {
    this.text = text;
    this.#units = /[\u{10000}-\u{10ffff}]/u.test(text) ? unitsOf(text) : null;
    this.#lines = [];
    let start = 0;
    for (const line of text.split("\n")) {
      const element = make("div", { className: "line", dir: "auto", textContent: line }); // each line runs as its script does
      this.#lines.push({ start, text: line, element, drawn: "" });
      start += line.length + 1;
    }
    this.root.replaceChildren(...this.#lines.map(({ element }) => element));
    this.scroll.scrollTop = 0;
  }

  /** The UTF-16 unit of a place in characters, as the server counts. @param {number} point */
  toUnit(point) {
    return this.#units ? this.#units[Math.min(point, this.#units.length - 1)] : point;
  }

  /** The text between two places in characters. @param {number} start @param {number} end */
  slice(start, end) {
    return this.text.slice(this.toUnit(start), this.toUnit(end));
  }

  /** The whole lines around the text between two places in characters. @param {number} start @param {number} end @returns {DocumentLine[]} */
  linesBetween(start, end) {
    const [from, to] = [this.toUnit(start), this.toUnit(end)];
    const lines = this.#lines.filter((line) => line.start < to && line.start + line.text.length >= from);
    return lines.map((line) => ({ text: line.text, unitAt: (index) => line.start + index }));
  }

  /** A line of a table from its parts, two blanks apart. @param {[start: number, end: number][]} parts @returns {DocumentLine} */
  lineOf(parts) {
    let text = "";
    /** @type {number[]} */
    const units = [];
    for (const [start, end] of parts) {
      const separator = text ? "  " : "";
      const [from, to] = [this.toUnit(start), this.toUnit(end)];
      text += separator + this.text.slice(from, to);
      while (units.length < text.length - (to - from)) units.push(from);
      for (let unit = from; unit < to; unit += 1) units.push(unit);
    }
    return { text, unitAt: (index) => units[index] };
  }

  /** The last lines with text before a place in characters. @param {number} start @param {number} count */
  linesAbove(start, count) {
    const unit = this.toUnit(start);
    const above = this.#lines.filter((line) => line.start + line.text.length < unit && line.text.trim());
    return above.slice(-count).map(({ text }) => text);
  }

  /** The place in characters of a UTF-16 unit. @param {number} unit */
  toPoint(unit) {
    if (!this.#units) return unit;
    let low = 0;
    let high = this.#units.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#units[middle] < unit) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {Mark[]} marks */
  mark(marks) {
    const placed = marks
      .map((mark) => ({ ...mark, from: this.toUnit(mark.start), to: this.toUnit(mark.end) }))
      .sort((a, b) => a.from - b.from);
    let first = 0;
    for (const line of this.#lines) {
      const end = line.start + line.text.length;
      while (first < placed.length && placed[first].to <= line.start && placed[first].from < line.start) first += 1;
      const here = [];
      for (let index = first; index < placed.length && placed[index].from < end; index += 1) {
        if (placed[index].to > line.start) here.push(placed[index]);
      }
      drawLine(line, here);
    }
  }

  /** Scrolls just as far as needed for a place, in characters, to be in sight. @param {number} point */
  reveal(point) {
    const unit = this.toUnit(point);
    const line = this.#lines.findLast((candidate) => candidate.start <= unit);
    if (!line) return;
    const target = line.element.querySelector(".mark-strong") ?? line.element;
    const [box, pane] = [target.getBoundingClientRect(), this.scroll.getBoundingClientRect()];
    if (box.top >= pane.top + 24 && box.bottom <= pane.bottom - 24) return;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    target.scrollIntoView({ block: "center", behavior: isCalm ? "auto" : "smooth" });
  }

  /** What is selected in the text. */
  get #range() {
    const selection = getSelection();
    if (!selection?.rangeCount || selection.isCollapsed) return null;
    const range = selection.getRangeAt(0);
    return this.root.contains(range.commonAncestorContainer) ? range : null;
  }

  /** Takes what is selected. */
  readSelection() {
    const range = this.#range;
    if (!range) return;
    let [start, end] = [this.#offset(range.startContainer, range.startOffset), this.#offset(range.endContainer, range.endOffset)];
    while (start < end && /\s/u.test(this.text[start])) start += 1;
    while (end > start && /\s/u.test(this.text[end - 1])) end -= 1;
    if (start < end) this.selected(this.text.slice(start, end), this.toPoint(start), this.toPoint(end));
  }

  /** The UTF-16 unit of a place in the page. @param {Node} node @param {number} inner */
  #offset(node, inner) {
    if (node === this.root) return this.#lines[inner]?.start ?? this.text.length;
    const element = (node instanceof Element ? node : node.parentElement)?.closest(".line");
    const line = this.#lines.find((candidate) => candidate.element === element);
    if (!line) return this.text.length;
    const range = document.createRange();
    range.setStart(line.element, 0);
    range.setEnd(node, inner);
    return line.start + range.toString().length;
  }
}

/** @param {TextLine} line @param {PlacedMark[]} marks */
function drawLine(line, marks) {
  const drawn = marks.map((mark) => `${mark.from}-${mark.to}-${mark.path}-${mark.color}-${mark.tone}`).join("|");
  if (drawn === line.drawn) return;
  line.drawn = drawn;
  const cuts = new Set([0, line.text.length]);
  for (const mark of marks) {
    cuts.add(Math.max(0, mark.from - line.start));
    cuts.add(Math.min(line.text.length, mark.to - line.start));
  }
  const places = [...cuts].sort((a, b) => a - b);
  const parts = places.slice(0, -1).map((from, index) => {
    const to = places[index + 1];
    const text = line.text.slice(from, to);
    const [top] = marks
      .filter((mark) => mark.from - line.start <= from && mark.to - line.start >= to)
      .sort((a, b) => RANK[b.tone] - RANK[a.tone]);
    return top ? markElement(text, top) : text;
  });
  line.element.replaceChildren(...parts);
}

/** @param {string} text @param {Mark} mark */
function markElement(text, mark) {
  const element = make("mark", { className: `mark ev-${mark.color} mark-${mark.tone}`, title: mark.title ?? "", textContent: text });
  element.dataset.path = mark.path;
  return element;
}

/** @param {string} text */
function unitsOf(text) {
  const units = [];
  let unit = 0;
  for (const character of text) {
    units.push(unit);
    unit += character.length;
  }
  units.push(unit);
  return units;
}
