// Keyboard shortcuts by the place of a key (event.code), so that they are the same on every layout. AltGr types letters and
// is left alone. On a Mac, Alt is Ctrl+Option and Ctrl is Cmd (Ctrl works too). Names of chords: labeling/annotation/keyboard.py.

import { isTyping } from "../site/keyboard.js";
import { make } from "../site/dom.js";

const MAC = /Mac|iPhone|iPad/u.test(navigator.platform);

/** The chord of a key press: "Ctrl+Shift+KeyZ"; "" for none. @param {KeyboardEvent} event */
export function chord(event) {
  if (event.getModifierState("AltGraph") || event.isComposing) return "";
  const alt = MAC ? event.altKey && event.ctrlKey : event.altKey && !event.ctrlKey;
  const control = MAC ? event.metaKey || (event.ctrlKey && !event.altKey) : event.ctrlKey && !event.altKey;
  if ((event.altKey || event.ctrlKey || event.metaKey) && !alt && !control) return "";
  const code = event.code.replace(/^Numpad(\d)$/u, "Digit$1").replace("NumpadEnter", "Enter");
  return `${control ? "Ctrl+" : ""}${alt ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${code}`;
}

/** 1 to 9 for a digit key without modifiers. @param {KeyboardEvent} event */
export function digitOf(event) {
  const match = /^(?:Digit|Numpad)([1-9])$/u.exec(event.code);
  return match && !event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey ? Number(match[1]) : null;
}

/** @param {KeyboardEvent} event */
export const isModifier = (event) => ["Control", "Alt", "Shift", "Meta", "AltGraph"].includes(event.key);

/** @type {Record<string, string>} */
const CAPS = {
  Enter: "↵", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Backquote: "`", Minus: "-", Equal: "=",
  BracketLeft: "[", BracketRight: "]", Backslash: "\\", Semicolon: ";", Quote: "'", Comma: ",", Period: ".", Slash: "/",
};
/** @type {Record<string, string>} */
const MAC_CAPS = { Ctrl: "⌘", Alt: "⌃⌥", Shift: "⇧" };

/** A chord as key caps of this machine: ["Ctrl", "Shift", "Z"]. @param {string} keys */
export function capsOf(keys) {
  const caps = keys.split("+").map((part) => CAPS[part] ?? part.replace(/^(?:Key|Digit|Numpad)(?=.)/u, ""));
  return MAC ? caps.map((cap) => MAC_CAPS[cap] ?? cap) : caps;
}

/** @param {string} text */
export const keyCap = (text) => make("kbd", { textContent: text });

/** Key caps as elements, with blanks between them. @param {string} keys @returns {(HTMLElement | string)[]} */
export const capElements = (keys) => capsOf(keys).flatMap((cap) => [keyCap(cap), " "]);

// Buttons of the form, rendered by the server for every schema, and their actions.
const BUTTONS = {
  "[data-add-row]": "row_add", "[data-null]": "absent", "[data-duplicate-row]": "row_duplicate", "[data-delete-row]": "row_delete",
};

export class Shortcuts {
  /** @param {Record<string, string[]>} bindings the user's chords of each action */
  constructor(bindings) {
    this.bindings = bindings;
    this.actions = new Map(Object.entries(bindings).flatMap(([action, chords]) => chords.map((keys) => [keys, action])));
  }

  /** The action of a key press. A key alone types where something can be typed. @param {KeyboardEvent & Targeted} event */
  actionOf(event) {
    const keys = chord(event);
    if (!/^(?:Ctrl|Alt)\+/u.test(keys) && isTyping(event.target)) return undefined;
    return this.actions.get(keys);
  }

  /** The chord of an action, to be read. @param {string} action */
  label(action) {
    return capsOf(this.bindings[action][0]).join(" ");
  }

  /** Displays the user's keys in all places that name one. @param {ParentNode} root */
  writeLabels(root) {
    for (const element of root.querySelectorAll("[data-keys]")) element.textContent = this.label(element.dataset.keys ?? "");
    for (const [selector, action] of Object.entries(BUTTONS)) {
      for (const button of root.querySelectorAll(selector)) {
        button.title = button.title.replace(/\([^()]*\)$/u, `(${this.label(action)})`);
        for (const cap of button.querySelectorAll("kbd")) cap.textContent = this.label(action);
      }
    }
    for (const template of root.querySelectorAll("template")) this.writeLabels(template.content);
    for (const row of root.querySelectorAll("[data-caps]")) {
      const chords = this.bindings[row.dataset.caps ?? ""];
      row.replaceChildren(...chords.flatMap((keys, index) => [...(index ? [", "] : []), ...capElements(keys)]));
    }
  }
}
