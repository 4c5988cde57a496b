// Leaving a document: submit, next and previous, skip, and the browser's back button. None of them loses changes.

/** @import { Autosave } from "./autosave.js" */
/** @import { Form } from "./form.js" */
/** @import { JsonView } from "./json_view.js" */
/** @import { MergeConflicts } from "./merge_conflicts.js" */
/** @import { Queue } from "./queue.js" */
/** @import { Shortcuts } from "./shortcuts.js" */
/** @import { Status } from "./status.js" */
/** @import { DocumentState, SaveResponse } from "./types" */
/** @import { Validation } from "./validation.js" */

import { markUnansweredAbsent } from "./absence.js";
import { KeyBuffer } from "./key_buffer.js";
import { announce } from "../site/base.js";
import { UNREACHABLE, messageOf, request } from "../site/http.js";

/**
 * @typedef {object} Options
 * @property {Autosave} autosave
 * @property {Queue} queue
 * @property {Validation} validation
 * @property {MergeConflicts} conflicts
 * @property {Status} status
 * @property {JsonView} jsonView
 * @property {Form} form
 * @property {Shortcuts} shortcuts
 * @property {(state: DocumentState, options?: { push?: boolean }) => void} open `push`: with an entry in the browser's history
 * @property {() => DocumentState} current
 */

const MAX_TITLES = 8;

export class Navigation {
  /** @type {Promise<void> | null} */
  #leaving = null;
  #keyBuffer = new KeyBuffer();

  /** @param {Options} options */
  constructor({ autosave, queue, validation, conflicts, status, jsonView, form, shortcuts, open, current }) {
    this.autosave = autosave;
    this.queue = queue;
    this.validation = validation;
    this.conflicts = conflicts;
    this.status = status;
    this.jsonView = jsonView;
    this.form = form;
    this.shortcuts = shortcuts;
    this.open = open;
    this.current = current;
    window.addEventListener("popstate", () => this.#followHistory());
  }

  /**
   * Runs one action at a time: a second key press during the first would skip the next document.
   * @param {() => Promise<void>} action
   */
  #once(action) {
    this.#leaving ??= this.#withKeyBuffer(action).finally(() => (this.#leaving = null));
    return this.#leaving;
  }

  /** What is typed during the action is for the document that it opens. @param {() => Promise<void>} action */
  async #withKeyBuffer(action) {
    const before = this.current();
    this.#keyBuffer.start();
    try {
      await action();
    } finally {
      const isOpened = this.current() !== before;
      const count = this.#keyBuffer.finish({ press: isOpened });
      if (count && !isOpened) announce("The document is still open. Text that you typed for the next document was not entered.", "info");
    }
  }

  submit() {
    return this.#once(async () => {
      if ((await this.#sendSubmit()) && (await this.#canLeave())) await this.#openFrom(() => this.queue.next());
    });
  }

  /** Repeats a submit that did not reach the server. What is typed during it stays here: the user did not ask to leave. */
  resubmit() {
    this.#leaving ??= this.#resubmit().finally(() => (this.#leaving = null));
  }

  async #resubmit() {
    const { edits } = this.autosave;
    if (!(await this.#sendSubmit())) return;
    const isUntouched = edits === this.autosave.edits && !document.querySelector("dialog[open]");
    if (isUntouched) await this.#openFrom(() => this.queue.next());
    else this.status.notice("Submitted.", "info", [["Open the next", () => this.go("next")]]);
  }

  /** @returns {Promise<boolean>} whether the label is submitted */
  async #sendSubmit() {
    const { autosave, status } = this;
    const wasDue = autosave.isSubmitDue;
    const { status: code, response } = await autosave.send(true);
    if (code === 409 && (response?.merged.length || response?.clashes.length)) {
      status.announce("Not submitted yet: check what changed, then submit again.");
    } else if (code === 422 && !response?.syntax) {
      await this.showFirstProblem(response);
    } else if (autosave.isSubmitDue && !wasDue) {
      const reason = autosave.isSessionEnded ? "your session has expired. Sign in again in another tab" : "the server does not respond";
      status.notice(`Not submitted: ${reason}. The label is submitted when the server responds, unless you change it.`, "warning");
    }
    return code === 200;
  }

  /** A label that is to be submitted is about to change: that is another label. */
  withdrawSubmit() {
    if (!this.autosave.isSubmitDue) return;
    this.status.notice("Not submitted: you changed the label.", "warning", [["Submit", () => this.submit()]]);
  }

  /** Asks once about unanswered fields: they may be forgotten, or not in the document. @param {string[]} paths */
  #askAbout(paths) {
    const { validation, form, status, shortcuts } = this;
    for (const path of paths) validation.asked.add(path);
    const titles = [...new Set(paths.map((path) => form.titleOf(path)))];
    const more = titles.length > MAX_TITLES ? ` and ${titles.length - MAX_TITLES} more` : "";
    const key = shortcuts.label("absent_rest");
    const action = paths.length === 1 ? "Not in the document" : "All others are not in the document";
    status.notice(
      `Not filled in: ${titles.slice(0, MAX_TITLES).join(", ")}${more}. Fill in what the document has, or submit again to submit as is.`,
      "warning",
      [[`${action} (${key})`, () => this.answerRest()]],
    );
    status.announce(paths.length === 1 ? `1 field is not filled in: ${titles[0]}. Not in the document? ${key}.` : `${paths.length} fields are not filled in. ${key}: all others are not in the document.`);
  }

  /** Marks all other fields as not in the document; where the user was asked about them, that submits. */
  async answerRest() {
    const { validation, form, status } = this;
    if (this.jsonView.isShown) await this.jsonView.turn("form");
    const count = markUnansweredAbsent(form);
    status.announce(count ? `${count} marked as not in the document.` : "No empty fields remain.");
    if (validation.asked.size) await this.submit();
  }

  /** @param {SaveResponse} [response] to a submit */
  async showFirstProblem(response) {
    const { validation, status } = this;
    const unanswered = (response?.unanswered ?? []).filter((path) => !validation.asked.has(path));
    validation.wasSubmitted = true;
    if (this.jsonView.isShown) await this.jsonView.turn("form");
    validation.show(validation.shown);
    status.draw();
    const isQuestion = response !== undefined && !response.problems.length && !response.warnings.length;
    if (isQuestion) this.#askAbout(unanswered);
    const first = isQuestion ? unanswered[0] : validation.firstBlocking();
    if (first !== undefined) this.form.focus(first);
    if (!isQuestion) status.announce(status.verdict);
  }

  /** @param {"next" | "previous"} direction */
  go(direction) {
    return this.#once(async () => {
      if (await this.#canLeave()) await this.#openFrom(() => this.queue[direction]());
    });
  }

  skipped() {
    return this.#once(async () => {
      this.autosave.discard();
      await this.#openFrom(() => this.queue.next());
    });
  }

  /** Whether changes are saved and brought no conflict, or the user leaves anyway. */
  async #canLeave() {
    const known = this.conflicts.paths;
    const { autosave } = this;
    if (autosave.isSubmitDue && !(await this.#sendSubmit()) && !autosave.isSubmitDue) return false;
    if (!autosave.isSubmitDue && (await autosave.flush())) {
      if ([...this.conflicts.paths].every((path) => known.has(path))) return true;
      this.status.announce("Another user changed this document. Check the conflicts, then continue.");
      return false;
    }
    const kept = autosave.isSubmitDue ? "The label is not submitted yet. This browser submits it later." : "The last changes are not saved. They are kept in this browser.";
    return window.confirm(`${autosave.error || UNREACHABLE}\n${kept} Leave anyway?`);
  }

  /** @param {() => Promise<DocumentState | null>} step */
  async #openFrom(step) {
    let state;
    try {
      state = await step();
    } catch (error) {
      announce(messageOf(error));
      return;
    }
    if (!state) return;
    // What was typed while it was fetched.
    await this.autosave.flush();
    this.open(state, { push: true });
  }

  /** Opens the document of the browser's address. */
  async #followHistory() {
    const stay = () => history.pushState({}, "", this.current().urls.document);
    this.form.commitTyping();
    if (!(await this.#canLeave())) {
      stay();
      return;
    }
    try {
      const response = await request(`${location.pathname}state/`);
      if (response.ok && !response.redirected) this.open(await response.json());
      else location.reload();
    } catch (error) {
      announce(messageOf(error));
      stay();
    }
  }
}
