// "Confirm value": for a value that is not in the document, or breaks an invariant. It can be given before the server has
// checked the value.

/** @import { Autosave } from "./autosave.js" */
/** @import { Draft } from "./draft.js" */
/** @import { Form } from "./form.js" */
/** @import { Findings } from "./types" */
/** @import { Validation } from "./validation.js" */

/** @typedef {Pick<Findings, "missing" | "doubts">} Checked what there is to confirm */

export class Confirmations {
  /**
   * Confirmed values that the server has not checked yet, by path: the entry as JSON.
   * @type {Map<string, { entry: string, isQuiet: boolean }>}
   */
  #pending = new Map();

  /**
   * @param {object} options
   * @param {Form} options.form
   * @param {Draft} options.draft
   * @param {Validation} options.validation
   * @param {Autosave} options.autosave
   * @param {() => void} options.changed
   * @param {(text: string) => void} options.announce
   * @param {() => void} options.nothing there is nothing to confirm
   */
  constructor({ form, draft, validation, autosave, changed, announce, nothing }) {
    this.form = form;
    this.draft = draft;
    this.validation = validation;
    this.autosave = autosave;
    this.changed = changed;
    this.announce = announce;
    this.nothing = nothing;
  }

  open() {
    this.#pending.clear();
  }

  get hasPending() {
    return this.#pending.size > 0;
  }

  /** Whether the server has checked everything in the form. */
  get isChecked() {
    return !this.autosave.isBusy;
  }

  /** Confirms the value of a field, or withdraws that. @param {string} path */
  toggle(path) {
    this.set(path, !(this.isChecked && this.validation.needsConfirmation(path) && this.validation.isConfirmed(path)));
  }

  /** @param {string} path @param {boolean} isConfirmed */
  set(path, isConfirmed) {
    if (isConfirmed) {
      if (this.ask(path)) this.changed();
      return;
    }
    this.draft.checkpoint();
    delete this.draft.evidence[path];
    this.announce("No longer confirmed.");
    this.changed();
  }

  /**
   * Confirms a value, at once or when the server has checked it. `isQuiet`: as part of another step, without a message.
   * @param {string} path
   * @returns {boolean} false where there is nothing to confirm
   */
  ask(path, isQuiet = false) {
    if (this.isChecked) return this.#confirm(path, this.validation.shown, isQuiet);
    this.#pending.set(path, { entry: this.#entryAt(path), isQuiet });
    return true;
  }

  /** @param {string} path @param {Checked} checked @param {boolean} isQuiet */
  #confirm(path, { missing, doubts }, isQuiet) {
    const { draft } = this;
    const of = missing[path];
    const broken = Object.keys(doubts[path] ?? {});
    if (of === undefined && !broken.length) {
      if (!isQuiet) this.nothing();
      return false;
    }
    if (!isQuiet) {
      draft.checkpoint();
      this.announce("Confirmed.");
    }
    draft.evidence[path] = { ...draft.evidence[path], ...(of !== undefined && { confirmed: true, of }), ...(broken.length && { doubts: broken }) };
    return true;
  }

  /**
   * @param {Checked} checked
   * @param {(path: string) => boolean} isCurrent whether a value is still the one that was checked
   */
  responded(checked, isCurrent) {
    for (const [path, { entry, isQuiet }] of this.#pending) {
      if (!isCurrent(path)) continue;
      this.#pending.delete(path);
      if (this.#entryAt(path) === entry && this.#confirm(path, checked, isQuiet)) this.changed();
    }
  }

  /** @param {string} path */
  #entryAt(path) {
    return JSON.stringify(this.form.entryOf(this.form.find(path).node));
  }
}
