// The JSON editor over the page: a frame that is loaded only when somebody asks for it.

const opened = () => document.querySelector("dialog.editor-dialog[open]");

// Asks the person to edit a text; `done` gets the new one. A second call while one is open does nothing.
export function editJson({ url, title, text, readOnly = false, done }) {
  if (opened()) return;
  const dialog = make("dialog", { className: "editor-dialog" });
  dialog.setAttribute("aria-label", `${title} as JSON`);
  const frame = make("iframe", { className: "editor-frame", title: "JSON editor", src: url });
  const cancel = make("button", { type: "button", className: "btn btn-outline-secondary", textContent: readOnly ? "Close" : "Cancel" });
  const use = make("button", { type: "button", className: "btn btn-primary", textContent: "Use it", disabled: true });
  const head = make("header", { className: "editor-head" });
  head.append(make("h2", { textContent: title }), cancel, ...(readOnly ? [] : [use]));
  dialog.append(head, frame);
  document.body.append(dialog);
  const before = document.activeElement;
  let now = text;
  const finish = () => {
    dialog.close();
    if (now !== text) done(now);
  };
  const listen = (event) => {
    if (event.source !== frame.contentWindow || event.origin !== location.origin || event.data?.editor !== true) return;
    const { kind } = event.data;
    if (kind === "ready") {
      const dark = document.documentElement.dataset.bsTheme === "dark";
      frame.contentWindow.postMessage({ editor: true, kind: "open", text, readOnly, dark }, location.origin);
    } else if (kind === "open") {
      use.disabled = false;
    } else if (kind === "change" && typeof event.data.text === "string") {
      now = event.data.text;
    } else if (kind === "done" && !readOnly) {
      finish();
    }
  };
  window.addEventListener("message", listen);
  use.addEventListener("click", finish);
  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    window.removeEventListener("message", listen);
    dialog.remove();
    before?.focus();
  });
  dialog.showModal();
}

// Buttons beside JSON fields, and beside any text area they name (data-editor-for="its id").
export function editorButtons(root, form) {
  const url = root.querySelector("[data-editor-url]")?.dataset.editorUrl;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-editor], [data-editor-for]");
    if (!button) return;
    const leaf = button.closest("[data-node]");
    const control = "editorFor" in button.dataset ? document.getElementById(button.dataset.editorFor) : leaf.querySelector("[data-control]");
    const title = button.dataset.title ?? (leaf?.dataset.title || "The label");
    editJson({ url, title, text: control.value, done: (text) => type(control, text) });
  });
  function type(control, text) {
    control.value = text;
    form.model.checkpoint();
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

const make = (name, properties) => Object.assign(document.createElement(name), properties);
