// The document's text with evidence marked in it, and what a person selects there. Text is only ever set as text.

export class DocumentView {
  constructor(root, scroll, { selected, clicked }) {
    this.root = root;
    this.scroll = scroll;
    this.lines = [];
    // A click takes the old selection away only after the button is up, so it is read a moment later; a key pressed in
    // that moment is for what was selected.
    const settle = () => {
      if (this.settling === null) return;
      clearTimeout(this.settling);
      this.settling = null;
      this.select(selected);
    };
    this.settling = null;
    root.addEventListener("mouseup", () => (this.settling ??= setTimeout(settle)));
    document.addEventListener("keydown", settle, true);
    root.addEventListener("click", (event) => {
      const mark = event.target.closest(".mark");
      if (mark && getSelection().isCollapsed) clicked(mark.dataset.path);
    });
  }

  open(text) {
    this.text = text;
    // The server counts characters, a browser UTF-16 units; they differ only beyond the basic plane.
    this.units = /[\u{10000}-\u{10ffff}]/u.test(text) ? unitsOf(text) : null;
    this.root.replaceChildren();
    this.lines = [];
    let start = 0;
    for (const line of text.split("\n")) {
      const element = document.createElement("div");
      element.className = "line";
      element.dir = "auto"; // each line runs as its script does
      element.textContent = line;
      this.root.append(element);
      this.lines.push({ start, text: line, element, drawn: "" });
      start += line.length + 1;
    }
    this.scroll.scrollTop = 0;
  }

  toUnit(point) {
    return this.units ? this.units[Math.min(point, this.units.length - 1)] : point;
  }

  // The text between two places, counted in characters.
  slice(start, end) {
    return this.text.slice(this.toUnit(start), this.toUnit(end));
  }

  toPoint(unit) {
    if (!this.units) return unit;
    let low = 0;
    let high = this.units.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.units[middle] < unit) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // marks: [{start, end, path, colour, tone}], offsets in characters; tone is faint, other, lit or strong.
  mark(marks) {
    const placed = marks
      .map((mark) => ({ ...mark, from: this.toUnit(mark.start), to: this.toUnit(mark.end) }))
      .sort((a, b) => a.from - b.from);
    let first = 0;
    for (const line of this.lines) {
      const end = line.start + line.text.length;
      while (first < placed.length && placed[first].to <= line.start && placed[first].from < line.start) first += 1;
      const here = [];
      for (let index = first; index < placed.length && placed[index].from < end; index += 1) {
        if (placed[index].to > line.start) here.push(placed[index]);
      }
      this.draw(line, here);
    }
  }

  draw(line, marks) {
    const wanted = marks.map((m) => `${m.from}-${m.to}-${m.path}-${m.colour}-${m.tone}`).join("|");
    if (wanted === line.drawn) return;
    line.drawn = wanted;
    const cuts = new Set([0, line.text.length]);
    for (const mark of marks) {
      cuts.add(Math.max(0, mark.from - line.start));
      cuts.add(Math.min(line.text.length, mark.to - line.start));
    }
    const places = [...cuts].sort((a, b) => a - b);
    const parts = [];
    for (let index = 0; index + 1 < places.length; index += 1) {
      const [from, to] = [places[index], places[index + 1]];
      const over = marks.filter((m) => m.from - line.start <= from && m.to - line.start >= to);
      const text = line.text.slice(from, to);
      parts.push(over.length ? markElement(text, over.sort((a, b) => RANK[b.tone] - RANK[a.tone])[0]) : text);
    }
    line.element.replaceChildren(...parts);
  }

  // Scrolls just as far as needed for a place to be seen.
  reveal(point) {
    const unit = this.toUnit(point);
    const line = this.lines.findLast((candidate) => candidate.start <= unit);
    if (!line) return;
    const target = line.element.querySelector(".mark-strong") ?? line.element;
    const [box, pane] = [target.getBoundingClientRect(), this.scroll.getBoundingClientRect()];
    if (box.top >= pane.top + 24 && box.bottom <= pane.bottom - 24) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    target.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  }

  select(selected) {
    const selection = getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return;
    const range = selection.getRangeAt(0);
    if (!this.root.contains(range.commonAncestorContainer)) return;
    let [start, end] = [this.offset(range.startContainer, range.startOffset), this.offset(range.endContainer, range.endOffset)];
    while (start < end && /\s/u.test(this.text[start])) start += 1;
    while (end > start && /\s/u.test(this.text[end - 1])) end -= 1;
    if (start < end) selected(this.text.slice(start, end), this.toPoint(start), this.toPoint(end));
  }

  offset(node, inside) {
    if (node === this.root) return this.lines[inside]?.start ?? this.text.length;
    const element = (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement).closest(".line");
    const line = this.lines.find((candidate) => candidate.element === element);
    if (!line) return this.text.length;
    const range = document.createRange();
    range.setStart(element, 0);
    range.setEnd(node, inside);
    return line.start + range.toString().length;
  }
}

const RANK = { faint: 0, other: 1, lit: 2, strong: 3 };

function markElement(text, mark) {
  const element = document.createElement("mark");
  element.className = `mark ev-${mark.colour} mark-${mark.tone}`;
  element.dataset.path = mark.path;
  element.title = mark.title ?? "";
  element.textContent = text;
  return element;
}

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
