// A choice from a long list: type to search, arrows to move, Enter or Tab to take. One list of the page serves all
// fields (the ARIA combobox pattern, with a list that pops up).

import { choicesOf, stepsOf } from "./nodes.js";

const MOST_SHOWN = 100;
const plainOf = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const prepared = new WeakMap();

function searchable(choices) {
  if (!prepared.has(choices)) {
    prepared.set(choices, choices.map(([code, label, note]) => ({ code, label, note, name: plainOf(label), more: plainOf(note ?? "") })));
  }
  return prepared.get(choices);
}

// The choices that have every word that was typed, the best first.
export function search(choices, text) {
  const words = plainOf(text).split(/[\s_]+/u).filter(Boolean);
  if (!words.length) return searchable(choices);
  const found = [];
  for (const choice of searchable(choices)) {
    const rank = rankOf(choice, words);
    if (rank < 9) found.push({ rank, choice });
  }
  return found.sort((one, other) => one.rank - other.rank).map(({ choice }) => choice);
}

function rankOf({ name, more }, words) {
  if (!words.every((word) => name.includes(word) || more.includes(word))) return 9;
  if (name === words.join(" ")) return 0;
  if (name.startsWith(words[0])) return 1;
  if (words.every((word) => name.split(/[\s_-]+/u).some((part) => part.startsWith(word)))) return 2;
  return words.every((word) => name.includes(word)) ? 3 : 4;
}

export class Combobox {
  constructor(root, form) {
    this.form = form;
    this.input = null; // the field whose list is open
    this.list = Object.assign(document.createElement("ul"), { className: "sf-combo-list", id: "combo-list", hidden: true });
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Choices");
    root.append(this.list);
    root.addEventListener("input", (event) => isCombo(event.target) && this.open(event.target, true));
    // Before the keys of grids and of the page.
    root.addEventListener("keydown", (event) => isCombo(event.target) && this.key(event), { capture: true });
    root.addEventListener("click", (event) => isCombo(event.target) && this.input !== event.target && this.open(event.target, false));
    root.addEventListener("focusout", (event) => isCombo(event.target) && this.left(event.target));
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the focus stays in the field
      const option = event.target.closest("[data-code]");
      if (option) this.take(option.dataset.code);
    });
    document.addEventListener("scroll", () => this.input && this.place(), { capture: true, passive: true });
  }

  get options() {
    return [...this.list.querySelectorAll("[data-code]")];
  }

  get active() {
    return this.list.querySelector('[aria-selected="true"]');
  }

  open(input, searching) {
    this.input = input;
    const leaf = leafOf(input);
    const now = this.form.model.get(stepsOf(leaf));
    const found = search(choicesOf(leaf), searching ? input.value : "");
    this.list.replaceChildren(...found.slice(0, MOST_SHOWN).map((choice, index) => optionOf(choice, index)));
    const rest = found.length - MOST_SHOWN;
    if (!found.length || rest > 0) this.list.append(noteOf(found.length ? `${rest} more: type on to find them` : "no such choice"));
    this.list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.setAttribute("aria-controls", this.list.id);
    this.place();
    const chosen = this.options.find((option) => option.dataset.code === now);
    this.light(searching ? this.options[0] : chosen);
  }

  // Below its field, or above where there is more room.
  place() {
    const box = this.input.getBoundingClientRect();
    const below = innerHeight - box.bottom - 8;
    const above = box.top - 8;
    const up = below < 180 && above > below;
    const { style } = this.list;
    style.left = `${Math.max(8, Math.min(box.left, innerWidth - 288))}px`;
    style.minWidth = `${Math.max(box.width, 220)}px`;
    style.maxHeight = `${Math.min(320, up ? above : below)}px`;
    style.top = up ? "auto" : `${box.bottom + 2}px`;
    style.bottom = up ? `${innerHeight - box.top + 2}px` : "auto";
  }

  light(option) {
    this.active?.setAttribute("aria-selected", "false");
    if (!option) return this.input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    return this.input.setAttribute("aria-activedescendant", option.id);
  }

  move(by) {
    const { options } = this;
    if (!options.length) return;
    const now = options.indexOf(this.active);
    const next = now < 0 ? (by > 0 ? 0 : options.length - 1) : now + by;
    this.light(options[Math.max(0, Math.min(options.length - 1, next))]);
  }

  key(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.isComposing) return;
    const isOpen = this.input === event.target;
    const opens = key === "ArrowDown" || key === "ArrowUp";
    if (!isOpen) {
      // In a grid the arrows go to the cells above and below; there Alt opens.
      if (!opens || (event.target.closest("td") && !event.altKey)) return;
      this.open(event.target, false);
      if (!this.active) this.move(key === "ArrowDown" ? 1 : -1);
    } else if (opens && !event.altKey) {
      this.move(key === "ArrowDown" ? 1 : -1);
    } else if (key === "PageDown" || key === "PageUp") {
      this.move(key === "PageDown" ? 10 : -10);
    } else if (key === "Enter" && this.active) {
      this.take(this.active.dataset.code);
    } else if (key === "Tab" && !event.shiftKey) {
      if (this.active) this.take(this.active.dataset.code);
      return; // and on to the next field
    } else if (key === "Escape" || (opens && event.altKey)) {
      this.close();
      this.restore(event.target);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  take(code) {
    const { input } = this;
    this.close();
    this.put(leafOf(input), code);
    input.select();
  }

  // Nothing that was typed is lost: what is no choice stays, and the check says so.
  left(input) {
    if (this.input === input) this.close();
    const leaf = leafOf(input);
    const text = input.value.trim();
    const entry = this.form.model.get(stepsOf(leaf));
    const choice = choicesOf(leaf).find(([code, label]) => code === text || plainOf(label) === plainOf(text));
    const wanted = text ? choice?.[0] ?? text : undefined;
    const same = leaf.dataset.state === "raw" ? entry.$json === text : (entry ?? undefined) === wanted;
    if (!same) this.put(leaf, wanted);
  }

  restore(input) {
    const leaf = leafOf(input);
    this.form.fillNode(leaf, this.form.model.get(stepsOf(leaf)));
    input.select();
  }

  close() {
    this.input?.setAttribute("aria-expanded", "false");
    this.input?.removeAttribute("aria-activedescendant");
    this.input = null;
    this.list.hidden = true;
  }

  put(leaf, code) {
    leaf.dataset.touched = "";
    this.form.model.checkpoint();
    this.form.put(leaf, code);
  }
}

const isCombo = (element) => "combo" in (element.dataset ?? {});
const leafOf = (input) => input.closest("[data-node]");

function optionOf({ code, label, note }, index) {
  const option = Object.assign(document.createElement("li"), { id: `combo-option-${index}` });
  option.setAttribute("role", "option");
  option.setAttribute("aria-selected", "false");
  option.dataset.code = code;
  option.append(Object.assign(document.createElement("span"), { textContent: label }));
  if (note) option.append(Object.assign(document.createElement("small"), { textContent: note }));
  return option;
}

function noteOf(text) {
  const item = Object.assign(document.createElement("li"), { className: "sf-combo-note", textContent: text });
  item.setAttribute("role", "presentation");
  return item;
}
