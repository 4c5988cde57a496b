// The pages of a document as images with a box for every line, or as blank sheets with the text in its place. A click on a
// box, or a drag over several, selects their text; marks are drawn over the text they mark.

/** @import { Box, Line, Mark, Page } from "./types" */
/** @import { Slice } from "./page_lines.js" */
/** @import { Selected } from "./text_view.js" */

import { edgesOf, lineAt, selectedText, textOf } from "./page_lines.js";
import { $, find, make } from "../site/dom.js";
import { formatPercent } from "../site/format.js";

/** @typedef {"page" | "both" | "text"} View */
/** @typedef {{ paper: HTMLElement | null, pans: boolean, x: number, y: number, left: number, top: number, moved: boolean }} Drag from where, and how far the sheet was scrolled */
/** @typedef {{ index: number, from: number, to: number }} Cursor lines of a page, selected by keys */

const SVG = "http://www.w3.org/2000/svg";
const ZOOMS = [0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6];
const STILL = 4; // px a pointer may move in a click
const RANK = { faint: 0, other: 1, lit: 2, strong: 3 };
/** @type {View[]} */
const VIEWS = ["page", "both", "text"];
const ANNOUNCED = { page: "The page.", both: "Page and text.", text: "The text." };

/** @param {HTMLElement} paper */
const indexOf = (paper) => Number(paper.dataset.index);

export class PageView {
  /** @type {Page[]} */
  #pages = [];
  /** @type {HTMLElement[]} */
  #papers = [];
  /** @type {Mark[]} */
  #marks = [];
  /** @type {Cursor | null} */
  #cursor = null;
  /** @type {Drag | null} */
  #drag = null;
  /** @type {View} */
  #view = "text";
  #zoom = 1;
  #isPanning = false;

  /**
   * @param {object} options
   * @param {Selected} options.selected
   * @param {Slice} options.slice
   * @param {() => boolean} options.isNumeric whether the field with the focus takes a number
   * @param {(text: string) => void} options.announce
   */
  constructor({ selected, slice, isNumeric, announce }) {
    this.selected = selected;
    this.slice = slice;
    this.isNumeric = isNumeric;
    this.announce = announce;
    this.scroll = $("page-scroll");
    this.sheet = $("page-sheet");
    this.near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.#build(/** @type {HTMLElement} */ (target));
    }, { root: this.scroll, rootMargin: "600px" });
    this.#listen();
  }

  /** @param {Page[]} pages */
  open(pages) {
    this.near.disconnect();
    this.#marks = [];
    this.#cursor = null;
    this.#pages = pages;
    $("page-tools").hidden = !pages.length;
    this.#papers = pages.map(paperOf);
    this.sheet.replaceChildren(...this.#papers);
    for (const paper of this.#papers) this.near.observe(paper);
    this.#show(pages.length ? /** @type {View} */ (localStorage.getItem("label-view") ?? "page") : "text");
    this.scroll.scrollTo(0, 0);
    this.#setZoom(this.#zoom);
    this.#drawNumber();
  }

  // -- what is shown --

  /** @param {View} view */
  #show(view) {
    this.#view = view;
    $("document-views").dataset.shows = view;
    this.scroll.hidden = view === "text";
    $("document-scroll").hidden = view === "page";
    $("page-tools").toggleAttribute("data-text", view === "text");
    for (const button of document.querySelectorAll("[data-document-view]")) {
      button.classList.toggle("active", button.dataset.documentView === view);
      button.setAttribute("aria-pressed", String(button.dataset.documentView === view));
    }
  }

  /** @param {View} view */
  #choose(view) {
    this.#show(view);
    localStorage.setItem("label-view", view);
  }

  /** Shows the next of page, both and text. @returns {boolean} false where the document has no pages */
  turnView() {
    if (!this.#pages.length) return false;
    this.#choose(VIEWS[(VIEWS.indexOf(this.#view) + 1) % VIEWS.length]);
    this.announce(ANNOUNCED[this.#view]);
    return true;
  }

  /** The element that takes the focus in the document. */
  get front() {
    return this.#view === "text" ? $("document-scroll") : this.scroll;
  }

  /** @param {HTMLElement} paper */
  #build(paper) {
    if (paper.childElementCount) return;
    const page = this.#pages[indexOf(paper)];
    if (page.url) {
      const image = Object.assign(new Image(), { alt: `Page ${page.number}`, draggable: false, decoding: "async" });
      image.addEventListener("error", () => {
        image.remove();
        paper.classList.add("page-blank");
        this.#write(paper, page);
      });
      image.src = page.url;
      paper.append(image);
    }
    const layer = makeSvg("svg", { viewBox: `0 0 ${page.width} ${page.height}`, "aria-hidden": "true" });
    layer.append(...["page-texts", "page-marks", "page-lines", "page-band"].map((name) => makeSvg("g", { class: name })));
    for (const [, , left, top, right, bottom] of page.lines) {
      find(layer, ".page-lines").append(makeSvg("rect", { x: left, y: top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) }));
    }
    paper.append(layer);
    if (!page.url) this.#write(paper, page);
    this.#draw(paper);
  }

  /** Draws the text of every box, as wide and high as the box. @param {HTMLElement} paper @param {Page} page */
  #write(paper, page) {
    const texts = page.lines.map(([start, end, left, top, right, bottom]) => {
      const size = (bottom - top) * 0.78;
      const text = makeSvg("text", { x: left, y: bottom - (bottom - top) * 0.22, "font-size": size, textLength: Math.max(1, right - left), lengthAdjust: "spacingAndGlyphs" });
      text.textContent = this.slice(start, end);
      return text;
    });
    paper.querySelector(".page-texts")?.replaceChildren(...texts);
  }

  /** @param {Mark[]} marks */
  mark(marks) {
    this.#marks = marks;
    for (const paper of this.#papers) this.#draw(paper);
  }

  /** @param {HTMLElement} paper */
  #draw(paper) {
    const layer = paper.querySelector(".page-marks");
    if (!layer) return;
    const page = this.#pages[indexOf(paper)];
    const boxes = [];
    for (const mark of this.#marks.toSorted((a, b) => RANK[a.tone] - RANK[b.tone])) {
      if (mark.end <= page.start || mark.start >= page.end) continue;
      for (const line of page.lines) {
        if (mark.start >= line[1] || mark.end <= line[0]) continue;
        const [left, right] = edgesOf(line, mark.start, mark.end);
        boxes.push(makeSvg("rect", { class: `ev-${mark.color} page-mark mark-${mark.tone}`, x: left - 2, y: line[3] - 1, width: right - left + 4, height: line[5] - line[3] + 2, rx: 3, "data-path": mark.path }));
      }
    }
    layer.replaceChildren(...boxes);
  }

  /** Scrolls just as far as needed for a place, in characters, to be in sight. @param {number} point */
  reveal(point) {
    if (this.scroll.hidden) return;
    for (const [index, { lines }] of this.#pages.entries()) {
      const line = lines.find(([start, end]) => start <= point && point < end);
      if (!line) continue;
      this.#revealLine(index, line);
      return;
    }
  }

  /** @param {number} index of the page @param {Line} line */
  #revealLine(index, [, , from, upper, to, lower]) {
    const [paper, pane] = [this.#papers[index].getBoundingClientRect(), this.scroll.getBoundingClientRect()];
    const scale = paper.width / this.#pages[index].width;
    const [top, bottom] = [paper.top + upper * scale, paper.top + lower * scale];
    const [left, right] = [paper.left + from * scale, paper.left + to * scale];
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const down = top < pane.top + 20 || bottom > pane.bottom - 20 ? (top + bottom) / 2 - (pane.top + pane.bottom) / 2 : 0;
    const aside = left < pane.left || right > pane.right ? left - pane.left - 24 : 0;
    if (down || aside) this.scroll.scrollBy({ top: down, left: aside, behavior: isCalm ? "auto" : "smooth" });
  }

  // -- zoom and pages --

  /**
   * The point (x, y) stays where it is; without it the line at the top does.
   * @param {number} zoom @param {number} [x] @param {number} [y]
   */
  #setZoom(zoom, x, y) {
    const pane = this.scroll.getBoundingClientRect();
    const [atX, atY] = [(x ?? pane.left + pane.width / 2) - pane.left, (y ?? pane.top) - pane.top];
    const [fromX, fromY] = [this.scroll.scrollLeft + atX, this.scroll.scrollTop + atY];
    const factor = Math.min(6, Math.max(0.4, zoom)) / this.#zoom;
    this.#zoom *= factor;
    this.sheet.style.setProperty("--zoom", String(this.#zoom));
    this.scroll.scrollTo(fromX * factor - atX, fromY * factor - atY);
    $("zoom-fit").textContent = formatPercent(this.#zoom);
  }

  /** @param {1 | -1} step */
  #zoomBy(step) {
    const next = step > 0 ? ZOOMS.find((zoom) => zoom > this.#zoom + 0.01) : ZOOMS.findLast((zoom) => zoom < this.#zoom - 0.01);
    if (next) this.#setZoom(next);
  }

  /** The page in sight. */
  get #current() {
    const middle = this.scroll.getBoundingClientRect();
    const line = middle.top + middle.height / 3;
    const index = this.#papers.findIndex((paper) => paper.getBoundingClientRect().bottom > line);
    return index < 0 ? this.#papers.length - 1 : index;
  }

  #drawNumber() {
    if (this.#pages.length) $("page-number").textContent = `${this.#current + 1} / ${this.#pages.length}`;
  }

  /** @param {1 | -1} step */
  #turn(step) {
    const target = this.#papers[Math.min(this.#papers.length - 1, Math.max(0, this.#current + step))];
    target?.scrollIntoView({ block: "start" });
    this.#drawNumber();
  }

  // -- pointer --

  #listen() {
    const { scroll } = this;
    for (const button of document.querySelectorAll("[data-document-view]")) {
      button.addEventListener("click", () => this.#choose(/** @type {View} */ (button.dataset.documentView)));
    }
    $("zoom-in").addEventListener("click", () => this.#zoomBy(1));
    $("zoom-out").addEventListener("click", () => this.#zoomBy(-1));
    $("zoom-fit").addEventListener("click", () => this.#setZoom(1));
    $("page-back").addEventListener("click", () => this.#turn(-1));
    $("page-on").addEventListener("click", () => this.#turn(1));
    scroll.addEventListener("scroll", () => this.#drawNumber(), { passive: true });
    scroll.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#setZoom(this.#zoom * Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
    // The field that a selection fills keeps the focus; a click beside the lines brings it here.
    scroll.addEventListener("mousedown", (event) => event.target.closest(".page-paper") && event.preventDefault());
    scroll.addEventListener("pointerdown", (event) => this.#pressed(event));
    scroll.addEventListener("pointermove", (event) => this.#moved(event));
    scroll.addEventListener("pointerup", (event) => this.#released(event));
    scroll.addEventListener("pointercancel", () => this.#endDrag());
    scroll.addEventListener("keydown", (event) => this.#key(event));
    scroll.addEventListener("keyup", (event) => event.code === "Space" && this.#pan(false));
    scroll.addEventListener("blur", () => this.#pan(false));
  }

  /** @param {boolean} on */
  #pan(on) {
    this.#isPanning = on;
    this.scroll.classList.toggle("pans", on);
  }

  /** @param {PointerEvent & Targeted} event */
  #pressed(event) {
    const paper = event.target.closest(".page-paper");
    const pans = event.button === 1 || (event.button === 0 && this.#isPanning);
    if (!paper && !pans) return;
    if (!pans && event.button !== 0) return;
    if (pans) event.preventDefault();
    this.scroll.setPointerCapture(event.pointerId);
    const { clientX: x, clientY: y } = event;
    this.#drag = { paper, pans, x, y, left: this.scroll.scrollLeft, top: this.scroll.scrollTop, moved: false };
  }

  /** @param {PointerEvent & Targeted} event */
  #moved(event) {
    const drag = this.#drag;
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.hypot(dx, dy) > STILL;
    if (drag.pans) this.scroll.scrollTo(drag.left - dx, drag.top - dy);
    else if (drag.moved && drag.paper) this.#band(drag.paper, this.#boxOf(drag, drag.paper, event));
  }

  /** @param {PointerEvent & Targeted} event */
  #released(event) {
    const drag = this.#drag;
    if (!drag) return;
    const { paper } = drag;
    const box = drag.pans || !paper ? null : this.#boxOf(drag, paper, event);
    this.#endDrag();
    if (!box || !paper) return;
    const page = this.#pages[indexOf(paper)];
    if (drag.moved) {
      const found = selectedText(page.lines, box, this.slice);
      if (found) this.selected(found.words, found.start, found.end, found.rows);
      return;
    }
    const line = lineAt(page.lines, box.left, box.top, (page.width / paper.clientWidth) * STILL);
    if (!line) {
      this.scroll.focus({ preventScroll: true });
      return;
    }
    const found = textOf([line], this.slice, this.isNumeric() ? box.left : null);
    this.selected(found.words, found.start, found.end, found.rows);
  }

  #endDrag() {
    if (this.#drag?.paper) this.#band(this.#drag.paper, null);
    this.#drag = null;
  }

  /**
   * From where the pointer was pressed to where it is, in pixels of the page.
   * @param {Drag} drag @param {HTMLElement} paper @param {PointerEvent} event
   * @returns {Box}
   */
  #boxOf(drag, paper, event) {
    const at = paper.getBoundingClientRect();
    const scale = this.#pages[indexOf(paper)].width / at.width;
    // Where the sheet was scrolled since, the start moved with it.
    const start = [drag.x + drag.left - this.scroll.scrollLeft, drag.y + drag.top - this.scroll.scrollTop];
    const xs = [start[0], event.clientX].map((x) => (x - at.left) * scale);
    const ys = [start[1], event.clientY].map((y) => (y - at.top) * scale);
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  }

  /** Draws the rectangle of a drag. @param {HTMLElement} paper @param {Box | null} box */
  #band(paper, box) {
    const page = this.#pages[indexOf(paper)];
    this.#highlight(paper, box ? selectedText(page.lines, box, this.slice)?.lines ?? [] : []);
    const rect = box && makeSvg("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
    find(paper, ".page-band").replaceChildren(...(rect ? [rect] : []));
  }

  /** @param {HTMLElement} paper @param {Line[]} lines */
  #highlight(paper, lines) {
    const chosen = new Set(lines);
    const rects = paper.querySelectorAll(".page-lines rect");
    this.#pages[indexOf(paper)].lines.forEach((line, index) => rects[index]?.classList.toggle("chosen", chosen.has(line)));
  }

  // -- keyboard --

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const run = {
      ArrowDown: () => this.#step(1, event.shiftKey), ArrowUp: () => this.#step(-1, event.shiftKey), Enter: () => this.#take(),
      "+": () => this.#zoomBy(1), "-": () => this.#zoomBy(-1), "0": () => this.#setZoom(1), " ": () => this.#pan(true),
    }[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  }

  /**
   * Goes to the next line; with Shift the lines between are selected as well.
   * @param {1 | -1} delta @param {boolean} extend
   */
  #step(delta, extend) {
    const { index, from, to } = this.#cursor ?? { index: this.#current, from: -1, to: -1 };
    let [page, line] = [index, to + delta];
    if (!extend && line >= this.#pages[index].lines.length && page + 1 < this.#pages.length) [page, line] = [page + 1, 0];
    else if (!extend && line < 0 && page > 0) [page, line] = [page - 1, this.#pages[page - 1].lines.length - 1];
    const { lines } = this.#pages[page];
    line = Math.min(lines.length - 1, Math.max(0, line));
    if (this.#cursor && page !== index) this.#highlight(this.#papers[index], []);
    this.#cursor = { index: page, from: extend && from >= 0 ? from : line, to: line };
    if (!lines.length) return;
    this.#build(this.#papers[page]);
    this.#highlight(this.#papers[page], this.#linesOf(this.#cursor));
    this.#revealLine(page, lines[line]);
    this.announce(this.slice(lines[line][0], lines[line][1]));
  }

  /** @param {Cursor} cursor */
  #linesOf({ index, from, to }) {
    return this.#pages[index].lines.slice(Math.min(from, to), Math.max(from, to) + 1);
  }

  #take() {
    const lines = this.#cursor ? this.#linesOf(this.#cursor) : [];
    if (!this.#cursor || !lines.length) return;
    const found = textOf(lines, this.slice);
    this.#highlight(this.#papers[this.#cursor.index], []);
    this.selected(found.words, found.start, found.end, found.rows);
  }
}

/** @param {Page} page @param {number} index */
function paperOf(page, index) {
  const paper = make("div", { className: page.url ? "page-paper" : "page-paper page-blank" });
  paper.dataset.index = String(index);
  paper.style.aspectRatio = `${page.width} / ${page.height}`;
  return paper;
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function makeSvg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
