// The pages of a document as images with a box for every line, or as blank sheets with the text where it stood. A click
// on a box, or a drag over several, is a selection of their text; marks lie where the text they mark stands.

import { chosenLines, lineAt, piece, wordsOf } from "./page_lines.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const ZOOMS = [0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6];
const STILL = 4; // px a pointer may move in a click

export class PageView {
  // `slice(start, end)` is a part of the document's text; `numeric()`: whether a number is looked for.
  constructor({ selected, slice, numeric, say }) {
    Object.assign(this, { selected, slice, numeric, say });
    this.scroll = $("page-scroll");
    this.sheet = $("page-sheet");
    this.papers = [];
    this.zoom = 1;
    this.near = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && this.build(entry.target)), {
      root: this.scroll, rootMargin: "600px",
    });
    this.listen();
  }

  open(pages) {
    this.near.disconnect();
    this.marks = [];
    this.cursor = null;
    this.pages = pages;
    const there = pages.length > 0;
    $("page-tools").hidden = !there;
    this.papers = pages.map((page, index) => paperOf(page, index));
    this.sheet.replaceChildren(...this.papers);
    for (const paper of this.papers) this.near.observe(paper);
    this.show(there ? localStorage.getItem("label-view") ?? "page" : "text", false);
    this.scroll.scrollTo(0, 0);
    this.setZoom(this.zoom);
    this.number();
  }

  // -- what is shown --

  show(view, keep = true) {
    this.view = view;
    $("document-views").dataset.shows = view;
    this.scroll.hidden = view === "text";
    $("document-scroll").hidden = view === "page";
    $("page-tools").toggleAttribute("data-text", view === "text");
    for (const button of document.querySelectorAll("[data-document-view]")) {
      button.classList.toggle("active", button.dataset.documentView === view);
      button.setAttribute("aria-pressed", String(button.dataset.documentView === view));
    }
    if (keep) localStorage.setItem("label-view", view);
  }

  // The next of page, both and text. False: this document has no pages.
  turnView() {
    if (!this.pages.length) return false;
    const views = ["page", "both", "text"];
    this.show(views[(views.indexOf(this.view) + 1) % views.length]);
    this.say({ page: "The page.", both: "Page and text.", text: "The text." }[this.view]);
    return true;
  }

  // Where the keyboard goes when it goes to the document.
  get front() {
    return this.view === "text" ? $("document-scroll") : this.scroll;
  }

  build(paper) {
    if (paper.childElementCount) return;
    const page = this.pages[paper.dataset.index];
    if (page.url) {
      const image = Object.assign(new Image(), { alt: `Page ${page.number}`, draggable: false, decoding: "async" });
      image.addEventListener("error", () => {
        image.remove();
        paper.classList.add("page-blank");
        this.write(paper, page);
      });
      image.src = page.url;
      paper.append(image);
    }
    const layer = make("svg", { viewBox: `0 0 ${page.width} ${page.height}`, "aria-hidden": "true" });
    layer.append(...["page-texts", "page-marks", "page-lines", "page-band"].map((name) => make("g", { class: name })));
    for (const [, , left, top, right, bottom] of page.lines) {
      layer.querySelector(".page-lines").append(make("rect", { x: left, y: top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) }));
    }
    paper.append(layer);
    if (!page.url) this.write(paper, page);
    this.draw(paper);
  }

  // The text of every box, as wide and high as the box.
  write(paper, page) {
    const texts = page.lines.map(([start, end, left, top, right, bottom]) => {
      const size = (bottom - top) * 0.78;
      const text = make("text", { x: left, y: bottom - (bottom - top) * 0.22, "font-size": size, textLength: Math.max(1, right - left), lengthAdjust: "spacingAndGlyphs" });
      text.textContent = this.slice(start, end);
      return text;
    });
    paper.querySelector(".page-texts")?.replaceChildren(...texts);
  }

  mark(marks) {
    this.marks = marks;
    for (const paper of this.papers) this.draw(paper);
  }

  draw(paper) {
    const layer = paper.querySelector(".page-marks");
    if (!layer) return;
    const page = this.pages[paper.dataset.index];
    const boxes = [];
    const rank = { faint: 0, other: 1, lit: 2, strong: 3 };
    for (const mark of [...this.marks].sort((a, b) => rank[a.tone] - rank[b.tone])) {
      if (mark.end <= page.start || mark.start >= page.end) continue;
      for (const line of page.lines) {
        if (mark.start >= line[1] || mark.end <= line[0]) continue;
        const [left, right] = piece(line, mark.start, mark.end);
        boxes.push(make("rect", { class: `ev-${mark.colour} page-mark mark-${mark.tone}`, x: left - 2, y: line[3] - 1, width: right - left + 4, height: line[5] - line[3] + 2, rx: 3, "data-path": mark.path }));
      }
    }
    layer.replaceChildren(...boxes);
  }

  // Scrolls just as far as needed for a place to be seen.
  reveal(point) {
    if (this.scroll.hidden) return;
    const index = this.pages.findIndex((page) => page.lines.some(([start, end]) => start <= point && point < end));
    if (index < 0) return;
    const [, , left, top, right, bottom] = this.pages[index].lines.find(([start, end]) => start <= point && point < end);
    this.revealBox(index, { left, top, right, bottom });
  }

  revealBox(index, box) {
    const [paper, pane] = [this.papers[index].getBoundingClientRect(), this.scroll.getBoundingClientRect()];
    const scale = paper.width / this.pages[index].width;
    const [top, bottom] = [paper.top + box.top * scale, paper.top + box.bottom * scale];
    const [left, right] = [paper.left + box.left * scale, paper.left + box.right * scale];
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const down = top < pane.top + 20 || bottom > pane.bottom - 20 ? (top + bottom) / 2 - (pane.top + pane.bottom) / 2 : 0;
    const aside = left < pane.left || right > pane.right ? left - pane.left - 24 : 0;
    if (down || aside) this.scroll.scrollBy({ top: down, left: aside, behavior: calm ? "auto" : "smooth" });
  }

  // -- zoom and pages --

  // The place under (x, y) stays where it is; without them the line at the top does.
  setZoom(zoom, x, y) {
    const pane = this.scroll.getBoundingClientRect();
    const [atX, atY] = [(x ?? pane.left + pane.width / 2) - pane.left, (y ?? pane.top) - pane.top];
    const [fromX, fromY] = [this.scroll.scrollLeft + atX, this.scroll.scrollTop + atY];
    const factor = Math.min(6, Math.max(0.4, zoom)) / this.zoom;
    this.zoom *= factor;
    this.sheet.style.setProperty("--zoom", this.zoom);
    this.scroll.scrollTo(fromX * factor - atX, fromY * factor - atY);
    $("zoom-fit").textContent = `${Math.round(this.zoom * 100)} %`;
  }

  zoomBy(step) {
    const next = step > 0 ? ZOOMS.find((zoom) => zoom > this.zoom + 0.01) : ZOOMS.findLast((zoom) => zoom < this.zoom - 0.01);
    if (next) this.setZoom(next);
  }

  get here() {
    const middle = this.scroll.getBoundingClientRect();
    const line = middle.top + middle.height / 3;
    const index = this.papers.findIndex((paper) => paper.getBoundingClientRect().bottom > line);
    return index < 0 ? this.papers.length - 1 : index;
  }

  number() {
    if (this.pages.length) $("page-number").textContent = `${this.here + 1} / ${this.pages.length}`;
  }

  turn(step) {
    const target = this.papers[Math.min(this.papers.length - 1, Math.max(0, this.here + step))];
    target?.scrollIntoView({ block: "start" });
    this.number();
  }

  // -- pointer --

  listen() {
    const { scroll } = this;
    for (const button of document.querySelectorAll("[data-document-view]")) {
      button.addEventListener("click", () => this.show(button.dataset.documentView));
    }
    $("zoom-in").addEventListener("click", () => this.zoomBy(1));
    $("zoom-out").addEventListener("click", () => this.zoomBy(-1));
    $("zoom-fit").addEventListener("click", () => this.setZoom(1));
    $("page-back").addEventListener("click", () => this.turn(-1));
    $("page-on").addEventListener("click", () => this.turn(1));
    scroll.addEventListener("scroll", () => this.number(), { passive: true });
    scroll.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.setZoom(this.zoom * Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    }, { passive: false });
    // The field that a selection fills keeps the focus; a click beside the lines brings it here.
    scroll.addEventListener("mousedown", (event) => event.target.closest(".page-paper") && event.preventDefault());
    scroll.addEventListener("pointerdown", (event) => this.pressed(event));
    scroll.addEventListener("pointermove", (event) => this.moved(event));
    scroll.addEventListener("pointerup", (event) => this.released(event));
    scroll.addEventListener("pointercancel", () => this.drop());
    scroll.addEventListener("keydown", (event) => this.key(event));
    scroll.addEventListener("keyup", (event) => event.code === "Space" && this.space(false));
    scroll.addEventListener("blur", () => this.space(false));
  }

  space(held) {
    this.panning = held;
    this.scroll.classList.toggle("pans", held);
  }

  pressed(event) {
    const paper = event.target.closest(".page-paper");
    const pans = event.button === 1 || (event.button === 0 && this.panning);
    if (!paper && !pans) return;
    if (!pans && event.button !== 0) return;
    if (pans) event.preventDefault();
    this.scroll.setPointerCapture(event.pointerId);
    const { clientX: x, clientY: y } = event;
    this.drag = { paper, pans, x, y, left: this.scroll.scrollLeft, top: this.scroll.scrollTop, moved: false };
  }

  moved(event) {
    const { drag } = this;
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.hypot(dx, dy) > STILL;
    if (drag.pans) this.scroll.scrollTo(drag.left - dx, drag.top - dy);
    else if (drag.moved) this.band(drag.paper, this.boxOf(drag, event));
  }

  released(event) {
    const { drag } = this;
    if (!drag) return;
    const box = drag.pans ? null : this.boxOf(drag, event);
    this.drop();
    if (!box) return;
    const page = this.pages[drag.paper.dataset.index];
    if (drag.moved) {
      const found = chosenLines(page.lines, box, this.slice);
      if (found) this.selected(found.words, found.start, found.end);
      return;
    }
    const line = lineAt(page.lines, box.left, box.top, page.width / drag.paper.clientWidth * STILL);
    if (!line) {
      this.scroll.focus({ preventScroll: true });
      return;
    }
    const found = wordsOf([line], this.slice, this.numeric() ? box.left : null);
    this.selected(found.words, found.start, found.end);
  }

  drop() {
    if (this.drag?.paper) this.band(this.drag.paper, null);
    this.drag = null;
  }

  // From where the pointer was pressed to where it is, in pixels of the page.
  boxOf(drag, event) {
    const at = drag.paper.getBoundingClientRect();
    const scale = this.pages[drag.paper.dataset.index].width / at.width;
    // Where the sheet was scrolled meanwhile, the start moved with it.
    const start = [drag.x + drag.left - this.scroll.scrollLeft, drag.y + drag.top - this.scroll.scrollTop];
    const xs = [start[0], event.clientX].map((x) => (x - at.left) * scale);
    const ys = [start[1], event.clientY].map((y) => (y - at.top) * scale);
    return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
  }

  band(paper, box) {
    const page = this.pages[paper.dataset.index];
    const chosen = box ? chosenLines(page.lines, box, this.slice)?.lines ?? [] : [];
    this.light(paper, chosen);
    const rect = box && make("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
    paper.querySelector(".page-band").replaceChildren(...(rect ? [rect] : []));
  }

  light(paper, lines) {
    const chosen = new Set(lines);
    const rects = paper.querySelectorAll(".page-lines rect");
    this.pages[paper.dataset.index].lines.forEach((line, index) => rects[index]?.classList.toggle("chosen", chosen.has(line)));
  }

  // -- keyboard --

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const does = {
      ArrowDown: () => this.step(1, event.shiftKey), ArrowUp: () => this.step(-1, event.shiftKey), Enter: () => this.take(),
      "+": () => this.zoomBy(1), "-": () => this.zoomBy(-1), "0": () => this.setZoom(1), " ": () => this.space(true),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  // Goes to the next line; with Shift the lines between are chosen as well.
  step(delta, extend) {
    const index = this.cursor?.index ?? this.here;
    const [from, to] = [this.cursor?.from ?? -1, this.cursor?.to ?? -1];
    const count = this.pages[index].lines.length;
    let [page, line] = [index, to + delta];
    if (!extend && line >= count && page + 1 < this.pages.length) [page, line] = [page + 1, 0];
    else if (!extend && line < 0 && page > 0) [page, line] = [page - 1, this.pages[page - 1].lines.length - 1];
    line = Math.min(this.pages[page].lines.length - 1, Math.max(0, line));
    if (this.cursor && page !== index) this.light(this.papers[index], []);
    this.cursor = { index: page, from: extend && from >= 0 ? from : line, to: line };
    if (!this.pages[page].lines.length) return;
    this.build(this.papers[page]);
    this.light(this.papers[page], this.cursorLines);
    const [start, end, left, top, right, bottom] = this.pages[page].lines[line];
    this.revealBox(page, { left, top, right, bottom });
    this.say(this.slice(start, end));
  }

  get cursorLines() {
    const { index, from, to } = this.cursor;
    return this.pages[index].lines.slice(Math.min(from, to), Math.max(from, to) + 1);
  }

  take() {
    if (!this.cursor || !this.cursorLines.length) return;
    const found = wordsOf(this.cursorLines, this.slice);
    this.light(this.papers[this.cursor.index], []);
    this.selected(found.words, found.start, found.end);
  }
}

function paperOf(page, index) {
  const paper = document.createElement("div");
  paper.className = page.url ? "page-paper" : "page-paper page-blank";
  paper.dataset.index = index;
  paper.style.aspectRatio = `${page.width} / ${page.height}`;
  return paper;
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
