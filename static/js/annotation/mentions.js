// @ in a text: members whose name goes on as typed are offered, and one is taken with Enter, Tab or a click.

const MOST = 6;

export class Mentions {
  constructor(text, list) {
    Object.assign(this, { text, list, members: [], at: 0 });
    text.addEventListener("input", () => this.draw());
    text.addEventListener("blur", () => setTimeout(() => this.close()));
    text.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("mousedown", (event) => {
      event.preventDefault(); // the text keeps the focus
      const option = event.target.closest("[data-member]");
      if (option) this.take(option.dataset.member);
    });
  }

  // What was typed of a name, up to the cursor; null where none is being typed.
  get begun() {
    const before = this.text.value.slice(0, this.text.selectionStart);
    return /(?:^|[\s(])@([\w.+@-]*)$/u.exec(before)?.[1] ?? null;
  }

  get found() {
    const begun = this.begun?.toLowerCase();
    if (begun === undefined) return [];
    const starts = this.members.filter((name) => name.toLowerCase().startsWith(begun));
    const holds = this.members.filter((name) => !starts.includes(name) && name.toLowerCase().includes(begun));
    return [...starts, ...holds].slice(0, MOST);
  }

  draw(at = 0) {
    const { found } = this;
    if (!found.length) return this.close();
    this.at = (at + found.length) % found.length;
    this.list.replaceChildren(...found.map((name, index) => {
      const option = Object.assign(document.createElement("div"), { id: `mention-${index}`, className: "mention", textContent: name });
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", String(index === this.at));
      option.dataset.member = name;
      return option;
    }));
    this.list.hidden = false;
    this.text.setAttribute("aria-activedescendant", `mention-${this.at}`);
    return undefined;
  }

  close() {
    this.list.hidden = true;
    this.text.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (this.list.hidden || event.ctrlKey || event.altKey || event.metaKey) return;
    const does = {
      ArrowDown: () => this.draw(this.at + 1),
      ArrowUp: () => this.draw(this.at - 1),
      Enter: () => this.take(this.found[this.at]),
      Tab: () => this.take(this.found[this.at]),
      Escape: () => this.close(),
    }[event.key];
    if (!does) return;
    // Escape closes the list, not the drawer.
    event.preventDefault();
    event.stopPropagation();
    does();
  }

  take(name) {
    const end = this.text.selectionStart;
    const start = end - this.begun.length;
    this.text.setRangeText(`${name} `, start, end, "end");
    this.close();
  }
}
