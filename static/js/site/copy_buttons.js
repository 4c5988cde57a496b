// A button that copies the text of the input that it names.

import { announce } from "./base.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-from]");
  if (!button) return;
  const field = /** @type {HTMLInputElement} */ (document.getElementById(button.dataset.copyFrom ?? ""));
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
    announce("Copied.", "success");
  } catch {
    // Without HTTPS a page has no clipboard; the selection can still be copied by hand.
    announce("The browser does not allow copying here. The text is selected: press Ctrl+C.", "warning");
  }
});
