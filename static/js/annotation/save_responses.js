// What the response to a save changes on the screen. It is about what was sent: later changes of the user stay. Nothing in
// it moves the focus. What a half-typed value repairs is shown at once, what it breaks when the field is left.

/** @import { Autosave, Saved } from "./autosave.js" */
/** @import { Confirmations } from "./confirmations.js" */
/** @import { ShownFindings } from "./differences.js" */
/** @import { Draft } from "./draft.js" */
/** @import { Evidence } from "./evidence.js" */
/** @import { Exceptions } from "./exceptions.js" */
/** @import { Form } from "./form.js" */
/** @import { JsonView } from "./json_view.js" */
/** @import { MergeConflicts } from "./merge_conflicts.js" */
/** @import { Status } from "./status.js" */
/** @import { ByPath, Conflict, DocumentState, Entry, SaveResponse, Steps } from "./types" */
/** @import { Validation } from "./validation.js" */

import { combineFindings, differingPaths, isWithin, withoutNews } from "./differences.js";
import { merge } from "./merge.js";
import { own } from "./paths.js";
import { $ } from "../site/dom.js";

/**
 * @typedef {{ sent: Entry, read: Entry, theirs: Entry }} Change `sent` was read by the server as `read`, and merged into `theirs`
 *
 * @typedef {object} Options
 * @property {Draft} draft
 * @property {Form} form
 * @property {Autosave} autosave
 * @property {JsonView} jsonView
 * @property {Validation} validation
 * @property {MergeConflicts} conflicts
 * @property {Confirmations} confirmations
 * @property {Exceptions} exceptions
 * @property {Evidence} evidence
 * @property {Status} status
 * @property {(action: () => void) => void} afterPointer runs an action once no mouse button is pressed
 * @property {() => DocumentState} current
 */

export class SaveResponses {
  /** The entry as the server read it last. @type {Entry} */
  #read = undefined;
  /** The label as the server sent it last, as JSON. */
  #json = "";
  /** A response about a value that is half-typed. @type {{ response: SaveResponse, edits: number } | null} */
  #waiting = null;
  /**
   * A merge that would have taken away the node with the focus.
   * @type {Change & { edits: number, at: Element | null } | null}
   */
  #held = null;

  /** @param {Options} options */
  constructor(options) {
    this.draft = options.draft;
    this.form = options.form;
    this.autosave = options.autosave;
    this.jsonView = options.jsonView;
    this.validation = options.validation;
    this.conflicts = options.conflicts;
    this.confirmations = options.confirmations;
    this.exceptions = options.exceptions;
    this.evidence = options.evidence;
    this.status = options.status;
    this.afterPointer = options.afterPointer;
    this.current = options.current;
    $("form").addEventListener("focusout", () => setTimeout(() => this.#applyHeld()));
  }

  /** @param {DocumentState} state */
  open(state) {
    this.#read = structuredClone(state.entry);
    this.#json = state.json;
    this.#waiting = null;
    this.#held = null;
  }

  /** @param {Saved} saved */
  handle({ response, isFresh, edits, typingPath, sent }) {
    const { status } = this;
    const current = this.current();
    // A field that was left during the save is half-typed no longer.
    const isTyping = typingPath !== null && typingPath === this.form.typingPath;
    const isSameSchema = response.schema === current.schema;
    const changed = sent.entry === undefined ? [] : differingPaths(sent.entry, this.draft.entry);
    this.#json = response.json;
    if (isFresh) {
      status.showSyntaxError("");
      current.state = response.state;
    }
    const local = isSameSchema ? this.#takeValues(response, sent, changed, isFresh) : [];
    if (!isSameSchema) this.#noticeSchema();
    const all = { ...response, clashes: [...response.clashes, ...local], merged: response.merged.filter((path) => !local.some((conflict) => conflict.path === path)) };
    if (all.merged.length || all.clashes.length) status.noticeMerge(all, (path) => this.form.titleOf(path));
    this.conflicts.add(all, isFresh);
    this.confirmations.responded(response, (path) => isSameSchema && sent.entry !== undefined && !changed.some((place) => isWithin(path, place)));
    const isAboutForm = isSameSchema && (sent.entry !== undefined || isFresh);
    const before = this.#shown;
    let findings = isAboutForm ? combineFindings(before, response, changed) : before;
    if (isAboutForm && isTyping) {
      this.#waiting = { response, edits };
      findings = withoutNews(before, findings);
    }
    this.afterPointer(() => current === this.current() && this.#show(findings, response.exceptions));
  }

  /** The findings on the screen. @returns {ShownFindings} */
  get #shown() {
    return { ...this.validation.shown, evidence: this.draft.evidence, exceptions: this.exceptions.reasons };
  }

  /**
   * Takes values and evidence.
   * @param {SaveResponse} response @param {Saved["sent"]} sent @param {string[]} changed @param {boolean} isFresh
   * @returns {Conflict[]} with what was changed since it was sent
   */
  #takeValues(response, sent, changed, isFresh) {
    const { draft, jsonView } = this;
    /** @type {Conflict[]} */
    let conflicts = [];
    if (sent.json !== undefined) {
      if (isFresh) this.#replace(response);
    } else {
      this.#read = sent.entry;
      // Evidence that was confirmed, or moved, since it was sent.
      const paths = new Set([...Object.keys(draft.evidence), ...Object.keys(sent.evidence)]);
      const evidenceAt = (/** @type {ByPath<unknown>} */ evidence, /** @type {string} */ path) => JSON.stringify(own(evidence, path));
      const moved = [...paths].filter((path) => evidenceAt(sent.evidence, path) !== evidenceAt(draft.evidence, path));
      draft.evidence = combineFindings(this.#shown, response, [...changed, ...moved]).evidence;
      if (response.entry !== undefined) conflicts = this.#merge({ sent: sent.entry, read: response.read, theirs: response.entry });
    }
    if (isFresh) jsonView.fill(response.json, response.merged.length > 0);
    return conflicts;
  }

  /** A revision was restored. @param {SaveResponse} response */
  restored(response) {
    this.current().state = response.state;
    this.#replace(response);
    this.jsonView.fill(response.json);
    this.conflicts.add(response, true);
    this.#show(combineFindings(this.#shown, response, []), response.exceptions);
  }

  /** The label was saved in another tab or by another user, and nothing is unsaved here. @param {DocumentState} state */
  savedElsewhere(state) {
    const current = this.current();
    const merged = differingPaths(JSON.parse(this.#json), JSON.parse(state.json));
    const isSubmitted = state.submitted && !current.submitted;
    Object.assign(current, { state: state.state, submitted: state.submitted, author: state.author });
    this.#replace(state);
    this.jsonView.fill(state.json);
    this.#show(combineFindings(this.#shown, state, []), state.exceptions);
    if (merged.length) this.status.noticeMerge({ merged, merged_with: state.author || "you", clashes: [] }, (path) => this.form.titleOf(path));
    else if (isSubmitted) this.status.notice(state.author ? `${state.author} submitted this document.` : "You submitted this document in another tab.");
  }

  /** @param {Pick<SaveResponse, "entry" | "evidence" | "json">} response */
  #replace(response) {
    this.#json = response.json;
    const { draft, form } = this;
    draft.checkpoint();
    draft.entry = response.entry;
    draft.evidence = response.evidence;
    this.#read = structuredClone(response.entry);
    form.fill();
  }

  /**
   * How the server normalized the text of a field; undefined where it has not read it.
   * @returns {(path: string) => string | undefined}
   */
  normalized() {
    const changed = differingPaths(this.#read, this.draft.entry);
    return (path) => (changed.some((place) => isWithin(path, place)) ? undefined : this.validation.shown.shown[path]);
  }

  /** @param {Change} change @param {Steps | null} focus @returns {Conflict[]} */
  #merge(change, focus = this.form.stepsInFocus) {
    const { draft, form } = this;
    const isTyping = form.typing !== null && form.typing === document.activeElement?.closest("[data-node]");
    const { entry, held, conflicts } = merge({ ...change, mine: draft.entry, focus, isTyping });
    // A value that comes back as it was sent is no step: undo is for what the user did.
    if (differingPaths(draft.entry, entry).length) draft.checkpoint();
    draft.entry = entry;
    form.fillAround();
    this.#held = held ? { ...change, edits: this.autosave.edits, at: document.activeElement } : null;
    return conflicts.map(({ steps, theirs }) => ({
      path: form.pathOf(form.nodeAt(steps)),
      absent: theirs === undefined,
      entry: theirs,
      shown: theirs === undefined ? "nothing" : JSON.stringify(theirs),
    }));
  }

  /** The node that a merge left in place has lost the focus: the merge is completed, unless the user went on typing. */
  #applyHeld() {
    const held = this.#held;
    if (!held || held.at === document.activeElement) return;
    this.#held = null;
    if (held.edits === this.autosave.edits) {
      const before = this.draft.entry;
      this.#merge(held);
      // A save that was sent while the node was held has put it back on the server.
      if (differingPaths(before, this.draft.entry).length) this.autosave.change();
    }
    this.evidence.draw();
  }

  /** A field was left: findings about its value are shown. */
  fieldLeft() {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (!waiting || waiting.edits !== this.autosave.edits) return;
    const current = this.current();
    this.afterPointer(() => current === this.current() && this.#show(combineFindings(this.#shown, waiting.response, []), waiting.response.exceptions));
  }

  /**
   * @param {ShownFindings} findings
   * @param {ByPath<string[]> | null} reported exceptions of the response; null where it has none
   */
  #show(findings, reported) {
    const { exceptions, validation, conflicts, status, evidence } = this;
    if (exceptions.reasons !== null && reported && findings.exceptions) exceptions.show(findings.exceptions);
    else exceptions.draw();
    validation.show({ ...findings, conflicts: conflicts.all });
    status.draw();
    evidence.draw();
    evidence.drawLine();
  }

  #noticeSchema() {
    this.status.notice("The schema has changed. Your work is saved as a draft. Reload the page to continue with the new form.", "warning", [["Reload", () => location.reload()]]);
  }
}
