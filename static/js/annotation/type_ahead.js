// What is typed while the next document is being opened goes into that document, however long it takes: keys are kept,
// and pressed again once it is open.

const KEPT = new Set(["Backspace", "Delete", "Tab", "Enter", "End", "Home", "Escape", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
const TABBABLE = "a[href], button, input, select, textarea, [tabindex]";
const isText = (element) => element.tagName === "TEXTAREA" || (element.tagName === "INPUT" && element.type === "text");

export class TypeAhead {
  constructor() {
    this.keys = null; // the keys that were pressed; null while nothing is being opened
    document.addEventListener("keydown", (event) => this.keep(event), { capture: true });
  }

  start() {
    this.keys = [];
  }

  keep(event) {
    if (this.keys === null || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.key.length !== 1 && !KEPT.has(event.key)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { key, code, shiftKey } = event;
    this.keys.push({ key, code, shiftKey });
  }

  // Presses the keys in what is open now, or forgets them. Returns how many there were.
  finish({ press }) {
    const keys = this.keys ?? [];
    this.keys = null;
    if (press) for (const key of keys) pressed(key);
    return keys.length;
  }
}

function pressed({ key, code, shiftKey }) {
  const element = document.activeElement;
  const event = new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true });
  if (!element.dispatchEvent(event)) return;
  const command = { Backspace: "delete", Delete: "forwardDelete" }[key];
  if (key === "Tab") tab(element, shiftKey);
  else if (isText(element)) typed(element, key, command);
  else if (key === " " || key === "Enter") element.click();
}

function typed(element, key, command) {
  if (command) document.execCommand(command);
  else if (key.length === 1) document.execCommand("insertText", false, key);
  else if (key === "Enter" && element.tagName === "TEXTAREA") document.execCommand("insertText", false, "\n");
  else if (key === "Home" || key === "End") element.setSelectionRange(...(key === "Home" ? [0, 0] : [element.value.length, element.value.length]));
}

// Goes where the browser goes with Tab: of radio buttons to the one that is checked.
function tab(from, back) {
  const isGroup = (one, other) => one.type === "radio" && other.type === "radio" && one.name === other.name;
  const isStop = (element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility() && !isGroup(element, from) &&
    (element.type !== "radio" || element.checked || !document.querySelector(`input[name="${CSS.escape(element.name)}"]:checked`));
  const stops = [...document.querySelectorAll(TABBABLE)].filter((element) => element === from || isStop(element));
  const target = stops[stops.indexOf(from) + (back ? -1 : 1)];
  target?.focus();
  if (target && isText(target)) target.select();
}
