// The keys of a person: "Change" waits for a chord, which the server then takes or refuses with a reason.

import { capsOf, chord, isModifier, keyCap } from "./shortcuts.js";

const $ = (id) => document.getElementById(id);
let waiting = null; // the button that waits for a chord, and what stood in the row

function drawCaps() {
  for (const caps of document.querySelectorAll("[data-chord]")) {
    caps.replaceChildren(...capsOf(caps.dataset.chord).flatMap((cap) => [keyCap(cap), " "]));
  }
}

function listen(button) {
  stop();
  const cell = button.closest("tr").querySelector("[data-row-keys]");
  waiting = { button, cell, before: [...cell.childNodes] };
  button.textContent = "Cancel";
  cell.replaceChildren(Object.assign(document.createElement("span"), { className: "keys-waiting", textContent: "Press the keys; Escape leaves it as it is" }));
  cell.firstChild.setAttribute("role", "status");
  button.closest("tr").classList.add("keys-listening");
}

function stop() {
  if (!waiting) return;
  const { button, cell, before } = waiting;
  waiting = null;
  button.textContent = "Change";
  cell.replaceChildren(...before);
  button.closest("tr").classList.remove("keys-listening");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-change]");
  if (!button) return waiting && !event.target.closest(".keys-listening") ? stop() : undefined;
  if (waiting?.button === button) stop();
  else listen(button);
  return undefined;
});

document.addEventListener("keydown", (event) => {
  if (!waiting) return;
  // Tab and a press of Enter or Space on "Cancel" stay what they are.
  if (event.key === "Tab") return stop();
  event.preventDefault();
  event.stopPropagation();
  if (event.key === "Escape") return stop();
  if (isModifier(event)) return undefined;
  const pressed = chord(event);
  const { action } = waiting.button.closest("tr").dataset;
  stop();
  $("key-action").value = action;
  $("key-chord").value = pressed;
  $("key-form").requestSubmit();
  return undefined;
}, { capture: true });

document.addEventListener("htmx:afterSettle", drawCaps);
drawCaps();
