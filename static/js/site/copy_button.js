// Buttons that copy: the text of data-copy, the input that data-copy-from names, the address of the page
// (data-copy-address), or with an empty data-copy the text of the element before the button.

import { announce } from "./base.js";

/** @param {HTMLElement} button @param {HTMLInputElement | null} field */
function textOf(button, field) {
  if (field) return field.value;
  if ("copyAddress" in button.dataset) return location.href;
  return button.dataset.copy || (button.previousElementSibling?.textContent ?? "");
}

/** @param {HTMLElement} button */
export async function copy(button) {
  const field = /** @type {HTMLInputElement | null} */ (document.getElementById(button.dataset.copyFrom ?? ""));
  const text = textOf(button, field);
  field?.select();
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied.", "success");
  } catch {
    // Without HTTPS a page has no clipboard; a selection can still be copied by hand.
    const how = field ? "The text is selected: press Ctrl+C." : text;
    announce(`The browser does not allow copying here. ${how}`, "warning");
  }
}
