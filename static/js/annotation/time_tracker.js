// The time spent on a document and in each of its fields. It pauses while the tab is hidden, or after a minute without
// input.

/** @import { TimeReport } from "./types" */

import { table } from "./paths.js";

const IDLE_MS = 60_000;

export class TimeTracker {
  #total = 0; // ms on this document
  #unsent = 0; // ms of it that no save has reported
  /** Unreported ms by field pattern. @type {Record<string, number>} */
  #fields = table();
  /** @type {string | null} */
  #pattern = null;
  #since = performance.now();
  #active = performance.now();

  constructor() {
    for (const name of ["keydown", "pointerdown", "pointermove", "wheel"]) {
      document.addEventListener(name, () => this.#touched(), { passive: true, capture: true });
    }
    // A tab counts up to the moment it is hidden, and from the moment it is shown again.
    document.addEventListener("visibilitychange", () => this.#lap(document.visibilityState === "hidden"));
  }

  open() {
    this.#total = 0;
    this.#unsent = 0;
    this.#fields = table();
    this.#pattern = null;
    this.#since = performance.now();
  }

  #touched() {
    const now = performance.now();
    if (now - this.#active > IDLE_MS) this.#lap();
    this.#active = now;
  }

  /** @param {string | null} path of the field with the focus */
  enter(path) {
    this.#lap();
    this.#pattern = path === null ? null : path.replace(/\[\d+\]/gu, "[]");
  }

  #lap(counts = document.visibilityState === "visible") {
    const now = performance.now();
    const spent = counts ? Math.max(0, Math.min(now, this.#active + IDLE_MS) - this.#since) : 0;
    this.#since = now;
    this.#total += spent;
    this.#unsent += spent;
    if (this.#pattern !== null) this.#fields[this.#pattern] = (this.#fields[this.#pattern] ?? 0) + spent;
  }

  get seconds() {
    this.#lap();
    return Math.floor(this.#total / 1000);
  }

  /** What a save reports: whole seconds on the document, tenths of a second by field. @returns {TimeReport} */
  report() {
    this.#lap();
    const tenths = Object.entries(this.#fields).map(([pattern, spent]) => /** @type {const} */ ([pattern, Math.min(600, Math.round(spent / 100) / 10)]));
    return { seconds: Math.min(600, Math.round(this.#unsent / 1000)), field_seconds: Object.fromEntries(tenths.filter(([, spent]) => spent > 0)) };
  }

  /** A report has arrived: it is not sent again. @param {TimeReport} report */
  reported({ seconds, field_seconds: fields }) {
    this.#unsent -= seconds * 1000;
    for (const [pattern, spent] of Object.entries(fields)) this.#fields[pattern] = Math.max(0, (this.#fields[pattern] ?? 0) - spent * 1000);
  }
}
