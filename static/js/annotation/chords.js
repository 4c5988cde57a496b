// Chords: a key by its place (event.code), with modifiers, so that chords are the same on every layout. AltGr types letters
// and is left alone. On a Mac, Alt is Ctrl+Option and Ctrl is Cmd (Ctrl works too). Names: labeling/annotation/shortcuts.py.

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
