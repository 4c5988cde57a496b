// What somebody else put where this person put something else: it stands beside its field until it is settled.

import { isLeaf, stepsOf } from "./form.js";

export class Clashes {
  constructor(form) {
    this.form = form;
    this.open();
  }

  open() {
    this.all = [];
  }

  // A clash stands until the person changes the field, having stopped to type after it came.
  keep(answer, fresh) {
    const mine = (path) => this.mine(path);
    const newer = answer.clashes.map((clash) => ({ ...clash, by: answer.merged_with, mine: null }));
    const paths = new Set(newer.map((clash) => clash.path));
    const stands = (clash) => !paths.has(clash.path) && [null, mine(clash.path)].includes(clash.mine);
    this.all = [...this.all.filter(stands), ...newer];
    if (fresh) for (const clash of this.all) clash.mine = mine(clash.path);
  }

  // What this person has there now, as text. A path leads to a part of the form, which knows where its entry lies.
  mine(path) {
    const { node, exact } = this.form.find(path);
    return exact || isLeaf(node) ? JSON.stringify(this.form.model.get(stepsOf(node))) ?? "" : "";
  }

  settle(path) {
    this.all = this.all.filter((clash) => clash.path !== path);
  }

  get paths() {
    return new Set(this.all.map((clash) => clash.path));
  }
}
