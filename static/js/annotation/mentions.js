// @ in a comment: members whose name matches are offered, and one is taken with Enter, Tab or a click.

import { make } from "../site/dom.js";

const MAX_SHOWN = 6;

export class Mentions {
  /** @type {string[]} */
  members = [];
  #at = 0;

  /** @param {HTMLTextAreaElement} text @param {HTMLElement} list */
  constructor(text, list) {
    this.text = text;
    this.list = list;
    text.addEventListener("input", () => this.#draw());
    text.addEventListener("blur", () => setTimeout(() => this.#close()));
    text.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the text keeps the focus
      const name = event.target.closest("[data-member]")?.dataset.member;
      if (name) this.#take(name);
    });
  }

  /** The part of a name before the cursor; null where none is being typed. */
  get #typed() {
    const before = this.text.value.slice(0, this.text.selectionStart);
    return /(?:^|[\s(])@([\w.+@-]*)$/u.exec(before)?.[1] ?? null;
  }

  get #matches() {
    const typed = this.#typed?.toLowerCase();
    if (typed === undefined) return [];
    const starts = this.members.filter((name) => name.toLowerCase().startsWith(typed));
    const contains = this.members.filter((name) => !starts.includes(name) && name.toLowerCase().includes(typed));
    return [...starts, ...contains].slice(0, MAX_SHOWN);
  }

  #draw(at = 0) {
    const matches = this.#matches;
    if (!matches.length) {
      this.#close();
      return;
    }
    this.#at = (at + matches.length) % matches.length;
    this.list.replaceChildren(...matches.map((name, index) => {
      const option = make("div", { id: `mention-${index}`, className: "mention", textContent: name });
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", String(index === this.#at));
      option.dataset.member = name;
      return option;
    }));
    this.list.hidden = false;
    this.text.setAttribute("aria-activedescendant", `mention-${this.#at}`);
  }

  /** Takes the name that is being typed, before the comment is sent. */
  finish() {
    if (!this.list.hidden) this.#take(this.#matches[this.#at]);
  }

  #close() {
    this.list.hidden = true;
    this.text.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.list.hidden || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowDown") this.#draw(this.#at + 1);
    else if (event.key === "ArrowUp") this.#draw(this.#at - 1);
    else if (event.key === "Enter" || event.key === "Tab") this.#take(this.#matches[this.#at]);
    else if (event.key === "Escape") this.#close();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape closes the list, not the drawer
  }

  /** @param {string} name */
  #take(name) {
    const end = this.text.selectionStart;
    this.text.setRangeText(`${name} `, end - (this.#typed?.length ?? 0), end, "end");
    this.#close();
  }
}
