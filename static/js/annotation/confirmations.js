// "Confirm value": said of a value that is not in the document, or that breaks a rule, as it stands now; also while
// the server still looks for it.

export class Confirmations {
  constructor(parts) {
    Object.assign(this, parts); // form, model, checks, sync, changed, say, and `nothing`: says that there is nothing to confirm
    this.open();
  }

  open() {
    this.asked = new Map(); // path -> the entry that is meant, until the server has looked for it: [entry, quietly]
  }

  // Whether the server has looked for all that stands in the form.
  get isKnown() {
    return !this.sync.isBusy;
  }

  // Confirms the value of a field, or takes that back.
  toggle(path) {
    this.set(path, !(this.isKnown && this.checks.isDoubtful(path) && this.checks.isConfirmed(path)));
  }

  set(path, confirmed) {
    if (confirmed) return this.ask(path) && this.changed();
    this.model.checkpoint();
    delete this.model.evidence[path];
    this.say("Not confirmed any more.");
    return this.changed();
  }

  // Confirms a value, at once or when the server has looked for it. False: there is nothing to confirm. `quietly`: as a
  // part of another step, of which nothing more is said.
  ask(path, quietly = false) {
    if (this.isKnown) return this.confirm(path, this.checks.answer, quietly);
    this.asked.set(path, [this.entryAt(path), quietly]);
    return true;
  }

  confirm(path, { missing, doubts }, quietly) {
    const { model } = this;
    const of = missing[path];
    const broken = Object.keys(doubts[path] ?? {});
    if (of === undefined && !broken.length) {
      if (!quietly) this.nothing();
      return false;
    }
    if (!quietly) {
      model.checkpoint();
      this.say("Confirmed.");
    }
    model.evidence[path] = { ...model.evidence[path], ...(of !== undefined && { confirmed: true, of }), ...(broken.length && { doubts: broken }) };
    return true;
  }

  // An answer says what there is to confirm; `isCurrent(path)`: the value is still the one it is about.
  answered(answer, isCurrent) {
    for (const [path, [entry, quietly]] of this.asked) {
      if (!isCurrent(path)) continue;
      this.asked.delete(path);
      if (this.entryAt(path) === entry && this.confirm(path, answer, quietly)) this.changed();
    }
  }

  entryAt(path) {
    return JSON.stringify(this.form.entryOf(this.form.find(path).node));
  }
}
