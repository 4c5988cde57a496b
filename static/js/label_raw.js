// The JSON view of the label: the same value as text, both ways.

import { announce } from "./studio.js";

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

  // Puts the server's text there, unless the person works on what stands there; `newer`: it has what others changed.
  fill(text, newer = false) {
    if (this.isShown && (this.edited || (this.touched && !newer))) return;
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
    const { selectionStart, selectionEnd } = area;
    area.value = text;
    area.setSelectionRange(selectionStart, selectionEnd);
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
