// Runs in the frame of the JSON editor: gets a text from the page around it, and sends every change back.

import { $ } from "../site/dom.js";

/**
 * @typedef {{ json?: unknown, text?: string }} Content of vanilla-jsoneditor
 * @typedef {{ focus(): void }} Editor
 * @typedef {{ className?: string, text?: string }} MenuItem
 * @typedef {{ createJSONEditor: (options: { target: HTMLElement, props: Record<string, unknown> }) => Editor }} EditorModule
 * @typedef {(this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown} Reviver
 *
 * @typedef {JSON & { rawJSON(text: string): unknown }} SourceJson JSON.parse source text access, which the types lack
 */

const HOST = window.parent;
const json = /** @type {SourceJson} */ (JSON);
const keepsDigits = typeof json.rawJSON === "function";

/** @param {Record<string, unknown>} message */
const send = (message) => HOST.postMessage({ editor: true, ...message }, location.origin);

/** A number with the digits it is written in: the editor would round it, or drop the zero of 1248.50. */
class ExactNumber {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
  }
  valueOf() {
    return Number(this.source);
  }
  toString() {
    return this.source;
  }
  toJSON() {
    return json.rawJSON(this.source);
  }
}

const parser = {
  /** @param {string} text @param {Reviver} [reviver] */
  parse(text, reviver) {
    /** @type {Reviver} */
    function revive(key, value, context) {
      const source = keepsDigits && typeof value === "number" ? context?.source : undefined;
      const exact = source !== undefined && String(value) !== source ? new ExactNumber(source) : value;
      return reviver ? reviver.call(this, key, exact) : exact;
    }
    return JSON.parse(text, revive);
  },
  /** @param {unknown} value @param {(string | number)[] | null} replacer @param {string | number} [space] */
  stringify: (value, replacer, space) => JSON.stringify(value, replacer, space),
};

/** @type {Editor | null} */
let editor = null;

/** @param {Content} content */
function textOf(content) {
  if (content.text !== undefined) return content.text;
  return content.json === undefined ? "" : parser.stringify(content.json, null, 2);
}

/** @param {string} text @returns {Content} */
function contentOf(text) {
  try {
    return { json: text.trim() ? parser.parse(text) : undefined };
  } catch {
    return { text };
  }
}

/** @param {{ text: string, dark: boolean }} message */
async function open({ text, dark }) {
  document.documentElement.classList.toggle("jse-theme-dark", dark);
  const { createJSONEditor } = /** @type {EditorModule} */ (await import($("frame-script").dataset.editorScript ?? ""));
  const content = contentOf(text);
  editor = createJSONEditor({
    target: $("editor"),
    props: {
      content,
      // Without exact numbers the tree would change digits that the user did not touch.
      mode: content.text === undefined && keepsDigits ? "tree" : "text",
      parser,
      askToFormat: false,
      onChange: (/** @type {Content} */ changed) => send({ kind: "change", text: textOf(changed) }),
      // Sorting and queries run expressions, which the policy of this page forbids.
      onRenderMenu: (/** @type {MenuItem[]} */ items) =>
        items.filter((item) => !["jse-transform", "jse-sort"].includes(item.className ?? "") && (keepsDigits || item.text !== "tree")),
    },
  });
  editor.focus();
  send({ kind: "open" });
}

window.addEventListener("message", ({ source, origin, data }) => {
  if (source !== HOST || origin !== location.origin || data?.editor !== true || data.kind !== "open" || editor) return;
  open(data).catch(() => ($("failed").hidden = false));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send({ kind: "done" });
}, { capture: true });
send({ kind: "ready" });
