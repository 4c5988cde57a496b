// The rest of what is being typed, as it stands in the document: shown behind the cursor, taken with → or End, a word of
// it with Ctrl+→. ↓ and ↑ show how it goes on elsewhere; after a piece was taken, the next one is shown.

const LEAST = 2; // characters before anything is looked for
const LONGEST = 200_000; // characters of a document that are searched at each key
const PLACES = 200;
const MOST = 6; // ways to go on that are offered
const TEXTS = ["text", "lines"];
const WORDS = ["number", "date"];
const RIGHT_TO_LEFT = /\p{Script=Arabic}|\p{Script=Hebrew}/u;

// How the typed text goes on in the document: [{start, end, rest}] in UTF-16 units, each `rest` once. A text goes on to
// the end of its column, anything else to the next space.
export function waysOn(text, typed, shape) {
  const words = typed.trim().split(/\s+/u);
  if (typed.trim().length < LEAST) return [];
  const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&"));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])${escaped.join("\\s+")}`, "giu");
  const found = new Map();
  let places = 0;
  for (const match of text.slice(0, LONGEST).matchAll(pattern)) {
    if (found.size === MOST || (places += 1) > PLACES) break;
    const end = match.index + match[0].length;
    const rest = pieceAt(text, end, shape) || (WORDS.includes(shape) ? "" : nextPiece(text, end, shape));
    if (rest && !(/\s$/u.test(typed) && !/^\s/u.test(rest)) && !found.has(rest)) found.set(rest, { start: match.index, end: end + rest.length, rest });
  }
  return [...found.values()];
}

function pieceAt(text, from, shape) {
  const line = text.slice(from, from + 400).split("\n", 1)[0];
  if (WORDS.includes(shape)) return /^\S*/u.exec(line)[0].replace(/[,;:.)]+$/u, "");
  return line.trimStart() === line ? line.split(/\s{2,}|\t/u, 1)[0].trimEnd() : /^\s\S+(?:\s\S+)*/u.exec(line)?.[0] ?? "";
}

// What stands behind a place: the next column or line, or for anything but a text the next word.
export function nextPiece(text, end, shape) {
  const space = /^\s+/u.exec(text.slice(end, end + 400))?.[0];
  if (!space) return "";
  const piece = pieceAt(text, end + space.length, shape);
  return piece && space + piece;
}

export class Completion {
  // `take(words, start, end)` puts words of the document, from one character to another, into the field.
  constructor(root, { text, take }) {
    Object.assign(this, { text, take, ways: [], at: 0, input: null });
    this.hint = document.createElement("span");
    this.hint.className = "sf-hint";
    this.hint.setAttribute("aria-hidden", "true");
    root.addEventListener("input", (event) => completes(event.target) && !event.isComposing && this.typed(event.target));
    root.addEventListener("focusout", () => this.hide());
    root.addEventListener("keydown", (event) => this.key(event), { capture: true });
    root.addEventListener("pointerdown", (event) => event.target !== this.hint && this.hide());
  }

  typed(input) {
    const atEnd = input.selectionStart === input.value.length;
    this.show(input, atEnd ? waysOn(this.text.text, input.value, shapeOf(input)) : []);
  }

  show(input, ways) {
    Object.assign(this, { input, ways, at: 0, value: input?.value });
    this.draw();
  }

  hide() {
    this.show(null, []);
  }

  draw() {
    const way = this.ways[this.at];
    this.hint.remove();
    if (!way) return;
    const { input, hint } = this;
    const more = this.ways.length > 1 ? ` ${this.at + 1}/${this.ways.length}` : "";
    const key = Object.assign(document.createElement("kbd"), { textContent: RIGHT_TO_LEFT.test(way.rest) ? "End" : "→" });
    const rest = way.rest.replace(/\s+/gu, " ");
    hint.replaceChildren(/\s$/u.test(input.value) ? rest.trimStart() : rest, key, more);
    input.parentElement.append(hint);
    this.place();
  }

  // Behind the cursor where there is room, else below the field.
  place() {
    const { input, hint } = this;
    const style = getComputedStyle(input);
    const before = widthOf(input.value, style) + parseFloat(style.paddingLeft) + 1;
    const taken = Math.max(parseFloat(style.paddingRight), leafOf(input).querySelector("[data-shown]")?.offsetWidth ?? 0);
    const inside = before + hint.offsetWidth < input.clientWidth - taken && !RIGHT_TO_LEFT.test(input.value);
    hint.classList.toggle("sf-hint-below", !inside);
    hint.style.left = `${input.offsetLeft + (inside ? before : 0)}px`;
    hint.style.top = `${input.offsetTop + (inside ? 0 : input.offsetHeight)}px`;
    hint.style.height = inside ? `${input.offsetHeight}px` : "";
  }

  key(event) {
    if (event.target !== this.input || !this.ways.length) return undefined;
    if (this.input.value !== this.value) return this.hide(); // filled by something else meanwhile
    if (event.altKey || event.metaKey || event.shiftKey || (event.ctrlKey && event.key !== "ArrowRight")) return undefined;
    const atEnd = this.input.selectionStart === this.input.value.length;
    const { key } = event;
    if (!atEnd) return undefined;
    if (key === "Escape") this.hide();
    else if (event.ctrlKey) this.accept({ word: true });
    else if (key === "End" || (key === "ArrowRight" && !RIGHT_TO_LEFT.test(this.input.value))) this.accept();
    else if ((key === "ArrowDown" || key === "ArrowUp") && this.ways.length > 1) this.turn(key === "ArrowDown" ? 1 : -1);
    else return undefined;
    event.preventDefault();
    event.stopPropagation();
    return undefined;
  }

  turn(by) {
    this.at = (this.at + by + this.ways.length) % this.ways.length;
    this.draw();
  }

  accept({ word = false } = {}) {
    const { input } = this;
    const { start, end: last, rest } = this.ways[this.at];
    const end = word ? last - rest.length + /^\s*\S+/u.exec(rest)[0].length : last;
    this.hide();
    this.take(this.text.text.slice(start, end).replace(/\s+/gu, " "), this.text.toPoint(start), this.text.toPoint(end));
    const more = end < last ? this.text.text.slice(end, last) : nextPiece(this.text.text, end, shapeOf(input));
    if (more && input.isConnected) this.show(input, [{ start, end: end + more.length, rest: more }]);
  }
}

const leafOf = (input) => input.closest('[data-node="leaf"]');
const shapeOf = (input) => leafOf(input).dataset.shape;

function completes(input) {
  if (!input.matches?.('input[type="text"][data-control]:not([data-combo]), textarea[data-control]')) return false;
  const leaf = leafOf(input);
  return leaf !== null && !leaf.matches("td") && [...TEXTS, ...WORDS].includes(leaf.dataset.shape) && leaf.dataset.state !== "raw";
}

const canvas = document.createElement("canvas").getContext("2d");
function widthOf(text, style) {
  canvas.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  return canvas.measureText(text).width;
}
