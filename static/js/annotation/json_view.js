// The JSON view of the label: the same value as text, which can be edited.

/** @import { ByPath } from "./types" */

import { announce } from "../site/base.js";
import { $ } from "../site/dom.js";

/** @typedef {"form" | "json"} View */

/**
 * @typedef {object} Callbacks
 * @property {() => { text: string, typed: ByPath<string> } | null} write the form as JSON; null where the server's text is current
 * @property {() => void} checkpoint
 * @property {() => void} changed
 * @property {() => Promise<boolean>} save resolves to whether everything is saved
 * @property {() => void} back moves the focus into the form
 */

export class JsonView {
  /** Texts of the form that the server has not read yet. @type {ByPath<string>} */
  typed = {};
  isEdited = false;
  #isTouched = false; // the user began to work with the text

  /** @param {Callbacks} callbacks */
  constructor({ write, checkpoint, changed, save, back }) {
    this.write = write;
    this.save = save;
    this.back = back;
    $("raw-text").addEventListener("input", () => {
      if (!this.isEdited) checkpoint();
      this.isEdited = true;
      changed();
    });
    for (const name of ["keydown", "pointerdown", "input"]) $("raw-text").addEventListener(name, () => (this.#isTouched = true));
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => this.turn(/** @type {View} */ (button.dataset.view)));
    }
  }

  get isShown() {
    return !$("raw").hidden;
  }

  get text() {
    return $("raw-text").value;
  }

  /**
   * Shows the server's text, unless the user works on what is there. With `replaces` it has what others changed: the next
   * save would otherwise put the old text over their changes.
   * @param {string} text
   */
  fill(text, replaces = false) {
    if (this.isShown && !replaces && (this.isEdited || this.#isTouched)) return;
    if (replaces) this.isEdited = false;
    this.#put(text);
  }

  /** Shows a text as the user's own. @param {string} text @param {ByPath<string>} [typed] */
  edit(text, typed) {
    this.show("json");
    this.#put(text, typed);
    this.isEdited = true;
    this.#isTouched = true;
  }

  /** @param {string} text @param {ByPath<string>} typed */
  #put(text, typed = {}) {
    this.typed = typed;
    const area = $("raw-text");
    if (area.value === text) return;
    const { value, selectionStart, selectionEnd, scrollTop } = area;
    area.value = text;
    area.setSelectionRange(movedPlace(selectionStart, value, text), movedPlace(selectionEnd, value, text));
    area.scrollTop = scrollTop;
  }

  /** @param {View} view */
  show(view) {
    $("raw").hidden = view !== "json";
    $("form").hidden = view === "json";
    $("focus-line").hidden = view === "json";
    if (view === "json") this.isEdited = false;
    this.#isTouched = false;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.classList.toggle("active", button.dataset.view === view);
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    }
  }

  /** Shows the other view. The server has to read edited text before the form can show it. @param {View} view */
  async turn(view = this.isShown ? "form" : "json") {
    if (view === (this.isShown ? "json" : "form")) return;
    if (view === "json") {
      this.#open();
    } else if (this.isEdited && !(await this.save())) {
      announce("The form cannot show this JSON until it is saved. Your text is kept here.", "info");
      $("raw-text").focus();
    } else {
      this.show("form");
      this.back();
    }
  }

  #open() {
    const written = this.write();
    if (written) this.#put(written.text, written.typed);
    this.show("json");
    $("raw-text").focus();
    $("raw-text").setSelectionRange(0, 0);
    $("raw-text").scrollTop = 0;
    this.save();
  }
}

/**
 * The place in `after` for a place in `before`: in the nearest line with the same content, else the same offset.
 * @param {number} place @param {string} before @param {string} after
 */
function movedPlace(place, before, after) {
  const row = before.slice(0, place).split("\n").length - 1;
  const line = before.split("\n")[row];
  const start = before.lastIndexOf("\n", place - 1) + 1;
  const lines = after.split("\n");
  const same = [...lines.keys()].filter((index) => lines[index].trim() === line.trim());
  if (!same.length) return Math.min(place, after.length);
  const nearest = same.reduce((best, index) => (Math.abs(index - row) < Math.abs(best - row) ? index : best));
  const indent = (/** @type {string} */ text) => text.length - text.trimStart().length;
  const column = Math.max(0, place - start + indent(lines[nearest]) - indent(line));
  return lines.slice(0, nearest).reduce((sum, text) => sum + text.length + 1, 0) + Math.min(column, lines[nearest].length);
}
