// What an answer of the server changes on the screen. It is about what was sent: what the person has changed since stays
// theirs. Nothing that comes with it moves the focus, and what it says about a half-typed value waits until it is left.

import { merge } from "./merge.js";
import { differing, isAt, partly } from "./differences.js";
import { own as ownOf } from "./paths.js";

export class Answers {
  // `whenReleased(action)` runs an action once no mouse button is pressed; `current()` is the document that is open.
  constructor(parts) {
    Object.assign(this, parts); // model, form, sync, raw, checks, clashes, confirmations, exceptions, evidence, status, whenReleased, current
    document.getElementById("form").addEventListener("focusout", () => setTimeout(() => this.released()));
  }

  open(state) {
    this.read = structuredClone(state.entry); // the form as the server has read it last
    this.waiting = null; // what an answer says about a value that is half-typed
    this.held = null; // a merge that would have taken away the part that has the focus
  }

  // A save was answered. `typing` is the field that was half-typed when it was sent.
  take({ answer, fresh, edits, typing = null, sent }) {
    const { status } = this;
    if (answer.syntax) status.syntax(answer.syntax);
    if (answer.syntax || answer.message) return;
    const current = this.current();
    const known = answer.schema === current.schema;
    const since = sent.entry === undefined ? [] : differing(sent.entry, this.model.entry);
    if (fresh) {
      status.syntax("");
      current.state = answer.state;
    }
    const own = known ? this.takeValues(answer, sent, since, fresh) : [];
    if (!known) this.otherSchema();
    const all = { ...answer, clashes: [...answer.clashes, ...own], merged: answer.merged.filter((path) => !own.some((clash) => clash.path === path)) };
    if (all.merged.length || all.clashes.length) status.merged(all, (path) => this.form.titleOf(path));
    this.clashes.keep(all, fresh);
    const isCurrent = (path) => known && sent.entry !== undefined && !since.some((changed) => isAt(path, changed));
    this.confirmations.answered(answer, isCurrent);
    const about = known && (sent.entry !== undefined || fresh);
    const { before } = this;
    let holds = about ? partly(before, answer, since) : before;
    if (about && typing !== null) {
      this.waiting = { answer, edits };
      // How values are understood and where they stand is shown at once; that moves nothing.
      holds = { ...holds, problems: before.problems, warnings: before.warnings, exceptions: before.exceptions };
    }
    this.whenReleased(() => current === this.current() && this.show(holds, answer.exceptions));
  }

  get before() {
    return { ...this.checks.answer, evidence: this.model.evidence, exceptions: this.exceptions.found };
  }

  // Returns what others put where the person put something else since the value was sent.
  takeValues(answer, sent, since, fresh) {
    const { model, raw } = this;
    let clashes = [];
    if (sent.json !== undefined) {
      if (fresh) this.replace(answer);
    } else {
      this.read = sent.entry;
      // What was confirmed, or found in another place, since it was sent.
      const own = new Set([...Object.keys(model.evidence), ...Object.keys(sent.evidence)].filter((path) => differing(ownOf(sent.evidence, path), ownOf(model.evidence, path)).length));
      const { evidence } = partly(this.before, answer, [...since, ...own]);
      model.evidence = evidence;
      if (answer.entry !== undefined) clashes = this.mergeIn({ sent: sent.entry, read: answer.read, theirs: answer.entry });
    }
    if (fresh) raw.fill(answer.json, answer.merged.length > 0);
    return clashes;
  }

  // An old version is put back.
  restore(answer) {
    this.current().state = answer.state;
    this.replace(answer);
    this.raw.fill(answer.json);
    this.clashes.keep(answer, true);
    this.show(partly(this.before, answer, []), answer.exceptions);
  }

  // The whole form as the server has it.
  replace(answer) {
    const { model, form } = this;
    model.checkpoint();
    model.entry = answer.entry;
    model.evidence = answer.evidence;
    this.read = structuredClone(answer.entry);
    form.fill();
  }

  // By path: how the server reads the text that stands there now; undefined where it says so itself, or is not read yet.
  understood() {
    const changed = differing(this.read, this.model.entry);
    return (path) => (changed.some((place) => isAt(path, place)) ? undefined : this.checks.answer.shown[path]);
  }

  mergeIn(change, kept = this.form.stepsInFocus) {
    const { model, form } = this;
    const typing = form.typing !== null && form.typing === document.activeElement.closest("[data-node]");
    const { entry, held, clashes } = merge({ ...change, mine: model.entry, kept, typing });
    // What comes back as it was sent is no step: undo is for what the person did.
    if (differing(model.entry, entry).length) model.checkpoint();
    model.entry = entry;
    form.fillAround();
    this.held = held ? { ...change, edits: this.sync.edits, at: document.activeElement } : null;
    return clashes.map(({ steps, theirs }) => ({
      path: form.pathOf(form.nodeAt(steps)), absent: theirs === undefined, entry: theirs, shown: theirs === undefined ? "nothing" : JSON.stringify(theirs),
    }));
  }

  // The part that a merge would have taken away has lost the focus: it goes now, unless the person went on in it.
  released() {
    const { held, sync } = this;
    if (!held || held.at === document.activeElement) return;
    this.held = null;
    if (held.edits === sync.edits) {
      const before = this.model.entry;
      this.mergeIn(held);
      // A save that went out while the part was held has put it back on the server.
      if (differing(before, this.model.entry).length) sync.change();
    }
    this.evidence.draw();
  }

  // A field was left: what is known about its value is said.
  settle() {
    const { waiting, sync } = this;
    this.waiting = null;
    if (!waiting || waiting.edits !== sync.edits) return;
    const current = this.current();
    this.whenReleased(() => current === this.current() && this.show(partly(this.before, waiting.answer, []), waiting.answer.exceptions));
  }

  show(holds, found) {
    const { exceptions, checks, clashes, status, evidence } = this;
    if (exceptions.found !== null && found && holds.exceptions) exceptions.show(holds.exceptions);
    else exceptions.draw();
    checks.show({ ...holds, clashes: clashes.all });
    status.draw();
    evidence.draw();
    evidence.line();
  }

  otherSchema() {
    this.status.notice("The schema has changed. Your work is saved as a draft; load the page again to go on with the new form.", "warning", [["Load the page", () => location.reload()]]);
  }
}
