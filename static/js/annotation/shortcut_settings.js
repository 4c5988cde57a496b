// The user's shortcuts: "Change" waits for a chord, which the server accepts or rejects with a reason.

import { capElements, chord, isModifier } from "./chords.js";
import { $, around, find, make } from "../site/dom.js";

/**
 * The button that waits for a chord, and what its row showed before.
 * @type {{ button: HTMLElement, cell: Element, before: Node[] } | null}
 */
let waiting = null;

function drawCaps() {
  for (const element of document.querySelectorAll("[data-chord]")) element.replaceChildren(...capElements(element.dataset.chord ?? ""));
}

/** @param {HTMLElement} button */
function listen(button) {
  stop();
  const row = around(button, "tr");
  const cell = find(row, "[data-row-keys]");
  waiting = { button, cell, before: [...cell.childNodes] };
  button.textContent = "Cancel";
  const prompt = make("span", { className: "keys-waiting", textContent: "Press the keys, or Escape to cancel" });
  prompt.setAttribute("role", "status");
  cell.replaceChildren(prompt);
  row.classList.add("keys-listening");
}

function stop() {
  if (!waiting) return;
  const { button, cell, before } = waiting;
  waiting = null;
  button.textContent = "Change";
  cell.replaceChildren(...before);
  around(button, "tr").classList.remove("keys-listening");
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-change]");
  if (button && waiting?.button !== button) listen(button);
  else if (button || !target.closest(".keys-listening")) stop();
});

document.addEventListener("keydown", (event) => {
  if (!waiting) return;
  // Tab moves on, as ever.
  if (event.key === "Tab") {
    stop();
    return;
  }
  event.preventDefault();
  event.stopPropagation();
  if (isModifier(event)) return;
  const { action } = around(waiting.button, "tr").dataset;
  stop();
  if (event.key === "Escape") return;
  $("key-action").value = action ?? "";
  $("key-chord").value = chord(event);
  $("key-form").requestSubmit();
}, { capture: true });

document.addEventListener("htmx:afterSettle", drawCaps);
drawCaps();
