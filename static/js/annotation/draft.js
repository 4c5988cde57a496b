// The label as the user has it: the value of every field, its evidence, and the history for undo and redo.

/** @import { Entry, EvidenceMap, Steps } from "./types" */

import { getIn, pathOf, setIn, shiftRows, table } from "./paths.js";

const BURST_MS = 1200; // changes of one field within this time are undone together
const MAX_STEPS = 300;

/** The path of rows; which form a value has is not part of it. @param {Steps} steps */
const rowsPathOf = (steps) => pathOf(steps.filter((step) => step !== "$value"));

/** @typedef {{ entry: Entry, evidence: EvidenceMap }} Snapshot */

export class Draft {
  /** @type {Entry} */
  entry = undefined;
  /** @type {EvidenceMap} */
  #evidence = table();
  /** @type {Snapshot[]} */
  #done = [];
  /** @type {Snapshot[]} */
  #undone = [];
  /** @type {{ tag: string | null, at: number }} */
  #burst = { tag: null, at: 0 };

  /** @param {Entry} entry @param {EvidenceMap} evidence */
  open(entry, evidence) {
    this.entry = entry;
    this.evidence = evidence;
    this.#undone = [];
    this.#done = [];
    this.#burst = { tag: null, at: 0 };
  }

  get evidence() {
    return this.#evidence;
  }

  set evidence(evidence) {
    this.#evidence = table(evidence);
  }

  /** @param {Steps} steps */
  get(steps) {
    return getIn(this.entry, steps);
  }

  /** The rows of a list, none where there is no list. @param {Steps} steps @returns {Entry[]} */
  rows(steps) {
    const rows = this.get(steps);
    return Array.isArray(rows) ? rows : [];
  }

  /** Call before a change. Changes with the same tag in quick succession share one step. @param {string | null} tag */
  checkpoint(tag = null) {
    const now = Date.now();
    const isSame = tag !== null && tag === this.#burst.tag && now - this.#burst.at < BURST_MS;
    this.#burst = { tag, at: now };
    this.#undone = [];
    if (isSame) return;
    this.#done.push(this.#snapshot());
    if (this.#done.length > MAX_STEPS) this.#done.shift();
  }

  /** The next change is undone by itself. */
  endBurst() {
    this.#burst = { tag: null, at: 0 };
  }

  /** @param {Steps} steps @param {Entry} value */
  set(steps, value) {
    this.entry = setIn(this.entry, steps, value);
  }

  /** @param {Steps} steps @param {number} index @param {Entry} entry */
  insertRow(steps, index, entry) {
    this.set(steps, this.rows(steps).toSpliced(index, 0, entry));
    this.evidence = shiftRows(this.evidence, rowsPathOf(steps), index, 1);
  }

  /** @param {Steps} steps @param {number} index */
  removeRow(steps, index) {
    this.set(steps, this.rows(steps).toSpliced(index, 1));
    this.evidence = shiftRows(this.evidence, rowsPathOf(steps), index, -1);
  }

  /** @returns {Snapshot} */
  #snapshot() {
    return structuredClone({ entry: this.entry, evidence: this.evidence });
  }

  undo() {
    return this.#move(this.#done, this.#undone);
  }

  redo() {
    return this.#move(this.#undone, this.#done);
  }

  /** @param {Snapshot[]} from @param {Snapshot[]} to */
  #move(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push(this.#snapshot());
    ({ entry: this.entry, evidence: this.evidence } = step);
    this.endBurst();
    return true;
  }
}
