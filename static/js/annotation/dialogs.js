// Dialogs and the splitter of the labeling screen.

/** @import { DocumentState, Tag } from "./types" */

import { $, find } from "../site/dom.js";
import { messageOf, post } from "../site/http.js";

for (const dialog of /** @type {NodeListOf<HTMLDialogElement>} */ (document.querySelectorAll(".small-dialog, .drawer"))) {
  find(dialog, "[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

/**
 * Closes a dialog once its form was sent.
 * @param {"skip" | "flag"} name @param {() => Promise<void>} send
 * @returns {() => void} opens it
 */
function formDialog(name, send) {
  const [dialog, error] = [$(`${name}-dialog`), $(`${name}-error`)];
  $(`${name}-form`).addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    try {
      await send();
      dialog.close();
    } catch (problem) {
      error.textContent = messageOf(problem);
      error.hidden = false;
    }
  });
  return () => {
    error.hidden = true;
    dialog.showModal();
  };
}

/** @param {() => DocumentState} current @param {() => void} done @returns {() => void} opens the dialog */
export function skipDialog(current, done) {
  const reasons = () => [...document.querySelectorAll('#skip-form input[name="reason"]')];
  let isSkipped = false;
  const show = formDialog("skip", async () => {
    const reason = $("skip-other").value.trim() || reasons().find((radio) => radio.checked)?.value || "";
    await post(current().urls.skip, { reason });
    isSkipped = true;
  });
  $("skip-dialog").addEventListener("close", () => isSkipped && done());
  return () => {
    isSkipped = false;
    for (const radio of reasons()) radio.checked = false;
    $("skip-other").value = "";
    show();
  };
}

/** @param {() => DocumentState} current @param {() => void} done @returns {() => void} opens the dialog */
export function flagDialog(current, done) {
  const boxes = () => [...document.querySelectorAll('#flag-form input[name="tag"]')];
  const show = formDialog("flag", async () => {
    const known = new Set(boxes().map((box) => box.value));
    const kept = current().tags.map((tag) => tag.name).filter((name) => !known.has(name));
    const chosen = boxes().filter((box) => box.checked).map((box) => box.value);
    /** @type {{ tags: Tag[] }} */
    const { tags } = await post(current().urls.flag, { tags: [...kept, ...chosen] });
    current().tags = tags;
    done();
  });
  return () => {
    for (const box of boxes()) box.checked = current().tags.some((tag) => tag.name === box.value);
    show();
  };
}

/**
 * Sets the width of the document, by pointer or arrow keys; kept in this browser.
 * @param {HTMLElement} handle @param {HTMLElement} panes
 */
export function splitter(handle, panes) {
  /** @param {number} share in percent */
  const set = (share) => {
    const percent = Math.min(75, Math.max(25, Math.round(share)));
    panes.style.setProperty("--document-share", `${percent}fr`);
    panes.style.setProperty("--form-share", `${100 - percent}fr`);
    handle.setAttribute("aria-valuenow", String(percent));
    localStorage.setItem("label-split", String(percent));
  };
  const kept = Number(localStorage.getItem("label-split"));
  if (kept) set(kept);
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    handle.classList.add("dragging");
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.classList.contains("dragging")) return;
    const box = panes.getBoundingClientRect();
    set(((event.clientX - box.left) / box.width) * 100);
  });
  handle.addEventListener("pointerup", () => handle.classList.remove("dragging"));
  handle.addEventListener("dblclick", () => set(48));
  handle.addEventListener("keydown", (event) => {
    const delta = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (delta) set(Number(handle.getAttribute("aria-valuenow")) + delta);
  });
}
