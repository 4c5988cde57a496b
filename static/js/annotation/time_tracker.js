// The time spent on a document, and of it the time in each field. It stands still while the tab is hidden or nobody has
// touched anything for a minute.

import { table } from "./paths.js";

const IDLE = 60_000; // ms

export class Clock {
  constructor() {
    this.open();
    this.active = performance.now();
    for (const name of ["keydown", "pointerdown", "pointermove", "wheel"]) {
      document.addEventListener(name, () => this.touched(), { passive: true, capture: true });
    }
    // A tab that becomes hidden counts to this moment; one that is shown again counts from it.
    document.addEventListener("visibilitychange", () => this.lap(document.visibilityState === "hidden"));
  }

  open() {
    this.total = 0; // ms on this document, for the person to see
    this.unsent = 0; // ms of it that no save has reported
    this.fields = table(); // ms that no save has reported, by field pattern
    this.pattern = null;
    this.since = performance.now();
  }

  touched() {
    const now = performance.now();
    if (now - this.active > IDLE) this.lap();
    this.active = now;
  }

  // The field with the focus, by its path; null for none.
  enter(path) {
    this.lap();
    this.pattern = path === null ? null : path.replace(/\[\d+\]/gu, "[]");
  }

  lap(counts = document.visibilityState === "visible") {
    const now = performance.now();
    const spent = counts ? Math.max(0, Math.min(now, this.active + IDLE) - this.since) : 0;
    this.since = now;
    this.total += spent;
    this.unsent += spent;
    if (this.pattern !== null) this.fields[this.pattern] = (this.fields[this.pattern] ?? 0) + spent;
  }

  get seconds() {
    this.lap();
    return Math.floor(this.total / 1000);
  }

  // What a save reports: whole seconds on the document, tenths of a second by field.
  report() {
    this.lap();
    const tenths = Object.entries(this.fields).map(([pattern, spent]) => [pattern, Math.min(600, Math.round(spent / 100) / 10)]);
    return { seconds: Math.min(600, Math.round(this.unsent / 1000)), field_seconds: Object.fromEntries(tenths.filter(([, spent]) => spent > 0)) };
  }

  // A report has arrived: it is not sent again.
  reported({ seconds, field_seconds: fields }) {
    this.unsent -= seconds * 1000;
    for (const [pattern, spent] of Object.entries(fields)) this.fields[pattern] = Math.max(0, (this.fields[pattern] ?? 0) - spent * 1000);
  }
}
