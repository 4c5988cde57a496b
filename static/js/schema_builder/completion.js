// Completion of a schema's JSON: keywords, types, formats, options under x-slm, references and names of fields.

/** @import { CompletionContext, CompletionResult, Completion } from "@codemirror/autocomplete" */
/** @import { EditorState } from "@codemirror/state" */
/** @import { SyntaxNode } from "@lezer/common" */

import { syntaxTree } from "@codemirror/language";

/**
 * @typedef {object} Vocabulary the words of the dialect, as the server sends them
 * @property {string[]} maps keywords with schemas by name
 * @property {string[]} lists keywords with a list of schemas
 * @property {string[]} singles keywords with one schema
 * @property {string[]} plain
 * @property {string[]} types
 * @property {string[]} formats
 * @property {Record<string, { description: string, values: string[] }>} options of x-slm
 */
/** @typedef {"schema" | "map" | "list" | "options" | "names" | "value"} Kind what an object or list contains */

const FLAGS = new Set(["additionalProperties", "uniqueItems", "unevaluatedProperties", "deprecated", "readOnly", "writeOnly"]);
const NAMES = new Set(["required"]);

/** @param {Vocabulary} words @param {Kind} outer @param {string} name @returns {Kind} */
function inside(words, outer, name) {
  if (outer === "map" || outer === "list") return "schema";
  if (outer !== "schema") return "value";
  if (words.maps.includes(name)) return "map";
  if (words.lists.includes(name)) return "list";
  if (words.singles.includes(name)) return "schema";
  if (NAMES.has(name)) return "names";
  return name === "x-slm" ? "options" : "value";
}

/** @param {Vocabulary} words @param {string[]} steps @returns {Kind} */
function kindOf(words, steps) {
  /** @type {Kind} */
  let kind = "schema";
  for (const step of steps) kind = inside(words, kind, step);
  return kind;
}

/** @param {EditorState} state @param {SyntaxNode | null} property */
function nameOf(state, property) {
  const name = property?.getChild("PropertyName");
  if (!name) return "";
  try {
    return String(JSON.parse(state.sliceDoc(name.from, name.to)));
  } catch {
    return "";
  }
}

/** Names from the top to a node. @param {EditorState} state @param {SyntaxNode | null} node */
function stepsTo(state, node) {
  const steps = [];
  for (let here = node; here; here = here.parent) if (here.name === "Property") steps.unshift(nameOf(state, here));
  return steps;
}

/** @param {EditorState} state @param {SyntaxNode} object */
const membersOf = (state, object) => new Set(object.getChildren("Property").map((property) => nameOf(state, property)));

/** @param {string[]} values @param {string} [type] @returns {Completion[]} */
const quoted = (values, type = "constant") => values.map((label) => ({ label: JSON.stringify(label), type }));

/**
 * @param {Vocabulary} words
 * @returns {(context: CompletionContext) => CompletionResult | null}
 */
export function completion(words) {
  /** @param {EditorState} state @param {SyntaxNode} object @param {string[]} steps @returns {Completion[]} */
  function names(state, object, steps) {
    const kind = kindOf(words, steps);
    const used = membersOf(state, object);
    if (kind === "options") {
      return Object.entries(words.options)
        .filter(([name]) => !used.has(name))
        .map(([name, { description }]) => ({ label: name, info: description, type: "property" }));
    }
    if (kind !== "schema") return [];
    return [...words.plain, ...words.singles, ...words.maps, ...words.lists].filter((name) => !used.has(name)).map((label) => ({ label, type: "property" }));
  }

  /** @param {EditorState} state @param {SyntaxNode} property @returns {Completion[]} */
  function values(state, property) {
    const steps = stepsTo(state, property);
    const name = steps.at(-1) ?? "";
    const kind = kindOf(words, steps.slice(0, -1));
    if (kind === "options") return quoted(words.options[name]?.values ?? []);
    if (kind !== "schema") return [];
    if (name === "type") return quoted(words.types, "type");
    if (name === "format") return quoted(words.formats);
    if (FLAGS.has(name)) return ["true", "false"].map((label) => ({ label, type: "keyword" }));
    if (name === "$ref") return quoted(["#", ...definitions(state)]);
    if (NAMES.has(name)) return quoted(siblings(state, property));
    return [];
  }

  return (context) => {
    const { state, pos } = context;
    const node = syntaxTree(state).resolveInner(pos, -1);
    const text = context.matchBefore(/"[^"\n]*|[\w$-]+/u);
    if (!text && !context.explicit) return null;
    const from = text?.from ?? pos;
    const property = around(node, "Property");
    const object = around(node, "Object");
    const isValue = property && object && property.from >= object.from && pos > (property.getChild("PropertyName")?.to ?? pos);
    const options = isValue
      ? values(state, property)
      : object
        ? names(state, object, stepsTo(state, object)).map((one) => ({ ...one, apply: `"${one.label}"${hasColon(state, pos) ? "" : ": "}` }))
        : [];
    if (!options.length) return null;
    const closed = state.sliceDoc(pos, pos + 1) === '"' && text?.text.startsWith('"') ? pos + 1 : pos;
    return { from, to: closed, options: options.map((one) => ({ ...one, label: isValue ? one.label : `"${one.label}"`, displayLabel: one.label.replaceAll('"', "") })), filter: true };
  };
}

/** @param {SyntaxNode | null} node @param {string} name */
function around(node, name) {
  let here = node;
  while (here && here.name !== name) here = here.parent;
  return here;
}

/** @param {EditorState} state @param {number} pos */
const hasColon = (state, pos) => /^"?\s*:/u.test(state.sliceDoc(pos, pos + 40));

/** @param {EditorState} state @returns {string[]} */
function definitions(state) {
  const top = syntaxTree(state).topNode.getChild("Object");
  return ["$defs", "definitions"].flatMap((key) => {
    const property = top?.getChildren("Property").find((one) => nameOf(state, one) === key);
    const object = property?.getChild("Object");
    return object ? [...membersOf(state, object)].map((name) => `#/${key}/${name}`) : [];
  });
}

/** The fields next to "required". @param {EditorState} state @param {SyntaxNode} property */
function siblings(state, property) {
  const other = property.parent?.getChildren("Property").find((one) => nameOf(state, one) === "properties")?.getChild("Object");
  return other ? [...membersOf(state, other)] : [];
}
