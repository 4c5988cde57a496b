// The contract page: the builder, the JSON editor and the form preview of one schema. Ctrl+S saves, and leaving with
// unsaved changes asks first. The text area holds the schema that is sent; without the editor it is typed there.

/** @import { JsonEditor } from "../schema_builder/editor.js" */
/** @import { Steps } from "../schema_builder/json_tree.js" */

import { Builder } from "../schema_builder/builder.js";
import { watchDrafts } from "../schema_builder/drafts.js";
import { isObject, parse } from "../schema_builder/json_tree.js";
import { announce } from "../site/base.js";
import { $, find } from "../site/dom.js";

const form = document.querySelector("form#contract-form");
if (form) start(form);

/** @param {HTMLFormElement} page */
function start(page) {
  const source = find(page, "textarea[name=schema]");
  const derivedFrom = find(page, "input[name=source]");
  /** @type {string | null} the schema that a draft replaced */
  let before = null;
  const root = $("builder");
  /** @type {JsonEditor | null} */
  let editor = null;
  /** The server's answers come late: only that to the newest text is shown. */
  let isBuilt = true;

  const builder = new Builder(root, {
    write: (text) => editor?.setText(text, true),
    goTo: (steps) => {
      showPanel("json");
      editor?.goTo(steps);
    },
    undo: () => editor?.undo(),
    redo: () => editor?.redo(),
  });
  guardChanges(page, builder);

  /** @param {string} text @param {boolean} isOwn the builder made the change */
  function changed(text, isOwn) {
    source.value = text;
    if (text === before) derivedFrom.value = ""; // the draft was undone
    source.dispatchEvent(new Event("input", { bubbles: true }));
    page.dispatchEvent(new CustomEvent("draft:change", { bubbles: true }));
    if (isOwn) builder.clearProblem();
    else isBuilt = builder.show(text);
    $("builder-stale").hidden = isOwn || isBuilt;
    updateButtons();
  }
  function updateButtons() {
    /** @type {HTMLButtonElement} */ ($("builder-undo")).disabled = !editor?.canUndo;
    /** @type {HTMLButtonElement} */ ($("builder-redo")).disabled = !editor?.canRedo;
  }

  import("../schema_builder/editor.js").then((module) => {
    const vocabulary = JSON.parse($("vocabulary").textContent);
    editor = new module.JsonEditor($("json-editor"), { text: source.value, vocabulary, label: "JSON Schema", onChange: changed });
    find(page, "[data-panels]").hidden = false;
    $("json-text").hidden = true;
    $("json-editor").hidden = false;
    $("builder-card").hidden = false;
    isBuilt = builder.show(source.value);
    $("builder-stale").hidden = isBuilt;
    updateButtons();
    showPanel("form");
    showServerProblem();
    if (page.dataset.isNew !== undefined) builder.start();
    page.dataset.ready = "1";
    if (location.hash === "#from-labels") $("draft-labels").click();
  }).catch(() => announce("The builder could not be loaded. Edit the schema as text."));

  // A restored draft is written into the text area.
  source.addEventListener("input", () => {
    if (editor && source.value !== editor.text) editor.setText(source.value, false);
  });
  $("builder-undo").addEventListener("click", () => editor?.undo());
  $("builder-redo").addEventListener("click", () => editor?.redo());
  for (const control of page.querySelectorAll("[data-panel]")) control.addEventListener("click", () => showPanel(control.dataset.panel ?? ""));

  function showServerProblem() {
    const problem = document.querySelector("[data-schema-error]");
    if (!problem) {
      builder.clearProblem();
      editor?.showProblem(null);
      return;
    }
    const message = problem.textContent?.trim() ?? "";
    const { path = "", line = "" } = problem.dataset;
    const steps = stepsOf(editor?.text ?? "", path);
    editor?.showProblem({ message, steps, line: Number(line) });
    if (isBuilt && !Number(line)) builder.showProblem(steps, message);
  }
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "preview" && editor && source.value === editor.text) showServerProblem();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-use-translated]")) return;
    editor?.setText(JSON.parse($("translated-schema").textContent), false);
  });

  watchDrafts((draft, pasted) => {
    if (!derivedFrom.value) before = source.value;
    derivedFrom.value = pasted;
    builder.reasons = new Map();
    for (const { pattern, text } of draft.reasons) builder.reasons.set(pattern, [...(builder.reasons.get(pattern) ?? []), text]);
    editor?.setText(draft.schema, false);
    if (editor) builder.show(editor.text);
    root.querySelector("input")?.focus();
  });
  document.addEventListener("click", (event) => {
    if (event.target.id !== "draft-hide") return;
    builder.reasons = new Map();
    builder.render();
  });
}

/** @param {string} name form or json */
function showPanel(name) {
  for (const control of document.querySelectorAll("[data-panel]")) {
    const isShown = control.dataset.panel === name;
    control.classList.toggle("active", isShown);
    control.setAttribute("aria-pressed", String(isShown));
    $(`panel-${control.dataset.panel}`).hidden = !isShown;
  }
}

/** @param {HTMLFormElement} page @param {Builder} builder */
function guardChanges(page, builder) {
  const state = () => new URLSearchParams(/** @type {[string, string][]} */ ([...new FormData(page)])).toString();
  /** @type {string | null | undefined} undefined while the form is sent; null where the server rejected what the page shows */
  let saved = document.querySelector(".field-error, .alert-danger") ? null : state();

  page.addEventListener("submit", () => {
    builder.flush();
    saved = undefined;
  });
  addEventListener("beforeunload", (event) => {
    builder.flush();
    if (saved !== undefined && saved !== state()) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.code === "KeyS" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      builder.flush();
      page.requestSubmit();
    }
  });
  document.querySelector(".field-error")?.closest(".form-field")?.querySelector("input, textarea")?.focus();
}

/** The steps of a path of the server, whose names may contain dots. @param {string} text @param {string} path @returns {Steps} */
function stepsOf(text, path) {
  /** @type {Steps} */
  const steps = [];
  let rest = path ? path.split(".") : [];
  try {
    let here = parse(text);
    while (rest.length) {
      let length = rest.length;
      /** @type {string} */
      let name = "";
      for (; length > 0; length -= 1) {
        name = rest.slice(0, length).join(".");
        if (isObject(here) ? here.has(name) : Array.isArray(here) && /^\d+$/u.test(name) && Number(name) < here.length) break;
      }
      if (!length) return steps;
      here = isObject(here) ? (here.get(name) ?? null) : Array.isArray(here) ? here[Number(name)] : null;
      steps.push(name);
      rest = rest.slice(length);
    }
  } catch {
    return steps;
  }
  return steps;
}
