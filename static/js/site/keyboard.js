// What key handlers of all pages ask about an event.

const INPUTS_WITHOUT_TEXT = ["checkbox", "radio", "button", "submit", "range"];

/** Whether a key pressed in an element types text or chooses from a list. @param {HTMLElement} element */
export function isTyping(element) {
  if (element.isContentEditable || ["TEXTAREA", "SELECT"].includes(element.tagName)) return true;
  return element.matches("input") && !INPUTS_WITHOUT_TEXT.includes(element.type);
}

/** Whether a modifier other than Shift is held. @param {KeyboardEvent | MouseEvent} event */
export const hasModifier = (event) => event.ctrlKey || event.altKey || event.metaKey;
