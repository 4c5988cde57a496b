// Dialogs and the splitter of the labeling screen.

import { post } from "./autosave.js";

const $ = (id) => document.getElementById(id);

for (const dialog of document.querySelectorAll(".small-dialog, .drawer")) {
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

function whenSent(name, send) {
  const error = $(`${name}-error`);
  $(`${name}-form`).addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    try {
      await send();
      $(`${name}-dialog`).close();
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
    }
  });
  return () => {
    error.hidden = true;
    $(`${name}-dialog`).showModal();
  };
}

export function skipDialog(current, done) {
  const reasons = () => [...document.querySelectorAll('#skip-form [name="reason"]')];
  let skipped = false;
  const show = whenSent("skip", async () => {
    const reason = $("skip-other").value.trim() || reasons().find((radio) => radio.checked)?.value || "";
    await post(current().urls.skip, { reason });
    skipped = true;
  });
  $("skip-dialog").addEventListener("close", () => skipped && done());
  return () => {
    skipped = false;
    for (const radio of reasons()) radio.checked = false;
    $("skip-other").value = "";
    show();
  };
}

export function flagDialog(current, done) {
  const boxes = () => [...document.querySelectorAll('#flag-form [name="tag"]')];
  const show = whenSent("flag", async () => {
    const known = new Set(boxes().map((box) => box.value));
    const kept = current().tags.map((tag) => tag.name).filter((name) => !known.has(name));
    const chosen = boxes().filter((box) => box.checked).map((box) => box.value);
    current().tags = (await post(current().urls.flag, { tags: [...kept, ...chosen] })).tags;
    done();
  });
  return () => {
    for (const box of boxes()) box.checked = current().tags.some((tag) => tag.name === box.value);
    show();
  };
}

// The width of the document, by pointer or arrow keys; kept in this browser.
export function splitter(handle, panes) {
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
