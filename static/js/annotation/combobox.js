// A choice from a long list: type to search, arrows to move, Enter or Tab to take. One list in the page serves all fields
// (the ARIA combobox pattern with a listbox popup).

/** @import { Choice, Entry } from "./types" */
/** @import { Form } from "./form.js" */

import { choicesOf, stepsOf } from "./nodes.js";
import { isRaw } from "./paths.js";
import { around, make } from "../site/dom.js";

/** @typedef {{ code: string, label: string, note?: string, name: string, more: string }} Searchable */

const MAX_SHOWN = 100;
const NO_MATCH = 9;

/** @type {WeakMap<Choice[], Searchable[]>} */
const prepared = new WeakMap();

/** @param {Choice[]} choices */
function searchable(choices) {
  const found = prepared.get(choices) ?? choices.map(([code, label, note]) => ({ code, label, note, name: fold(label), more: fold(note ?? "") }));
  prepared.set(choices, found);
  return found;
}

/** Lower case, without accents. @param {string} text */
const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** The choices with every word that was typed, the best first. @param {Choice[]} choices @param {string} text */
export function search(choices, text) {
  const words = fold(text).split(/[\s_]+/u).filter(Boolean);
  if (!words.length) return searchable(choices);
  return searchable(choices)
    .map((choice) => ({ choice, rank: rankOf(choice, words) }))
    .filter(({ rank }) => rank < NO_MATCH)
    .sort((one, other) => one.rank - other.rank)
    .map(({ choice }) => choice);
}

/** @param {Searchable} choice @param {string[]} words */
function rankOf({ name, more }, words) {
  if (!words.every((word) => name.includes(word) || more.includes(word))) return NO_MATCH;
  if (name === words.join(" ")) return 0;
  if (name.startsWith(words[0])) return 1;
  if (words.every((word) => name.split(/[\s_-]+/u).some((part) => part.startsWith(word)))) return 2;
  return words.every((word) => name.includes(word)) ? 3 : 4;
}

export class Combobox {
  /** The field whose list is open. @type {HTMLInputElement | null} */
  #input = null;
  #list = make("ul", { className: "sf-combo-list", id: "combo-list", hidden: true });

  /** @param {HTMLElement} root @param {Form} form */
  constructor(root, form) {
    this.form = form;
    this.#list.setAttribute("role", "listbox");
    this.#list.setAttribute("aria-label", "Choices");
    root.append(this.#list);
    root.addEventListener("input", ({ target }) => isCombo(target) && this.#open(target, true));
    // Before the keys of grids and of the page.
    root.addEventListener("keydown", (event) => isCombo(event.target) && this.#key(event, event.target), { capture: true });
    root.addEventListener("click", ({ target }) => isCombo(target) && this.#input !== target && this.#open(target, false));
    root.addEventListener("focusout", ({ target }) => isCombo(target) && this.#left(target));
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the focus stays in the field
      const code = /** @type {Element} */ (event.target).closest("[data-code]")?.dataset.code;
      if (code !== undefined) this.#take(code);
    });
    document.addEventListener("scroll", () => this.#input && this.#place(this.#input), { capture: true, passive: true });
  }

  get #options() {
    return [...this.#list.querySelectorAll("[data-code]")];
  }

  get #active() {
    return this.#list.querySelector('[aria-selected="true"]');
  }

  /** @param {HTMLInputElement} input @param {boolean} isSearching */
  #open(input, isSearching) {
    this.#input = input;
    const leaf = leafOf(input);
    const entry = this.form.draft.get(stepsOf(leaf));
    const found = search(choicesOf(leaf), isSearching ? input.value : "");
    this.#list.replaceChildren(...found.slice(0, MAX_SHOWN).map((choice, index) => optionOf(choice, index)));
    const rest = found.length - MAX_SHOWN;
    if (!found.length || rest > 0) this.#list.append(noteOf(found.length ? `${rest} more: keep typing to find them` : "No matching choice"));
    this.#list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.setAttribute("aria-controls", this.#list.id);
    this.#place(input);
    const chosen = this.#options.find((option) => option.dataset.code === entry);
    this.#highlight(input, isSearching ? this.#options[0] : chosen);
  }

  /** Below its field, or above where there is more room. @param {HTMLInputElement} input */
  #place(input) {
    const box = input.getBoundingClientRect();
    const below = innerHeight - box.bottom - 8;
    const above = box.top - 8;
    const up = below < 180 && above > below;
    const { style } = this.#list;
    style.left = `${Math.max(8, Math.min(box.left, innerWidth - 288))}px`;
    style.minWidth = `${Math.max(box.width, 220)}px`;
    style.maxHeight = `${Math.min(320, up ? above : below)}px`;
    style.top = up ? "auto" : `${box.bottom + 2}px`;
    style.bottom = up ? `${innerHeight - box.top + 2}px` : "auto";
  }

  /** @param {HTMLInputElement} input @param {Element | undefined} option */
  #highlight(input, option) {
    this.#active?.setAttribute("aria-selected", "false");
    if (!option) {
      input.removeAttribute("aria-activedescendant");
      return;
    }
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
  }

  /** @param {HTMLInputElement} input @param {number} by */
  #move(input, by) {
    const options = this.#options;
    if (!options.length) return;
    const current = options.findIndex((option) => option === this.#active);
    const next = current < 0 ? (by > 0 ? 0 : options.length - 1) : current + by;
    this.#highlight(input, options[Math.max(0, Math.min(options.length - 1, next))]);
  }

  /** @param {KeyboardEvent} event @param {HTMLInputElement} input */
  #key(event, input) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.isComposing) return;
    const isArrow = key === "ArrowDown" || key === "ArrowUp";
    const code = this.#active?.dataset.code;
    if (this.#input !== input) {
      // In a grid the arrows go to the cells above and below; there Alt opens.
      if (!isArrow || (input.closest("td") && !event.altKey)) return;
      this.#open(input, false);
      if (!this.#active) this.#move(input, key === "ArrowDown" ? 1 : -1);
    } else if (isArrow && !event.altKey) {
      this.#move(input, key === "ArrowDown" ? 1 : -1);
    } else if (key === "PageDown" || key === "PageUp") {
      this.#move(input, key === "PageDown" ? 10 : -10);
    } else if (key === "Enter" && code !== undefined) {
      this.#take(code);
    } else if (key === "Tab" && !event.shiftKey) {
      if (code !== undefined) this.#take(code);
      return; // and on to the next field
    } else if (key === "Escape" || (isArrow && event.altKey)) {
      this.#close();
      this.#restore(input);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} code */
  #take(code) {
    const input = this.#input;
    this.#close();
    if (!input) return;
    this.#put(leafOf(input), code);
    input.select();
  }

  /** What was typed in the field with the focus is final: the document is submitted or left. */
  commitTyping() {
    const { activeElement } = document;
    const code = this.#active?.dataset.code;
    if (this.#input && code !== undefined) this.#take(code);
    else if (activeElement && isCombo(/** @type {HTMLElement} */ (activeElement))) this.#left(/** @type {HTMLInputElement} */ (activeElement));
  }

  /** A typed text that is not a choice stays, and the validation rejects it. @param {HTMLInputElement} input */
  #left(input) {
    if (this.#input === input) this.#close();
    const leaf = leafOf(input);
    const text = input.value.trim();
    const entry = this.form.draft.get(stepsOf(leaf));
    const choice = choicesOf(leaf).find(([code, label]) => code === text || fold(label) === fold(text));
    const wanted = text ? choice?.[0] ?? text : undefined;
    const isSame = leaf.dataset.state === "raw" ? isRaw(entry) && entry.$json === text : (entry ?? undefined) === wanted;
    if (!isSame) this.#put(leaf, wanted);
  }

  /** @param {HTMLInputElement} input */
  #restore(input) {
    const leaf = leafOf(input);
    this.form.fillNode(leaf, this.form.draft.get(stepsOf(leaf)));
    input.select();
  }

  #close() {
    this.#input?.setAttribute("aria-expanded", "false");
    this.#input?.removeAttribute("aria-activedescendant");
    this.#input = null;
    this.#list.hidden = true;
  }

  /** @param {Element} leaf @param {Entry} code */
  #put(leaf, code) {
    leaf.dataset.touched = "";
    this.form.draft.checkpoint();
    this.form.put(leaf, code);
  }
}

/** @param {HTMLElement} element @returns {element is HTMLInputElement} */
const isCombo = (element) => "combo" in element.dataset;

/** @param {Element} input */
const leafOf = (input) => around(input, "[data-node]");

/** @param {Searchable} choice @param {number} index */
function optionOf({ code, label, note }, index) {
  const option = make("li", { id: `combo-option-${index}` });
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.dataset.code = code;
  option.append(make("span", { textContent: label }));
  if (note) option.append(make("small", { textContent: note }));
  return option;
}

/** @param {string} text */
function noteOf(text) {
  const item = make("li", { className: "sf-combo-note", textContent: text });
  item.setAttribute("role", "presentation");
  return item;
}
