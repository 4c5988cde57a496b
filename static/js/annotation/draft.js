// The label as the person has it: what stands in the fields, where it stands in the document, and every step back.

import { getIn, pathOf, setIn, shiftRows, table } from "./paths.js";

const BURST = 1200; // changes of one field within this many ms are undone together
const MOST_STEPS = 300;

// Where the rows stand in the label: the form that a value is in is no part of the way.
const placeOf = (steps) => pathOf(steps.filter((step) => step !== "$value"));

export class Model {
  open(entry, evidence) {
    this.entry = entry;
    this.evidence = evidence;
    this.undone = [];
    this.done = [];
    this.burst = { tag: null, at: 0 };
  }

  // By path: where a value stands in the document, whether a person confirmed it.
  get evidence() {
    return this.places;
  }

  set evidence(places) {
    this.places = table(places);
  }

  get(steps) {
    return getIn(this.entry, steps);
  }

  // Call before a change. Changes with the same tag in quick succession share one step.
  checkpoint(tag = null) {
    const now = Date.now();
    const same = tag !== null && tag === this.burst.tag && now - this.burst.at < BURST;
    this.burst = { tag, at: now };
    this.undone = [];
    if (same) return;
    this.done.push(this.snapshot());
    if (this.done.length > MOST_STEPS) this.done.shift();
  }

  set(steps, value) {
    this.entry = setIn(this.entry, steps, value);
  }

  insertRow(steps, index, entry) {
    const rows = Array.isArray(this.get(steps)) ? [...this.get(steps)] : [];
    rows.splice(index, 0, entry);
    this.set(steps, rows);
    this.evidence = shiftRows(this.evidence, placeOf(steps), index, 1);
  }

  removeRow(steps, index) {
    const rows = [...this.get(steps)];
    rows.splice(index, 1);
    this.set(steps, rows);
    this.evidence = shiftRows(this.evidence, placeOf(steps), index, -1);
  }

  snapshot() {
    return structuredClone({ entry: this.entry, evidence: this.evidence });
  }

  undo() {
    return this.move(this.done, this.undone);
  }

  redo() {
    return this.move(this.undone, this.done);
  }

  move(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push(this.snapshot());
    ({ entry: this.entry, evidence: this.evidence } = step);
    this.burst = { tag: null, at: 0 };
    return true;
  }
}
