// Autosave: a draft within a second of every change, one request at a time, and nothing lost when it fails.
//
// Unsaved changes are in localStorage too, with the version they were made from. After a failure they are sent again, after
// a crash they are found when the document is opened; the server merges them with whatever was saved since.

/** @import { TimeTracker } from "./time_tracker.js" */
/** @import { Content, DocumentState, SaveBody, SaveResponse, StoredDraft } from "./types" */

import { headers } from "../site/http.js";

/**
 * @typedef {object} Saved a response, and what it is about
 * @property {SaveResponse} response
 * @property {boolean} isFresh nothing was typed since it was sent
 * @property {number} edits the number of edits that were sent
 * @property {string | null} typingPath the field that was half-typed when it was sent
 * @property {SaveBody} sent
 *
 * @typedef {{ status: number, response?: SaveResponse }} Result `status` of HTTP; 0 for no response, -1 where another document is open by now
 *
 * @typedef {object} Options
 * @property {string} user
 * @property {TimeTracker} timeTracker
 * @property {() => Content} collect
 * @property {() => string | null} typingPath
 * @property {() => string[]} asked unanswered fields that the user was asked about
 * @property {(error: { message?: string, syntax?: string }) => void} onError nothing was saved
 * @property {(saved: Saved) => void} onSaved
 * @property {() => void} onStateChange
 * @property {() => void} resubmit repeats a submit that did not reach the server
 */

const PAUSE_MS = 300; // without a change before a draft is sent
const MAX_WAIT_MS = 900; // after the first change
const RETRIES_MS = [1500, 3000, 6000, 12000, 30000];

export class Autosave {
  /** @type {DocumentState | null} */
  #document = null;
  version = 0;
  edits = 0;
  /** Failed requests in a row. */
  failures = 0;
  isSessionEnded = false;
  /** Whether a submit did not reach the server; a change withdraws it. */
  isSubmitDue = false;
  /** Why the server rejects what is there. */
  error = "";
  /** @type {Date | null} */
  savedAt = null;
  /** Keys of the documents that were open in this tab. @type {Set<string>} */
  opened = new Set();
  #acknowledged = 0; // edits
  #firstEditAt = 0;
  /** @type {Promise<Result> | null} */
  #running = null;
  /**
   * The form as it was when a field was left during a save: sent next.
   * @type {{ edits: number, content: Content } | null}
   */
  #next = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {Options} options */
  constructor({ user, timeTracker, collect, typingPath, asked, onError, onSaved, onStateChange, resubmit }) {
    this.user = user;
    this.timeTracker = timeTracker;
    this.collect = collect;
    this.typingPath = typingPath;
    this.asked = asked;
    this.onError = onError;
    this.onSaved = onSaved;
    this.onStateChange = onStateChange;
    this.resubmit = resubmit;
    window.addEventListener("online", () => this.isDirty && this.#repeat());
    window.addEventListener("pagehide", () => this.#leave());
  }

  /** @param {DocumentState} state */
  open(state) {
    clearTimeout(this.#timer);
    this.#document = state;
    this.opened.add(this.key);
    this.version = state.version;
    this.edits = 0;
    this.#acknowledged = 0;
    this.#next = null;
    this.failures = 0;
    this.isSubmitDue = false;
    this.error = "";
    this.savedAt = state.saved_at ? new Date(state.saved_at) : null;
    this.onStateChange();
  }

  get isOpen() {
    return this.#document !== null;
  }

  get isDirty() {
    return this.edits !== this.#acknowledged;
  }

  /** Whether something is not saved, or a save is under way. */
  get isBusy() {
    return this.isDirty || this.#running !== null;
  }

  get #opened() {
    return /** @type {DocumentState} */ (this.#document);
  }

  get key() {
    return `label-${this.user}-${this.#document?.id}`;
  }

  /** Unsaved changes of this document that an earlier tab or a failed save left behind. @returns {StoredDraft | null} */
  storedDraft() {
    try {
      return JSON.parse(localStorage.getItem(this.key) ?? "null");
    } catch {
      return null;
    }
  }

  change() {
    const now = Date.now();
    if (!this.isDirty) this.#firstEditAt = now;
    this.edits += 1;
    this.isSubmitDue = false;
    this.error = "";
    this.#schedule(Math.max(0, Math.min(PAUSE_MS, this.#firstEditAt + MAX_WAIT_MS - now)));
    this.onStateChange();
  }

  /** A field was left: the form as it is now is checked, whatever is typed before it is sent. */
  fieldLeft() {
    if (!this.isDirty) return;
    if (this.#running) this.#next = { edits: this.edits, content: structuredClone(this.collect()) };
    else this.send();
  }

  /** @param {number} delay in ms */
  #schedule(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#repeat(), delay);
  }

  #repeat() {
    if (this.isSubmitDue) this.resubmit();
    else this.send();
  }

  /** Saves everything, also what is typed during a save. @returns {Promise<boolean>} whether everything is saved */
  async flush() {
    clearTimeout(this.#timer);
    if (this.#running) await this.#running;
    while (this.isDirty) {
      const { status } = await this.send();
      if (status !== 200) break;
    }
    return !this.isDirty;
  }

  /** @returns {Promise<Result>} */
  async send(submit = false) {
    clearTimeout(this.#timer);
    while (this.#running) {
      const { response } = await this.#running;
      // What others changed is seen before the label is submitted.
      if (submit && (response?.merged?.length || response?.clashes?.length)) {
        this.isSubmitDue = false;
        return { status: 409, response };
      }
    }
    if (!submit && !this.isDirty) return { status: 200 };
    this.#running = this.#request(submit);
    try {
      return await this.#running;
    } finally {
      this.#running = null;
      if (this.#next) this.#schedule(0);
      this.onStateChange();
    }
  }

  /** @param {boolean} submit @returns {Promise<Result>} */
  async #request(submit) {
    const document = this.#opened;
    const next = submit ? null : this.#next;
    this.#next = null;
    const edits = next?.edits ?? this.edits;
    const typingPath = next ? null : this.typingPath();
    this.#firstEditAt = Date.now();
    const body = this.#body(submit, next?.content);
    this.#store({ ...body, ...this.collect(), submit: submit || this.isSubmitDue });
    this.onStateChange();
    const text = JSON.stringify(body);
    let status;
    /** @type {SaveResponse} */
    let response;
    try {
      const answer = await fetch(document.urls.save, { method: "POST", headers: headers(), body: text });
      ({ status } = answer);
      if (answer.redirected || status >= 500 || [403, 429].includes(status)) throw new SaveFailure(answer);
      response = await answer.json();
    } catch (error) {
      if (document === this.#document) this.#failed(error, submit);
      return { status: 0 };
    }
    if (document !== this.#document) return { status: -1 };
    if (submit) this.isSubmitDue = false;
    const error = response.message ?? response.syntax;
    if (error) {
      this.error = error;
      this.onError(response);
      return { status, response };
    }
    this.failures = 0;
    this.timeTracker.reported(body);
    this.savedAt = new Date();
    const isFresh = edits === this.edits;
    // JSON that was edited since has nothing of what others changed: it is merged from the old version again.
    if (isFresh || body.json === undefined || !response.merged.length) {
      this.version = response.version;
      this.#acknowledged = edits;
    }
    if (isFresh) this.removeStored();
    else this.#schedule(PAUSE_MS);
    // What others changed is not in the form as it was before.
    if (response.merged.length) this.#next = null;
    this.onSaved({ response, isFresh, edits, typingPath, sent: JSON.parse(text) });
    return { status, response };
  }

  /** @param {boolean} submit @returns {SaveBody} */
  #body(submit, content = this.collect()) {
    const { schema, prediction } = this.#opened;
    return {
      ...content,
      base_version: this.version,
      schema,
      prediction: prediction?.id ?? null,
      ...this.timeTracker.report(),
      submit,
      ...(submit && { asked: this.asked() }),
    };
  }

  /** Another request saved the label, such as a restored revision. @param {{ version: number }} response */
  accept(response) {
    clearTimeout(this.#timer);
    this.#next = null;
    this.version = response.version;
    this.#acknowledged = this.edits;
    this.savedAt = new Date();
    this.onStateChange();
  }

  /** @param {unknown} error @param {boolean} submit */
  #failed(error, submit) {
    this.#next = null;
    const wait = RETRIES_MS[Math.min(this.failures, RETRIES_MS.length - 1)];
    this.failures += 1;
    this.isSessionEnded = error instanceof SaveFailure && error.isSessionEnded;
    if (submit) this.isSubmitDue = true;
    if (!this.isDirty) this.edits += 1;
    this.#schedule(wait);
    this.onStateChange();
  }

  /** @param {SaveBody} body */
  #store(body) {
    try {
      const { name, urls } = this.#opened;
      localStorage.setItem(this.key, JSON.stringify({ ...body, at: new Date().toISOString(), name, url: urls.document }));
    } catch {
      // The storage is full or forbidden: retries go on without it.
    }
  }

  removeStored() {
    localStorage.removeItem(this.key);
  }

  /** Drops unsaved changes. */
  discard() {
    clearTimeout(this.#timer);
    this.#next = null;
    this.#acknowledged = this.edits;
    this.removeStored();
  }

  /** The tab is closed: the last changes are sent, and an untouched document is released. */
  #leave() {
    if (!this.#document) return;
    const options = { method: "POST", headers: headers(), keepalive: true };
    if (this.isDirty) {
      const body = this.#body(false);
      this.#store({ ...body, submit: this.isSubmitDue });
      fetch(this.#document.urls.save, { ...options, body: JSON.stringify(body) }).catch(() => {});
    } else if (this.#document.state === "new" && !this.edits) {
      fetch(this.#document.urls.release, options).catch(() => {});
    }
  }
}

/** The server did not accept the request. */
class SaveFailure extends Error {
  /** @param {Response} response */
  constructor(response) {
    super(String(response.status));
    this.isSessionEnded = response.redirected || response.status === 403;
  }
}
