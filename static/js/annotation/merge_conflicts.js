// Values that another user saved where this user changed them: each is shown at its field until it is resolved.

/** @import { Form } from "./form.js" */
/** @import { OpenConflict, SaveResponse } from "./types" */

import { isLeaf } from "./nodes.js";

export class MergeConflicts {
  /** @type {OpenConflict[]} */
  all = [];

  /** @param {Form} form */
  constructor(form) {
    this.form = form;
  }

  open() {
    this.all = [];
  }

  /**
   * Adds the conflicts of a response. A conflict stays until the user changes the field after typing ended.
   * @param {Pick<SaveResponse, "clashes" | "merged_with">} response
   * @param {boolean} isFresh nothing was typed since the save
   */
  add(response, isFresh) {
    const added = response.clashes.map((conflict) => ({ ...conflict, by: response.merged_with, mine: null }));
    const paths = new Set(added.map((conflict) => conflict.path));
    const stays = (/** @type {OpenConflict} */ { path, mine }) => !paths.has(path) && (mine === null || mine === this.#mine(path));
    this.all = [...this.all.filter(stays), ...added];
    if (isFresh) for (const conflict of this.all) conflict.mine = this.#mine(conflict.path);
  }

  /** This user's entry at a path, as JSON. @param {string} path */
  #mine(path) {
    const { node, exact } = this.form.find(path);
    return exact || isLeaf(node) ? JSON.stringify(this.form.entryOf(node)) ?? "" : "";
  }

  /** @param {string} path */
  resolve(path) {
    this.all = this.all.filter((conflict) => conflict.path !== path);
  }

  get paths() {
    return new Set(this.all.map((conflict) => conflict.path));
  }
}
