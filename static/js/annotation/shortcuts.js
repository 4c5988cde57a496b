// Keys by their place on the keyboard (event.code), so that they are the same on every layout. AltGr types letters and
// is left alone. On a Mac, Alt is Ctrl+Option and Ctrl is Cmd (Ctrl works too). The names are those of labeling/annotation/keyboard.py.

const MAC = /Mac|iPhone|iPad/u.test(navigator.platform);

export function chord(event) {
  if (event.getModifierState("AltGraph") || event.isComposing) return "";
  const alt = MAC ? event.altKey && event.ctrlKey : event.altKey && !event.ctrlKey;
  const control = MAC ? event.metaKey || (event.ctrlKey && !event.altKey) : event.ctrlKey && !event.altKey;
  if ((event.altKey || event.ctrlKey || event.metaKey) && !alt && !control) return "";
  const code = event.code.replace(/^Numpad(\d)$/u, "Digit$1").replace("NumpadEnter", "Enter");
  return `${control ? "Ctrl+" : ""}${alt ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${code}`;
}

export const digitOf = (event) => {
  const match = /^(?:Digit|Numpad)([1-9])$/u.exec(event.code);
  return match && !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey ? Number(match[1]) : null;
};

export const isModifier = (event) => ["Control", "Alt", "Shift", "Meta", "AltGraph"].includes(event.key);

const CAPS = {
  Enter: "↵", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Backquote: "`", Minus: "-", Equal: "=",
  BracketLeft: "[", BracketRight: "]", Backslash: "\\", Semicolon: ";", Quote: "'", Comma: ",", Period: ".", Slash: "/",
};
const MAC_CAPS = { Ctrl: "⌘", Alt: "⌃⌥", Shift: "⇧" };

// A chord as its key caps read on this machine: ["Ctrl", "Shift", "Z"].
export function capsOf(keys) {
  const caps = keys.split("+").map((part) => CAPS[part] ?? part.replace(/^(?:Key|Digit|Numpad)(?=.)/u, ""));
  return MAC ? caps.map((cap) => MAC_CAPS[cap] ?? cap) : caps;
}

// Whether what is pressed now goes into a text, or chooses in a list.
export function isTyping(element) {
  if (element.isContentEditable || ["TEXTAREA", "SELECT"].includes(element.tagName)) return true;
  return element.tagName === "INPUT" && !["checkbox", "radio", "button", "submit", "range"].includes(element.type);
}

// The form's own buttons, drawn by the server for every schema, and what they do.
const BUTTONS = {
  "[data-add-row]": "row_add", "[data-null]": "absent", "[data-duplicate-row]": "row_duplicate", "[data-delete-row]": "row_delete",
};

export class Keys {
  // `bindings`: action -> chords, as the person has them.
  constructor(bindings) {
    this.bindings = bindings;
    this.names = new Map(Object.entries(bindings).flatMap(([name, chords]) => chords.map((keys) => [keys, name])));
  }

  // The action of a key press, or undefined. A key alone types where something is typed.
  actionOf(event) {
    const keys = chord(event);
    if (!/^(?:Ctrl|Alt)\+/u.test(keys) && isTyping(event.target)) return undefined;
    return this.names.get(keys);
  }

  words(name) {
    return capsOf(this.bindings[name][0]).join(" ");
  }

  // Writes the person's keys wherever a key is named.
  hint(root) {
    for (const element of root.querySelectorAll("[data-keys]")) element.textContent = this.words(element.dataset.keys);
    for (const [selector, name] of Object.entries(BUTTONS)) {
      for (const button of root.querySelectorAll(selector)) {
        button.title = button.title.replace(/\([^()]*\)$/u, `(${this.words(name)})`);
        for (const cap of button.querySelectorAll("kbd")) cap.textContent = this.words(name);
      }
    }
    for (const template of root.querySelectorAll("template")) this.hint(template.content);
    for (const row of root.querySelectorAll("[data-caps]")) {
      const chords = this.bindings[row.dataset.caps];
      row.replaceChildren(...chords.flatMap((keys, index) => [...(index ? [", "] : []), ...capsOf(keys).flatMap((cap) => [keyCap(cap), " "])]));
    }
  }
}

export const keyCap = (text) => Object.assign(document.createElement("kbd"), { textContent: text });
