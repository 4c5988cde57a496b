// Runs in the frame of the JSON editor: gets a text from the page around it, and sends every change back.

const HOST = window.parent;
const place = document.getElementById("editor");
const send = (message) => HOST.postMessage({ editor: true, ...message }, location.origin);

// A number with the digits it is written in: the editor would round it, or drop the zero of 1248.50.
class Exact {
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
    return JSON.rawJSON(this.source);
  }
}

const keepsDigits = typeof JSON.rawJSON === "function";
const parser = {
  parse(text, reviver) {
    return JSON.parse(text, function revive(key, value, context) {
      const rounded = keepsDigits && typeof value === "number" && context?.source !== undefined && String(value) !== context.source;
      const exact = rounded ? new Exact(context.source) : value;
      return reviver ? reviver.call(this, key, exact) : exact;
    });
  },
  stringify: (value, replacer, space) => JSON.stringify(value, replacer, space),
};

let editor = null;

function textOf(content) {
  if (content.text !== undefined) return content.text;
  return content.json === undefined ? "" : parser.stringify(content.json, null, 2);
}

function contentOf(text) {
  try {
    return { json: text.trim() ? parser.parse(text) : undefined };
  } catch {
    return { text };
  }
}

async function open({ text, readOnly, dark }) {
  document.documentElement.classList.toggle("jse-theme-dark", dark);
  const { createJSONEditor } = await import(document.getElementById("frame-script").dataset.editorScript);
  const content = contentOf(text);
  editor = createJSONEditor({
    target: place,
    props: {
      content,
      // Without exact numbers the tree would change digits that nobody touched.
      mode: content.text === undefined && keepsDigits ? "tree" : "text",
      readOnly,
      parser,
      askToFormat: false,
      onChange: (changed) => send({ kind: "change", text: textOf(changed) }),
      // Sorting and queries run expressions, which the policy of this page forbids.
      onRenderMenu: (items) => items.filter((item) => !["jse-transform", "jse-sort"].includes(item.className) && (keepsDigits || item.text !== "tree")),
    },
  });
  editor.focus();
  send({ kind: "open" });
}

window.addEventListener("message", (event) => {
  if (event.source !== HOST || event.origin !== location.origin || event.data?.editor !== true) return;
  if (event.data.kind !== "open" || editor) return;
  open(event.data).catch(() => {
    document.getElementById("failed").hidden = false;
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send({ kind: "done" });
}, { capture: true });
send({ kind: "ready" });
