// The actions of the labeling screen, which shortcuts and buttons start.

/** @import { Autosave } from "./autosave.js" */
/** @import { Comments } from "./comments.js" */
/** @import { Completion } from "./completion.js" */
/** @import { Confirmations } from "./confirmations.js" */
/** @import { Draft } from "./draft.js" */
/** @import { Evidence } from "./evidence.js" */
/** @import { Exceptions } from "./exceptions.js" */
/** @import { Form } from "./form.js" */
/** @import { History } from "./history.js" */
/** @import { JsonView } from "./json_view.js" */
/** @import { Navigation } from "./navigation.js" */
/** @import { Shortcuts } from "./shortcuts.js" */
/** @import { Status } from "./status.js" */
/** @import { Validation } from "./validation.js" */

import { chord, digitOf } from "./chords.js";
import { firstDifference } from "./differences.js";
import { itemOf, rowsOf } from "./nodes.js";
import { pathOf, split } from "./paths.js";
import { announce } from "../site/base.js";
import { $, find } from "../site/dom.js";

// In the text of the JSON view these are the browser's.
const NATIVE_IN_JSON = new Set(["undo", "redo", "row_duplicate", "row_delete"]);

/**
 * @typedef {object} Options
 * @property {Autosave} autosave
 * @property {Comments} comments
 * @property {Completion} completion
 * @property {Confirmations} confirmations
 * @property {Draft} draft
 * @property {Evidence} evidence
 * @property {Exceptions} exceptions
 * @property {Form} form
 * @property {JsonView} jsonView
 * @property {Navigation} navigation
 * @property {History} revisions
 * @property {Status} status
 * @property {Validation} validation
 * @property {() => void} changed
 * @property {() => void} skip opens the dialog
 * @property {() => void} flag opens the dialog
 */

export class ScreenActions {
  /** @param {Options} options */
  constructor({
    autosave, comments, completion, confirmations, draft, evidence, exceptions, form, jsonView, navigation, revisions, status,
    validation, changed, skip, flag,
  }) {
    this.autosave = autosave;
    this.comments = comments;
    this.completion = completion;
    this.confirmations = confirmations;
    this.draft = draft;
    this.evidence = evidence;
    this.exceptions = exceptions;
    this.form = form;
    this.jsonView = jsonView;
    this.navigation = navigation;
    this.revisions = revisions;
    this.status = status;
    this.validation = validation;
    this.changed = changed;
    /** @type {Record<string, () => unknown>} */
    this.handlers = {
      submit: () => this.submit(),
      save: () => this.saveNow(),
      undo: () => !this.jsonView.isShown && this.step("undo"),
      redo: () => !this.jsonView.isShown && this.step("redo"),
      next: () => this.navigation.go("next"),
      previous: () => this.navigation.go("previous"),
      skip,
      flag,
      comment: () => this.comments.show(),
      history: () => this.revisions.show(),
      right: () => this.confirmValue(),
      messages: () => this.focusMessages(),
      all_fields: () => this.toggleExceptions(),
      absent: () => this.toggleAbsent(),
      absent_rest: () => this.navigation.answerRest(),
      reading_1: () => this.chooseReadingAt(0),
      reading_2: () => this.chooseReadingAt(1),
      evidence: () => this.evidence.cycle() || announce("This value is not in the document.", "info"),
      row_add: () => this.addRow(),
      row_duplicate: () => this.withRow((item) => this.form.duplicateRow(item)),
      row_delete: () => this.withRow((item) => this.form.deleteRow(item)),
      json: () => this.jsonView.turn(),
      view: () => this.evidence.pages.turnView() || announce("This document has no page images.", "info"),
      document: () => this.focusDocument(),
      keys: () => find(document, "[data-keys-help]").click(),
    };
  }

  /** Runs the action of a key press. @param {KeyboardEvent & Targeted} event @param {Shortcuts} shortcuts */
  onKey(event, shortcuts) {
    const action = shortcuts.actionOf(event);
    if (action && !(this.jsonView.isShown && NATIVE_IN_JSON.has(action))) {
      event.preventDefault();
      this.form.commitTyping();
      this.handlers[action]();
      return;
    }
    this.choose(event);
  }

  /** Digits choose in a choice; Backspace and Delete empty it. @param {KeyboardEvent & Targeted} event */
  choose(event) {
    const control = /** @type {FormControl | null} */ (event.target.closest("[data-choice]"));
    const leaf = control?.closest("[data-node]");
    if (!control || !leaf) return;
    const number = digitOf(event);
    const isEmptied = ["Backspace", "Delete"].includes(chord(event));
    if (number === null && !isEmptied) return;
    event.preventDefault();
    if (isEmptied) {
      this.draft.checkpoint();
      this.form.put(leaf, undefined);
    } else if (number !== null && control.tagName === "SELECT") {
      if (control.options[number]) control.selectedIndex = number;
      this.form.typed(control);
    } else if (number !== null) {
      const other = leaf.querySelectorAll("[data-choice]")[number - 1];
      other?.focus();
      other?.click();
    }
  }

  async submit() {
    // Pending confirmations are part of what is submitted.
    if (this.confirmations.hasPending) await this.autosave.flush();
    await this.navigation.submit();
  }

  async saveNow() {
    if (await this.autosave.flush()) this.status.announce("Saved.");
  }

  addRow() {
    const active = document.activeElement?.closest("#form [data-node]") ?? this.evidence.node;
    if (this.evidence.addBlock(active)) return;
    const rows = rowsOf(active) ?? this.form.root.querySelector('[data-node="table"], [data-node="list"]');
    if (rows) this.form.addRow(rows);
  }

  /** @param {(item: Element) => void} action */
  withRow(action) {
    const item = document.activeElement && itemOf(document.activeElement);
    if (item) action(item);
  }

  toggleAbsent() {
    const rows = rowsOf(document.activeElement?.closest("[data-add-row], [data-null]"));
    if (rows) this.form.toggleAbsent(rows);
    else if (this.evidence.node && !this.form.toggleAbsent(this.evidence.node)) this.status.announce("This field is required, so it cannot be absent.");
  }

  focusForm() {
    if (this.evidence.path !== null) this.form.focus(this.evidence.path);
    else this.form.focusFirstEmpty();
  }

  focusDocument() {
    const { front } = this.evidence.pages;
    if (front.contains(document.activeElement)) this.focusForm();
    else front.focus({ preventScroll: true });
  }

  /** The path of the message with the focus, else of the field that had the focus last. */
  currentPath() {
    return document.activeElement?.closest("[data-about]")?.dataset.about ?? this.evidence.path;
  }

  /** Goes to the first message with a control, from there to the next one, and back to the field. */
  focusMessages() {
    const path = this.currentPath();
    const node = path === null ? null : this.form.find(path).node;
    const boxes = [
      ...(path === null ? [] : this.form.root.querySelectorAll(`[data-about="${CSS.escape(path)}"]`)),
      ...(node?.querySelectorAll(":scope > .sf-raw-note") ?? []),
      ...(rowsOf(node)?.querySelectorAll(":scope > [data-messages] > .sf-message-more, :scope > .sf-raw-note, :scope > .sf-columns") ?? []),
      $("notice"),
      $("messages"),
    ];
    const controls = boxes.filter((box) => !box.hidden).flatMap((box) => [...box.querySelectorAll("button, input, select, a")]);
    const next = controls[controls.findIndex((control) => control === document.activeElement) + 1];
    if (next) next.focus();
    else if (path !== null) this.form.focus(path);
    if (!controls.length) this.status.announce("This field has no messages.");
  }

  /** The path with something to confirm: an invariant may be broken by a row or by the whole label. @param {string} path */
  pathToConfirm(path) {
    for (let place = path; ; place = pathOf(split(place).slice(0, -1))) {
      if (this.validation.needsConfirmation(place)) return place;
      if (place === "") return path;
    }
  }

  /** Confirms the value, or marks it as reviewed. */
  confirmValue() {
    const path = this.currentPath();
    const place = path === null ? null : this.pathToConfirm(path);
    if (this.exceptions.reasons === null) {
      if (place !== null) this.confirmations.toggle(place);
      return;
    }
    // A reviewed value may need a confirmation by now.
    const isReviewed = path !== null && !this.exceptions.reasons[path];
    if (place !== null && isReviewed && this.validation.needsConfirmation(place) && !this.validation.isConfirmed(place)) this.confirmations.set(place, true);
    this.exceptions.markReviewed(path);
  }

  toggleExceptions() {
    if (this.exceptions.reasons === null) announce("This form is not pre-filled.", "info");
    else this.exceptions.toggle();
  }

  /** Puts the date that an ambiguous one means. @param {string} path @param {string} date */
  chooseReading(path, date) {
    this.form.commitTyping();
    this.draft.checkpoint();
    this.form.put(this.form.find(path).node, date);
  }

  /** By a key, also before the server has found that the date is ambiguous. @param {number} index */
  async chooseReadingAt(index) {
    const path = this.currentPath();
    if (path === null) return;
    const entryAt = () => JSON.stringify(this.form.entryOf(this.form.find(path).node));
    const entry = entryAt();
    await this.autosave.flush();
    const date = this.validation.shown.readings[path]?.[index];
    if (date === undefined) announce("This field has no ambiguous date.", "info");
    else if (entryAt() === entry) this.chooseReading(path, date);
  }

  /** The focus goes where something changed, unless it is there already. @param {"undo" | "redo"} direction */
  step(direction) {
    const before = this.draft.entry;
    if (!this.draft[direction]()) {
      this.status.announce(`Nothing to ${direction}.`);
      return;
    }
    const { path } = this.evidence;
    this.evidence.hideColumns();
    this.form.fill();
    const steps = firstDifference(before, this.draft.entry);
    const node = steps && this.form.nodeAt(steps);
    if (node && !node.contains(path === null ? null : this.form.find(path).node)) this.form.focusNode(node);
    else if (path !== null) this.form.focus(path);
    this.completion.refresh();
    this.evidence.draw();
    this.changed();
  }
}
