// The JSON editor over the page: a frame that is loaded only when it is asked for.

/** @import { Form } from "./form.js" */

import { make } from "../site/dom.js";

/**
 * Opens the editor for a text; `done` gets the changed text. Does nothing while one is open.
 * @param {{ url: string, title: string, text: string, done: (text: string) => void }} options
 */
export function editJson({ url, title, text, done }) {
  if (document.querySelector("dialog.editor-dialog[open]")) return;
  const dialog = make("dialog", { className: "editor-dialog" });
  dialog.setAttribute("aria-label", `${title} as JSON`);
  const frame = make("iframe", { className: "editor-frame", title: "JSON editor", src: url });
  const cancel = make("button", { type: "button", className: "btn btn-outline-secondary", textContent: "Cancel" });
  const apply = make("button", { type: "button", className: "btn btn-primary", textContent: "Apply", disabled: true });
  const head = make("header", { className: "editor-head" });
  head.append(make("h2", { textContent: title }), cancel, apply);
  dialog.append(head, frame);
  document.body.append(dialog);
  const before = document.activeElement;
  let current = text;
  const finish = () => {
    dialog.close();
    if (current !== text) done(current);
  };
  /** @param {MessageEvent} event */
  const listen = ({ source, origin, data }) => {
    if (source !== frame.contentWindow || origin !== location.origin || data?.editor !== true) return;
    if (data.kind === "ready") {
      const dark = document.documentElement.dataset.bsTheme === "dark";
      frame.contentWindow?.postMessage({ editor: true, kind: "open", text, dark }, location.origin);
    } else if (data.kind === "open") {
      apply.disabled = false;
    } else if (data.kind === "change" && typeof data.text === "string") {
      current = data.text;
    } else if (data.kind === "done") {
      finish();
    }
  };
  window.addEventListener("message", listen);
  apply.addEventListener("click", finish);
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    window.removeEventListener("message", listen);
    dialog.remove();
    before?.focus();
  });
  dialog.showModal();
}

/**
 * Buttons at JSON fields, and for any text area they name (data-editor-for="its id").
 * @param {HTMLElement} root @param {Form} form
 */
export function editorButtons(root, form) {
  const url = root.querySelector("[data-editor-url]")?.dataset.editorUrl ?? "";
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-editor], [data-editor-for]");
    if (!button) return;
    const leaf = button.closest("[data-node]");
    const id = button.dataset.editorFor;
    const control = /** @type {FormControl} */ (id === undefined ? leaf?.querySelector("[data-control]") : document.getElementById(id));
    const title = button.dataset.title ?? (leaf?.dataset.title || "The label");
    editJson({ url, title, text: control.value, done: (text) => type(control, text) });
  });
  /** @param {FormControl} control @param {string} text */
  function type(control, text) {
    control.value = text;
    form.draft.checkpoint();
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
