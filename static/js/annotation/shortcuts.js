// The user's keyboard shortcuts: the action of a key press, and the chords that the page displays.

import { capsOf, chord } from "./chords.js";
import { isTyping } from "../site/keyboard.js";

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
  }
}
