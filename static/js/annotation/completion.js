// Completes what is being typed from the document: the rest is shown behind the cursor and taken with →, End, a click or a
// tap, a word of it with Ctrl+→. ↓ and ↑ show other continuations; after a piece was taken, the next one is shown.

/** @import { TextView } from "./text_view.js" */

import { around, make } from "../site/dom.js";

/** @typedef {{ start: number, end: number, rest: string }} Suggestion a place of the document, in UTF-16 units, and what of it is not typed yet */

const MIN_TYPED = 2; // characters before anything is suggested
const MAX_SEARCHED = 200_000; // characters of a document that are searched at each key
const MAX_MATCHES = 200;
const MAX_SUGGESTIONS = 6;
const SHAPES = ["text", "lines", "number", "date"];
const RIGHT_TO_LEFT = /\p{Script=Arabic}|\p{Script=Hebrew}/u;

const GAP = "[ \\t\\u00a0.,/'’-]";
const MONTH = "\\p{L}[\\p{L}\\p{M}]{2,11}";
const YEAR = "(?:(?:1[89]|2[01])\\d\\d|\\d\\d)";
/** Dates as slmstudio/contract/values/dates.py reads them. */
const DATE = new RegExp(
  `(?:${[
    "\\d{1,4} ?[-/.] ?\\d{1,2} ?[-/.] ?\\d{1,4}",
    "\\d{1,2} \\d{1,2} \\d{4}",
    `\\d{1,4}(?:st|nd|rd|th|º)?${GAP}{0,3}(?:(?:of|de) )?${MONTH}${GAP}{0,3}(?:de )?${YEAR}`,
    `${MONTH}${GAP}{0,3}\\d{1,2}(?:st|nd|rd|th)?${GAP}{1,3}${YEAR}`,
    "\\d{4} ?年 ?\\d{1,2} ?月 ?\\d{1,2} ?日",
    "\\d{8}",
  ].join("|")})(?:(?=T\\d)|(?![\\p{L}\\p{N}]|[.,]\\d))`,
  "uy",
);
/** The rest of a number, with groups of three digits after a space. */
const REST_OF_NUMBER = /^(?:\d*(?:[ \u00a0\u202f]\d{3}(?!\d))+(?:[.,]\d+)?|\S*)/u;

/**
 * How the typed text continues in the document, each continuation once, those in the case that was typed first, then those
 * in a line: a text to the end of its column, a number or date to its own end.
 * @param {string} text @param {string} typed @param {string} shape @param {[start: number, end: number] | null} line
 */
export function suggestions(text, typed, shape, line = null) {
  const plain = typed.trim().replace(/\s+/gu, " ");
  if (plain.length < MIN_TYPED) return [];
  const pattern = plain.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&").replaceAll(" ", "\\s+");
  const endsInSpace = /\s$/u.test(typed);
  /** @type {(Suggestion & { otherCase: number, isFar: number })[]} */
  const continuations = [];
  let count = 0;
  for (const match of text.slice(0, MAX_SEARCHED).matchAll(new RegExp(`(?<![\\p{L}\\p{N}])${pattern}`, "giu"))) {
    if ((count += 1) > MAX_MATCHES) break;
    const [start, end] = [match.index, match.index + match[0].length];
    const rest = restAt(text, start, end, shape);
    if (!rest || (endsInSpace && !/^\s/u.test(rest))) continue;
    const written = match[0].replace(/\s+/gu, " ");
    const otherCase = [...plain].filter((character, index) => character !== written[index]).length;
    const isFar = line && (start < line[0] || start >= line[1]) ? 1 : 0;
    continuations.push({ start, end: end + rest.length, rest, otherCase, isFar });
  }
  continuations.sort((one, other) => one.otherCase - other.otherCase || one.isFar - other.isFar);
  const rests = continuations.map(({ rest }) => rest);
  return continuations.filter(({ rest }, index) => rests.indexOf(rest) === index).slice(0, MAX_SUGGESTIONS);
}

/**
 * What continues the text between two places: the rest of its value, after a whole text what follows it.
 * @param {string} text @param {number} start @param {number} end @param {string} shape
 */
function restAt(text, start, end, shape) {
  if (shape === "date") {
    DATE.lastIndex = start;
    return text.slice(end, start + (DATE.exec(text)?.[0].length ?? 0));
  }
  if (shape === "number") return (REST_OF_NUMBER.exec(lineAt(text, end))?.[0] ?? "").replace(/[,;:.)]+$/u, "");
  return columnAt(text, end) || nextPiece(text, end, shape);
}

/** The line around a place. @param {string} text @param {number} at @returns {[start: number, end: number]} */
function lineAround(text, at) {
  const end = text.indexOf("\n", at);
  return [text.lastIndexOf("\n", at - 1) + 1, end < 0 ? text.length : end];
}

/** @param {string} text @param {number} from */
const lineAt = (text, from) => text.slice(from, from + 400).split("\n", 1)[0];

/** A text to the end of its column. @param {string} text @param {number} from */
function columnAt(text, from) {
  const line = lineAt(text, from);
  return line.trimStart() === line ? line.split(/\s{2,}|\t/u, 1)[0].trimEnd() : /^\s\S+(?:\s\S+)*/u.exec(line)?.[0] ?? "";
}

/**
 * The column or line after a place; nothing follows a number or a date.
 * @param {string} text @param {number} end @param {string} shape
 */
export function nextPiece(text, end, shape) {
  const space = /^\s+/u.exec(text.slice(end, end + 400))?.[0];
  if (!space || shape === "number" || shape === "date") return "";
  const piece = columnAt(text, end + space.length);
  return piece && space + piece;
}

export class Completion {
  /** @type {Suggestion[]} */
  #suggestions = [];
  #at = 0;
  /** @type {HTMLInputElement | null} */
  #input = null;
  #value = "";
  #hint = make("span", { className: "sf-hint" });

  /**
   * @param {HTMLElement} root
   * @param {object} options
   * @param {TextView} options.text
   * @param {(words: string, start: number, end: number) => void} options.take puts words of the document, from one character to another, into the field
   * @param {() => number | null} options.near a place of the row with the focus, in characters
   */
  constructor(root, { text, take, near }) {
    this.text = text;
    this.take = take;
    this.near = near;
    this.#hint.setAttribute("aria-hidden", "true");
    // The keyboard of a phone composes every word.
    root.addEventListener("input", (event) => isCompleted(event.target) && this.#suggest(event.target));
    root.addEventListener("focusout", () => this.hide());
    root.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    root.addEventListener("scroll", () => this.#input && this.#hint.isConnected && this.#place(this.#input), { capture: true });
    document.addEventListener("pointerdown", (event) => {
      if (this.#hint.contains(event.target)) event.preventDefault(); // the focus stays in the field
      else this.hide();
    });
    this.#hint.addEventListener("click", (event) => {
      if (/** @type {Element} */ (event.target).closest(".sf-hint-more")) this.#turn(1);
      else if (this.#input) this.#accept(this.#input);
    });
  }

  /** Suggests how the field with the focus goes on, after something else than typing changed it. */
  refresh() {
    const { activeElement } = document;
    if (activeElement && isCompleted(activeElement)) this.#suggest(activeElement);
    else this.hide();
  }

  /** @param {HTMLInputElement} input */
  #suggest(input) {
    const { text } = this.text;
    const near = this.near();
    const line = near === null ? null : lineAround(text, this.text.toUnit(near));
    this.#show(input, isAtEnd(input) ? suggestions(text, input.value, shapeOf(input), line) : []);
  }

  /** @param {HTMLInputElement | null} input @param {Suggestion[]} found */
  #show(input, found) {
    this.#input = input;
    this.#suggestions = found;
    this.#at = 0;
    this.#value = input?.value ?? "";
    this.#draw();
  }

  hide() {
    this.#show(null, []);
  }

  #draw() {
    const suggestion = this.#suggestions[this.#at];
    const [input, hint] = [this.#input, this.#hint];
    hint.remove();
    if (!suggestion || !input) return;
    const key = make("kbd", { textContent: RIGHT_TO_LEFT.test(suggestion.rest) ? "End" : "→" });
    const rest = suggestion.rest.replace(/\s+/gu, " ");
    hint.replaceChildren(make("span", { className: "sf-hint-rest", textContent: /\s$/u.test(input.value) ? rest.trimStart() : rest }), key);
    if (this.#suggestions.length > 1) hint.append(make("span", { className: "sf-hint-more", textContent: `${this.#at + 1}/${this.#suggestions.length}` }));
    // A cell would cut it off.
    const parent = cellOf(input)?.closest(".sf-rows") ?? input.parentElement;
    parent?.append(hint);
    this.#place(input);
  }

  /** Behind the cursor where there is room, else below the field, and there for a finger. @param {HTMLInputElement} input */
  #place(input) {
    const hint = this.#hint;
    const style = getComputedStyle(input);
    const before = widthOf(input.value, style) + parseFloat(style.paddingLeft) + 1;
    const taken = Math.max(parseFloat(style.paddingRight), leafOf(input).querySelector("[data-shown]")?.offsetWidth ?? 0);
    const hasRoom = before + hint.offsetWidth < input.clientWidth - taken && !RIGHT_TO_LEFT.test(input.value);
    const fits = hasRoom && !matchMedia("(pointer: coarse)").matches;
    hint.classList.toggle("sf-hint-below", !fits);
    [hint.style.left, hint.style.top] = ["0px", "0px"]; // the head of a group moves its origin
    const [at, origin] = [input.getBoundingClientRect(), hint.getBoundingClientRect()];
    const most = (hint.offsetParent?.getBoundingClientRect().right ?? Infinity) - hint.offsetWidth;
    hint.style.left = `${Math.min(at.left + (fits ? before : 0), most) - origin.left}px`;
    hint.style.top = `${at.top + (fits ? 0 : input.offsetHeight) - origin.top}px`;
    hint.style.height = fits ? `${input.offsetHeight}px` : "";
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const input = this.#input;
    if (!input || event.target !== input || !this.#suggestions.length || event.isComposing) return;
    if (input.value !== this.#value) {
      this.hide(); // filled by something else
      return;
    }
    const { key } = event;
    if (event.altKey || event.metaKey || event.shiftKey || (event.ctrlKey && key !== "ArrowRight") || !isAtEnd(input)) return;
    if (key === "Escape") this.hide();
    else if (event.ctrlKey) this.#accept(input, true);
    else if (key === "End" || (key === "ArrowRight" && !RIGHT_TO_LEFT.test(input.value))) this.#accept(input);
    else if (!cellOf(input) && (key === "ArrowDown" || key === "ArrowUp") && this.#suggestions.length > 1) this.#turn(key === "ArrowDown" ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {1 | -1} by */
  #turn(by) {
    this.#at = (this.#at + by + this.#suggestions.length) % this.#suggestions.length;
    this.#draw();
  }

  /** @param {HTMLInputElement} input */
  #accept(input, onlyWord = false) {
    const { text } = this.text;
    const { start, end: last, rest } = this.#suggestions[this.#at];
    const end = onlyWord ? last - rest.length + (/^\s*\S+/u.exec(rest)?.[0].length ?? 0) : last;
    this.hide();
    this.take(text.slice(start, end).replace(/\s+/gu, " "), this.text.toPoint(start), this.text.toPoint(end));
    const more = end < last ? text.slice(end, last) : nextPiece(text, end, shapeOf(input));
    if (more && input.isConnected) this.#show(input, [{ start, end: end + more.length, rest: more }]);
  }
}

/** @param {HTMLInputElement} input */
const isAtEnd = (input) => input.selectionStart === input.value.length;

/** @param {Element} input */
const leafOf = (input) => around(input, '[data-node="leaf"]');

/** @param {Element} input */
const shapeOf = (input) => leafOf(input).dataset.shape ?? "";

/** @param {Element} input */
const cellOf = (input) => input.closest("td[data-node]");

/**
 * In a cell, numbers are not: they are short, and → leads from them to the next cell.
 * @param {Element} element @returns {element is HTMLInputElement}
 */
function isCompleted(element) {
  if (!element.matches('input[type="text"][data-control]:not([data-combo]), textarea[data-control]')) return false;
  const leaf = element.closest('[data-node="leaf"]');
  const { shape = "", state } = leaf?.dataset ?? {};
  return SHAPES.includes(shape) && state !== "raw" && !(shape === "number" && cellOf(element));
}

const canvas = /** @type {CanvasRenderingContext2D} */ (make("canvas").getContext("2d"));

/** @param {string} text @param {CSSStyleDeclaration} style */
function widthOf(text, style) {
  canvas.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  return canvas.measureText(text).width;
}
