// Copying what is shown once, and the focus on it when it comes.
import { announce } from "../site/base.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-from]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copyFrom);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
    announce("Copied.", "success");
  } catch {
    // Without HTTPS the browser keeps the clipboard to itself; what is selected can still be copied by hand.
    announce("The browser does not let this page copy. It is selected: press Ctrl+C.", "warning");
  }
});

document.addEventListener("htmx:afterSettle", () => document.getElementById("made-title")?.focus());
