// Outputs of an evaluation by keys: j and k go through the rows of a list, or to the next and previous output.

import { hasModifier, isTyping } from "../site/keyboard.js";

/** @param {1 | -1} step */
function move(step) {
  const link = document.querySelector(`a[data-key="${step > 0 ? "j" : "k"}"]`);
  if (link) {
    location.assign(link.href);
    return;
  }
  const rows = [...document.querySelectorAll("[data-rows] summary")];
  if (!rows.length) return;
  const current = rows.findIndex((row) => row === document.activeElement?.closest("details.output")?.querySelector("summary"));
  const first = step > 0 ? 0 : rows.length - 1;
  const next = current < 0 ? first : Math.min(rows.length - 1, Math.max(0, current + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (isTyping(event.target) || hasModifier(event)) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
});
