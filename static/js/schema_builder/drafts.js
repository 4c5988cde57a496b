// "Create from": a schema from examples, a schema of another tool, or the labels of the project.

import { $, find, make } from "../site/dom.js";
import { messageOf, post } from "../site/http.js";

/**
 * @typedef {object} Draft as the server derives it
 * @property {string} schema
 * @property {string} source
 * @property {{ pattern: string, text: string }[]} reasons
 * @property {string[]} notes
 * @property {number} [examples]
 */

const MAX_FILE = 2_000_000; // bytes
/** @type {Record<string, string>} */
const SOURCES = { schema: "the schema", examples: "the examples" };

/** @param {(draft: Draft, text: string) => void} use called with what the draft was derived from */
export function watchDrafts(use) {
  const dialog = /** @type {HTMLDialogElement} */ ($("draft-dialog"));
  const { url = "" } = dialog.dataset;
  const text = /** @type {HTMLTextAreaElement} */ ($("draft-text"));
  const error = $("draft-error");

  /** @param {{ text?: string, labels?: boolean }} body */
  async function create(body) {
    error.textContent = "";
    try {
      const draft = /** @type {Draft} */ (await post(url, body));
      dialog.close();
      use(draft, body.text ?? "");
      showSource(draft);
    } catch (problem) {
      error.textContent = messageOf(problem);
      if (!dialog.open) dialog.showModal();
      const line = Number(/^Line (\d+):/u.exec(messageOf(problem))?.[1] ?? 0);
      if (dialog.open && line) selectLine(text, line);
    }
  }

  $("draft-open").addEventListener("click", () => {
    error.textContent = "";
    dialog.showModal();
    text.focus();
  });
  $("draft-cancel").addEventListener("click", () => dialog.close());
  $("draft-create").addEventListener("click", () => create({ text: text.value }));
  $("draft-labels").addEventListener("click", () => create({ labels: true }));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) create({ text: text.value });
  });
  const file = /** @type {HTMLInputElement} */ ($("draft-file"));
  file.addEventListener("change", async () => {
    const [chosen] = file.files ?? [];
    if (!chosen) return;
    file.value = "";
    if (chosen.size > MAX_FILE) error.textContent = "The file is larger than 2 MB. Use part of it; a few hundred examples are enough.";
    else text.value = await chosen.text();
  });
}

/** @param {HTMLTextAreaElement} area @param {number} line */
function selectLine(area, line) {
  const lines = area.value.split("\n");
  const from = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(from, from + (lines[line - 1] ?? "").length);
}

/** What the draft was made from, and what it leaves out. @param {Draft} draft */
function showSource(draft) {
  const box = $("draft-source");
  const count = draft.examples ? ` (${draft.examples} labels)` : "";
  const whole = draft.reasons.find(({ pattern }) => !pattern)?.text ?? "";
  const each = draft.reasons.some(({ pattern }) => pattern) ? "The reason for each inference is shown below its field." : "";
  const words = [`Created from ${SOURCES[draft.source] ?? draft.source}${count}.`, whole, each, "Correct what is wrong. Ctrl+Z restores the previous schema."];
  const line = make("p", { textContent: words.filter(Boolean).join(" ") });
  const close = make("button", { type: "button", className: "btn btn-sm btn-outline-secondary", textContent: "Hide reasons" });
  close.id = "draft-hide";
  box.replaceChildren(line);
  if (draft.notes.length) {
    const list = make("ul", { className: "reasons" });
    list.append(...draft.notes.map((note) => make("li", { textContent: note })));
    box.append(list);
  }
  box.append(close);
  box.hidden = false;
  find(box, "button").addEventListener("click", () => (box.hidden = true));
}
