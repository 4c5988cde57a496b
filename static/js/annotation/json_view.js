// The JSON view of the label: the same value as text, both ways.

import { announce } from "../site/base.js";

const $ = (id) => document.getElementById(id);

export class RawView {
  // `write()`: what stands in the form now as {text, typed}, or null where the server's text says it. `saved()` saves
  // what is there and resolves to whether it is; `back()` brings the focus into the form again.
  constructor({ write, checkpoint, changed, saved, back }) {
    Object.assign(this, { write, saved, back });
    this.typed = {}; // texts that were typed into the form and that the server has not read yet, by path
    this.edited = false;
    this.touched = false; // the person has begun to do something with the text
    $("raw-text").addEventListener("input", () => {
      if (!this.edited) checkpoint();
      this.edited = true;
      changed();
    });
    for (const name of ["keydown", "pointerdown", "input"]) $("raw-text").addEventListener(name, () => (this.touched = true));
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => this.turn(button.dataset.view));
    }
  }

  get isShown() {
    return !$("raw").hidden;
  }

  get text() {
    return $("raw-text").value;
  }

  // Puts the server's text there, unless the person works on what stands there. With `newer` it has what others changed:
  // it replaces the text that was sent, which the next save would put over their changes otherwise.
  fill(text, newer = false) {
    if (this.isShown && !newer && (this.edited || this.touched)) return;
    if (newer) this.edited = false;
    this.put(text);
  }

  edit(text, typed) {
    this.show("json");
    this.put(text, typed);
    this.edited = true;
    this.touched = true;
  }

  put(text, typed = {}) {
    this.typed = typed;
    const area = $("raw-text");
    if (area.value === text) return;
    const { value, selectionStart, selectionEnd, scrollTop } = area;
    area.value = text;
    area.setSelectionRange(moved(selectionStart, value, text), moved(selectionEnd, value, text));
    area.scrollTop = scrollTop;
  }

  show(name) {
    $("raw").hidden = name !== "json";
    $("form").hidden = name === "json";
    $("focus-line").hidden = name === "json";
    if (name === "json") this.edited = false;
    this.touched = false;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.classList.toggle("active", button.dataset.view === name);
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
  }

  // To the other view, at once; only text that was edited has to be read by the server before the form can show it.
  async turn(name = this.isShown ? "form" : "json") {
    if (name === (this.isShown ? "json" : "form")) return undefined;
    if (name === "json") return this.open();
    if (this.edited && !(await this.saved())) {
      announce("The form cannot show this JSON until it is saved. It is kept here.", "info");
      return $("raw-text").focus();
    }
    this.show("form");
    return this.back();
  }

  open() {
    const now = this.write();
    if (now) this.put(now.text, now.typed);
    this.show("json");
    $("raw-text").focus();
    $("raw-text").setSelectionRange(0, 0);
    $("raw-text").scrollTop = 0;
    this.saved();
  }
}

// Where a place of `before` is in `after`: in the nearest line with the same content, else as many characters in.
function moved(place, before, after) {
  const row = before.slice(0, place).split("\n").length - 1;
  const line = before.split("\n")[row];
  const start = before.lastIndexOf("\n", place - 1) + 1;
  const lines = after.split("\n");
  const same = [...lines.keys()].filter((index) => lines[index].trim() === line.trim());
  if (!same.length) return Math.min(place, after.length);
  const nearest = same.reduce((best, index) => (Math.abs(index - row) < Math.abs(best - row) ? index : best));
  const indent = (words) => words.length - words.trimStart().length;
  const column = Math.max(0, place - start + indent(lines[nearest]) - indent(line));
  return lines.slice(0, nearest).reduce((sum, words) => sum + words.length + 1, 0) + Math.min(column, lines[nearest].length);
}
