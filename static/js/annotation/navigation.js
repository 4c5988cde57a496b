// The ways out of a document: submit, next and previous, skip, back in the browser. None of them loses what was typed.

import { announce } from "../site/base.js";
import { answerRest } from "./absence.js";
import { TypeAhead } from "./type_ahead.js";
import { reach } from "./autosave.js";

export class Way {
  // `open(state, {push})` opens a document; `current()` is the one that is open.
  constructor({ sync, queue, checks, clashes, status, raw, form, keys, open, current }) {
    Object.assign(this, { sync, queue, checks, clashes, status, raw, form, keys, open, current });
    this.leaving = null;
    this.ahead = new TypeAhead();
    window.addEventListener("popstate", () => this.popped());
  }

  // One way out at a time: a second press while the first is under way would skip the document after it. What is typed
  // until then is for the document that opens.
  once(action) {
    this.leaving ??= this.typedAhead(action).finally(() => (this.leaving = null));
    return this.leaving;
  }

  async typedAhead(action) {
    const before = this.current();
    this.ahead.start();
    try {
      await action();
    } finally {
      const opened = this.current() !== before;
      const count = this.ahead.finish({ press: opened });
      if (count && !opened) announce("The document stays open. What you typed for the next one was not entered.", "info");
    }
  }

  submit() {
    return this.once(async () => {
      const { status: code, answer } = await this.sync.send(true);
      if (code === 200) return (await this.mayLeave()) && this.goOn(() => this.queue.next());
      if (code === 409 && !answer.merged.length && !answer.clashes.length) return undefined;
      if (code === 409) return this.status.say("Not submitted yet: look at what changed, then submit again.");
      if (code === 422 && !answer.syntax) await this.toFirstProblem(answer);
      return undefined;
    });
  }

  // Fields that nobody answered are asked about once: they may be forgotten, or not in the document.
  ask(paths) {
    const { checks, form, status, keys } = this;
    for (const path of paths) checks.asked.add(path);
    const titles = [...new Set(paths.map((path) => form.titleOf(path)))];
    const more = titles.length > 8 ? ` and ${titles.length - 8} more` : "";
    const rest = keys.words("absent_rest");
    const again = keys.words("submit");
    const action = paths.length === 1 ? "Not in the document" : "All others are not in the document";
    status.notice(`Not answered: ${titles.slice(0, 8).join(", ")}${more}. Fill what the document has; ${again} submits as it is.`, "warning", [[`${action} (${rest})`, () => this.answerRest()]]);
    status.say(paths.length === 1 ? `1 field is not answered: ${titles[0]}. Not in the document? ${rest}.` : `${paths.length} fields are not answered. ${rest}: all others are not in the document.`);
  }

  // "All others are not in the document"; where the person was asked about them, that submits.
  async answerRest() {
    const { checks, form, status } = this;
    if (this.raw.isShown) await this.raw.turn("form");
    const count = answerRest(form);
    status.say(count ? `${count} marked as not in the document.` : "Every field is answered.");
    return checks.asked.size ? this.submit() : undefined;
  }

  async toFirstProblem(answer = null) {
    const { checks, status } = this;
    const open = (answer?.unanswered ?? []).filter((path) => !checks.asked.has(path));
    checks.tried = true;
    if (this.raw.isShown) await this.raw.turn("form");
    checks.show(checks.answer);
    status.draw();
    const isAsked = answer !== null && !answer.problems.length && !answer.warnings.length;
    if (isAsked) this.ask(open);
    const first = isAsked ? open[0] : checks.first();
    if (first !== undefined) this.form.focus(first);
    if (!isAsked) status.say(status.verdictWords());
  }

  // direction: next or previous.
  follow(direction) {
    return this.once(async () => {
      if (await this.mayLeave()) await this.goOn(() => this.queue[direction]());
    });
  }

  skipped() {
    return this.once(() => {
      this.sync.discard();
      return this.goOn(() => this.queue.next());
    });
  }

  // What was typed is saved and brought up nothing to look at, or the person leaves the document all the same.
  async mayLeave() {
    const known = this.clashes.paths;
    if (await this.sync.flush()) {
      if ([...this.clashes.paths].every((path) => known.has(path))) return true;
      this.status.say("Look at what somebody else changed, then go on.");
      return false;
    }
    const why = this.sync.stuck || "The server does not answer.";
    return window.confirm(`${why}\nThe last changes are not saved; they are kept in this browser. Go on all the same?`);
  }

  async goOn(step) {
    let state;
    try {
      state = await step();
    } catch (error) {
      return announce(error.message);
    }
    if (!state) return undefined;
    // What was typed while it was fetched.
    await this.sync.flush();
    return this.open(state, { push: true });
  }

  async popped() {
    const stay = () => history.pushState({}, "", this.current().urls.document);
    if (!(await this.mayLeave())) return stay();
    let response;
    try {
      response = await reach(`${location.pathname}state/`);
    } catch (error) {
      announce(error.message);
      return stay();
    }
    if (response.ok && !response.redirected) this.open(await response.json());
    else location.reload();
    return undefined;
  }
}
