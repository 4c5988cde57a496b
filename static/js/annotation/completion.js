// Completes what is being typed from the document: the rest is shown behind the cursor and taken with → or End, a word of
// it with Ctrl+→. ↓ and ↑ show other continuations; after a piece was taken, the next one is shown.

/** @import { TextView } from "./text_view.js" */

import { around, make } from "../site/dom.js";

/** @typedef {{ start: number, end: number, rest: string }} Suggestion a place of the document, in UTF-16 units, and what of it is not typed yet */

const MIN_TYPED = 2; // characters before anything is suggested
const MAX_SEARCHED = 200_000; // characters of a document that are searched at each key
const MAX_MATCHES = 200;
const MAX_SUGGESTIONS = 6;
const TEXTS = ["text", "lines"];
const WORDS = ["number", "date"];
const RIGHT_TO_LEFT = /\p{Script=Arabic}|\p{Script=Hebrew}/u;

/**
 * How the typed text continues in the document, each continuation once: to the end of its column, of anything but a text
 * to the next space.
 * @param {string} text @param {string} typed @param {string} shape
 */
export function suggestions(text, typed, shape) {
  const words = typed.trim().split(/\s+/u);
  if (typed.trim().length < MIN_TYPED) return [];
  const escaped = words.map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&"));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])${escaped.join("\\s+")}`, "giu");
  /** @type {Map<string, Suggestion>} */
  const found = new Map();
  let count = 0;
  for (const match of text.slice(0, MAX_SEARCHED).matchAll(pattern)) {
    if (found.size === MAX_SUGGESTIONS || (count += 1) > MAX_MATCHES) break;
    const end = match.index + match[0].length;
    const rest = pieceAt(text, end, shape) || (WORDS.includes(shape) ? "" : nextPiece(text, end, shape));
    const isDoubleSpace = /\s$/u.test(typed) && !/^\s/u.test(rest);
    if (rest && !isDoubleSpace && !found.has(rest)) found.set(rest, { start: match.index, end: end + rest.length, rest });
  }
  return [...found.values()];
}

/** @param {string} text @param {number} from @param {string} shape */
function pieceAt(text, from, shape) {
  const line = text.slice(from, from + 400).split("\n", 1)[0];
  if (WORDS.includes(shape)) return (/^\S*/u.exec(line)?.[0] ?? "").replace(/[,;:.)]+$/u, "");
  return line.trimStart() === line ? line.split(/\s{2,}|\t/u, 1)[0].trimEnd() : /^\s\S+(?:\s\S+)*/u.exec(line)?.[0] ?? "";
}

/**
 * What follows a place: the next column or line, for anything but a text the next word.
 * @param {string} text @param {number} end @param {string} shape
 */
export function nextPiece(text, end, shape) {
  const space = /^\s+/u.exec(text.slice(end, end + 400))?.[0];
  if (!space) return "";
  const piece = pieceAt(text, end + space.length, shape);
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
   */
  constructor(root, { text, take }) {
    this.text = text;
    this.take = take;
    this.#hint.setAttribute("aria-hidden", "true");
    root.addEventListener("input", (event) => {
      if (isCompleted(event.target) && !(/** @type {InputEvent} */ (event).isComposing)) this.#typed(event.target);
    });
    root.addEventListener("focusout", () => this.hide());
    root.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    root.addEventListener("pointerdown", (event) => event.target !== this.#hint && this.hide());
  }

  /** @param {HTMLInputElement} input */
  #typed(input) {
    this.#show(input, isAtEnd(input) ? suggestions(this.text.text, input.value, shapeOf(input)) : []);
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
    const more = this.#suggestions.length > 1 ? ` ${this.#at + 1}/${this.#suggestions.length}` : "";
    const key = make("kbd", { textContent: RIGHT_TO_LEFT.test(suggestion.rest) ? "End" : "→" });
    const rest = suggestion.rest.replace(/\s+/gu, " ");
    hint.replaceChildren(/\s$/u.test(input.value) ? rest.trimStart() : rest, key, more);
    input.parentElement?.append(hint);
    this.#place(input);
  }

  /** Behind the cursor where there is room, else below the field. @param {HTMLInputElement} input */
  #place(input) {
    const hint = this.#hint;
    const style = getComputedStyle(input);
    const before = widthOf(input.value, style) + parseFloat(style.paddingLeft) + 1;
    const taken = Math.max(parseFloat(style.paddingRight), leafOf(input).querySelector("[data-shown]")?.offsetWidth ?? 0);
    const fits = before + hint.offsetWidth < input.clientWidth - taken && !RIGHT_TO_LEFT.test(input.value);
    hint.classList.toggle("sf-hint-below", !fits);
    hint.style.left = `${input.offsetLeft + (fits ? before : 0)}px`;
    hint.style.top = `${input.offsetTop + (fits ? 0 : input.offsetHeight)}px`;
    hint.style.height = fits ? `${input.offsetHeight}px` : "";
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const input = this.#input;
    if (!input || event.target !== input || !this.#suggestions.length) return;
    if (input.value !== this.#value) {
      this.hide(); // filled by something else
      return;
    }
    const { key } = event;
    if (event.altKey || event.metaKey || event.shiftKey || (event.ctrlKey && key !== "ArrowRight") || !isAtEnd(input)) return;
    if (key === "Escape") this.hide();
    else if (event.ctrlKey) this.#accept(input, true);
    else if (key === "End" || (key === "ArrowRight" && !RIGHT_TO_LEFT.test(input.value))) this.#accept(input);
    else if ((key === "ArrowDown" || key === "ArrowUp") && this.#suggestions.length > 1) this.#turn(key === "ArrowDown" ? 1 : -1);
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

/** @param {Element} element @returns {element is HTMLInputElement} */
function isCompleted(element) {
  if (!element.matches('input[type="text"][data-control]:not([data-combo]), textarea[data-control]')) return false;
  const leaf = element.closest('[data-node="leaf"]');
  return leaf !== null && !leaf.matches("td") && [...TEXTS, ...WORDS].includes(leaf.dataset.shape ?? "") && leaf.dataset.state !== "raw";
}

const canvas = /** @type {CanvasRenderingContext2D} */ (make("canvas").getContext("2d"));

/** @param {string} text @param {CSSStyleDeclaration} style */
function widthOf(text, style) {
  canvas.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  return canvas.measureText(text).width;
}
