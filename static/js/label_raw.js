// The JSON view of the label: the same value as text, both ways.

const $ = (id) => document.getElementById(id);

export class RawView {
  // `saved()` saves what is there and resolves to whether it is; `back()` brings the focus into the form again.
  constructor({ checkpoint, changed, saved, back }) {
    Object.assign(this, { saved, back });
    this.edited = false;
    $("raw-text").addEventListener("input", () => {
      if (!this.edited) checkpoint();
      this.edited = true;
      changed();
    });
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

  // Puts the server's text there, unless the person is writing their own.
  fill(text) {
    if (!this.isShown || !this.edited) $("raw-text").value = text;
  }

  edit(text) {
    this.show("json");
    $("raw-text").value = text;
    this.edited = true;
  }

  show(name) {
    $("raw").hidden = name !== "json";
    $("form").hidden = name === "json";
    $("focus-line").hidden = name === "json";
    if (name === "json") this.edited = false;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.classList.toggle("active", button.dataset.view === name);
      button.setAttribute("aria-pressed", String(button.dataset.view === name));
    }
  }

  // To the other view; text that is no JSON yet stays.
  async turn(name = this.isShown ? "form" : "json") {
    if (name === (this.isShown ? "json" : "form")) return;
    const saved = await this.saved();
    if (name === "form" && this.edited && !saved) return $("raw-text").focus();
    this.show(name);
    if (name === "form") return this.back();
    $("raw-text").focus();
    $("raw-text").setSelectionRange(0, 0);
    $("raw-text").scrollTop = 0;
    return undefined;
  }
}
