// Chords of key presses, and their key caps, on a PC and on a Mac.

import assert from "node:assert/strict";
import test from "node:test";

/** The module as a browser of this platform loads it. @param {string} platform */
async function chordsOn(platform) {
  Object.defineProperty(globalThis, "navigator", { value: { platform }, configurable: true });
  return import(`../../static/js/annotation/chords.js?${platform}`);
}

const pc = await chordsOn("Linux x86_64");
const mac = await chordsOn("MacIntel");

/** A press such as "Ctrl+Alt+KeyX". @param {string} keys @param {object} [more] */
function press(keys, more = {}) {
  const parts = keys.split("+");
  return {
    code: parts.at(-1), key: "", isComposing: false, ctrlKey: parts.includes("Ctrl"), altKey: parts.includes("Alt"),
    metaKey: parts.includes("Meta"), shiftKey: parts.includes("Shift"),
    getModifierState: (/** @type {string} */ name) => parts.includes(name), ...more,
  };
}

test("modifiers have one order", () => {
  for (const keys of ["KeyX", "Shift+Tab", "Ctrl+KeyZ", "Ctrl+Shift+KeyZ", "Alt+KeyN"]) assert.equal(pc.chord(press(keys)), keys);
});

test("a key is named by its place, whatever letter a layout has there", () => {
  assert.equal(pc.chord(press("Alt+KeyC", { key: "с" })), "Alt+KeyC");
});

test("the number pad types digits and Enter", () => {
  assert.equal(pc.chord(press("Alt+Numpad1")), "Alt+Digit1");
  assert.equal(pc.chord(press("Ctrl+NumpadEnter")), "Ctrl+Enter");
});

test("AltGr and a composed letter are no chords", () => {
  assert.equal(pc.chord(press("Alt+AltGraph+KeyC")), "");
  assert.equal(pc.chord(press("KeyC", { isComposing: true })), "");
});

test("on a PC, other combinations of modifiers are no chords", () => {
  for (const keys of ["Meta+KeyC", "Ctrl+Alt+KeyC"]) assert.equal(pc.chord(press(keys)), "");
});

test("on a Mac, Alt is Control and Option, and Ctrl is Command or Control", () => {
  const chords = [["Ctrl+Alt+KeyC", "Alt+KeyC"], ["Meta+KeyZ", "Ctrl+KeyZ"], ["Ctrl+KeyZ", "Ctrl+KeyZ"], ["Alt+KeyC", ""], ["KeyC", "KeyC"]];
  for (const [keys, chord] of chords) assert.equal(mac.chord(press(keys)), chord, keys);
});

test("key caps are those of the machine", () => {
  assert.deepEqual(pc.capsOf("Ctrl+Shift+KeyZ"), ["Ctrl", "Shift", "Z"]);
  assert.deepEqual(pc.capsOf("Alt+Digit1"), ["Alt", "1"]);
  assert.deepEqual(pc.capsOf("Ctrl+Enter"), ["Ctrl", "↵"]);
  assert.deepEqual(mac.capsOf("Ctrl+Enter"), ["⌘", "↵"]);
  assert.deepEqual(mac.capsOf("Alt+KeyX"), ["⌃⌥", "X"]);
});

test("a digit alone chooses", () => {
  const digits = [["Digit1", 1], ["Numpad9", 9], ["Digit0", null], ["Shift+Digit1", null], ["Alt+Digit1", null], ["KeyA", null]];
  for (const [keys, digit] of digits) assert.equal(pc.digitOf(press(String(keys))), digit, String(keys));
});

test("modifiers alone are known", () => {
  assert.ok(pc.isModifier({ key: "Shift" }));
  assert.ok(!pc.isModifier({ key: "s" }));
});
