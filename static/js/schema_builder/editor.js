// The JSON editor of a schema: CodeMirror in a shadow root, where its styles need no exception of the page's policy.

/** @import { Diagnostic } from "@codemirror/lint" */
/** @import { Steps } from "./json_tree.js" */
/** @import { Vocabulary } from "./completion.js" */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, isolateHistory, redo, redoDepth, undo, undoDepth } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { bracketMatching, foldGutter, foldKeymap, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { linter, lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Annotation } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

import { completion } from "./completion.js";
import { JsonSyntaxError, parse, spanOf } from "./json_tree.js";

/** Marks changes that the builder made: the builder knows them already. */
const fromBuilder = Annotation.define();

const COLORS = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--accent)" },
  { tag: tags.string, color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--warn)" },
]);
const THEME = EditorView.theme({
  "&": { backgroundColor: "var(--surface)", color: "var(--ink)", fontSize: "0.8125rem", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--bs-font-monospace)", lineHeight: "1.5", overflow: "auto" },
  ".cm-gutters": { backgroundColor: "var(--canvas)", color: "var(--ink-soft)", borderRight: "1px solid var(--line)" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent-soft) 50%, transparent)" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--accent-soft)" },
  ".cm-tooltip": { backgroundColor: "var(--surface)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-soft)", color: "var(--ink)" },
  ".cm-completionInfo": { maxWidth: "280px", padding: "6px 8px" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
  ".cm-matchingBracket": { backgroundColor: "var(--accent-soft)", outline: "1px solid var(--accent)" },
});

/** @typedef {{ message: string, steps?: Steps, line?: number }} Problem what the server says about the schema */

export class JsonEditor {
  /**
   * @param {HTMLElement} parent
   * @param {{ text: string, vocabulary: Vocabulary, label: string, onChange: (text: string, isOwn: boolean) => void }} options
   */
  constructor(parent, { text, vocabulary, label, onChange }) {
    /** @type {Problem | null} */
    this.problem = null;
    const root = parent.attachShadow({ mode: "open" });
    this.view = new EditorView({
      doc: text,
      root,
      parent: root,
      extensions: [
        lineNumbers(), foldGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(), highlightActiveLine(),
        indentUnit.of("  "), json(), syntaxHighlighting(COLORS), THEME, lintGutter(), EditorView.lineWrapping,
        autocompletion({ override: [completion(vocabulary)] }),
        linter((view) => this.diagnostics(view), { delay: 150 }),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, ...lintKeymap]),
        // tabindex: checkers of accessibility do not know that editable content takes the focus
        EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0", spellcheck: "false", autocapitalize: "off" }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          this.problem = null;
          onChange(this.text, update.transactions.some((one) => one.annotation(fromBuilder)));
        }),
      ],
    });
  }

  get text() {
    return this.view.state.doc.toString();
  }

  get canUndo() {
    return undoDepth(this.view.state) > 0;
  }

  get canRedo() {
    return redoDepth(this.view.state) > 0;
  }

  undo() {
    return undo(this.view);
  }

  redo() {
    return redo(this.view);
  }

  /** Replaces what differs, as one step that can be undone. @param {string} text @param {boolean} isOwn by the builder */
  setText(text, isOwn) {
    const before = this.text;
    if (before === text) return;
    const most = Math.min(before.length, text.length);
    let from = 0;
    while (from < most && before[from] === text[from]) from += 1;
    let end = 0;
    while (end < most - from && before.at(-1 - end) === text.at(-1 - end)) end += 1;
    this.view.dispatch({
      changes: { from, to: before.length - end, insert: text.slice(from, text.length - end) },
      annotations: [isolateHistory.of("full"), ...(isOwn ? [fromBuilder.of(true)] : [])],
    });
  }

  /** @param {Problem | null} problem */
  showProblem(problem) {
    this.problem = problem;
    this.view.dispatch(setDiagnostics(this.view.state, this.diagnostics(this.view)));
  }

  /** @param {EditorView} view @returns {Diagnostic[]} */
  diagnostics(view) {
    const { doc } = view.state;
    const text = doc.toString();
    try {
      parse(text);
    } catch (error) {
      if (!(error instanceof JsonSyntaxError)) throw error;
      const from = Math.min(error.position, doc.length);
      return [{ from, to: Math.min(from + 1, doc.length), severity: "error", message: error.message }];
    }
    if (!this.problem) return [];
    const { message, steps, line } = this.problem;
    const row = line ? doc.line(Math.min(line, doc.lines)) : null;
    const span = row ?? spanOf(text, steps ?? []) ?? doc.line(1);
    return [{ from: span.from, to: Math.min(span.to, doc.lineAt(span.from).to), severity: "error", message }];
  }

  /** Shows and selects a value. @param {Steps} steps */
  goTo(steps) {
    const span = spanOf(this.text, steps);
    if (span) this.view.dispatch({ selection: { anchor: span.from, head: span.to }, effects: EditorView.scrollIntoView(span.from, { y: "center" }) });
    this.view.focus();
  }
}
