// The labeling screen: opens documents, and ties form, document, autosave and shortcuts together.

/** @import { Content, DocumentState, OpenConflict, SaveResponse } from "./types" */

import { Autosave } from "./autosave.js";
import { Comments } from "./comments.js";
import { Completion } from "./completion.js";
import { Confirmations } from "./confirmations.js";
import { flagDialog, skipDialog, splitter } from "./dialogs.js";
import { Draft } from "./draft.js";
import { Evidence } from "./evidence.js";
import { Exceptions } from "./exceptions.js";
import { Form } from "./form.js";
import { gridKeys } from "./grid.js";
import { History } from "./history.js";
import { writeJson } from "./json_text.js";
import { JsonView } from "./json_view.js";
import { MergeConflicts } from "./merge_conflicts.js";
import { Navigation } from "./navigation.js";
import { Queue } from "./queue.js";
import { SaveResponses } from "./save_responses.js";
import { ScreenActions } from "./screen_actions.js";
import { Shortcuts } from "./shortcuts.js";
import { Status, showUnsavedDrafts } from "./status.js";
import { TimeTracker } from "./time_tracker.js";
import { UnsavedDrafts } from "./unsaved_drafts.js";
import { Validation } from "./validation.js";
import { announce } from "../site/base.js";
import { $, make } from "../site/dom.js";
import { request } from "../site/http.js";

const page = $("label");
const initial = /** @type {DocumentState} */ (JSON.parse($("label-state").textContent));
let state = initial; // of the open document
const current = () => state;

const shortcuts = new Shortcuts(JSON.parse($("label-keys").textContent));
const timeTracker = new TimeTracker();
const draft = new Draft();
const form = new Form($("form"), draft, {
  changed,
  left: () => {
    autosave.fieldLeft();
    responses.fieldLeft();
  },
});
const conflicts = new MergeConflicts(form);
const autosave = new Autosave({
  user: page.dataset.user ?? "",
  timeTracker,
  collect,
  typingPath: () => form.typingPath,
  asked: () => [...validation.asked],
  onError: ({ syntax }) => syntax && status.showSyntaxError(syntax),
  onSaved: (saved) => responses.handle(saved),
  onStateChange: () => status.draw(),
  resubmit: () => navigation.resubmit(),
});
const validation = new Validation(form, {
  confirm: (path, isConfirmed) => {
    form.commitTyping();
    confirmations.set(path, isConfirmed);
  },
  take,
  remove,
  chooseReading: (path, date) => actions.chooseReading(path, date),
  markReviewed: (path) => exceptions.markReviewed(path),
  confirmKey: () => shortcuts.label("right"),
  exceptions: () => exceptions.reasons,
});
const status = new Status({ autosave, validation, shortcuts });
const confirmations = new Confirmations({
  form, draft, validation, autosave,
  changed: evidenceChanged,
  announce: (text) => status.announce(text),
  nothing: () => announce("This field has nothing to confirm.", "info"),
});
const exceptions = new Exceptions({
  page, form, draft, validation, confirmations, shortcuts,
  announce: (text) => status.announce(text),
  changed: evidenceChanged,
});
const queue = new Queue(page, timeTracker, (names) => afterPointer(() => status.showOthers(names)));
const unsavedDrafts = new UnsavedDrafts(autosave, (entries) => afterPointer(() => showUnsavedDrafts(entries)));
const evidence = new Evidence({
  draft, form, validation, status,
  left: () => afterPointer(() => validation.show(validation.shown)),
  entered: (path) => timeTracker.enter(path),
});
const completion = new Completion($("form"), { text: evidence.text, take: (...place) => evidence.select(...place), near: () => evidence.rowStart });
const jsonView = new JsonView({
  write: () => {
    form.commitTyping();
    return autosave.isBusy ? writeJson(form, responses.normalized()) : null;
  },
  checkpoint: () => draft.checkpoint(),
  changed,
  save: () => autosave.flush(),
  back: () => {
    actions.focusForm();
    status.draw();
  },
});
const responses = new SaveResponses({
  draft, form, autosave, jsonView, validation, conflicts, confirmations, exceptions, evidence, status, afterPointer, current,
});
const navigation = new Navigation({ autosave, queue, validation, conflicts, status, jsonView, form, shortcuts, open, current });
const comments = new Comments({ form, current, focusedPath: () => evidence.path });
const revisions = new History({ current, version: () => autosave.version, save: () => autosave.flush(), restored });
const actions = new ScreenActions({
  autosave, comments, completion, confirmations, draft, evidence, exceptions, form, jsonView, navigation, revisions, status,
  validation, changed,
  skip: skipDialog(current, () => navigation.skipped()),
  flag: flagDialog(current, () => status.showTags(state.tags)),
});

// -- opening ----------------------------------------------------------------------------------------------------------

/** @param {DocumentState} next */
function open(next, { push = false } = {}) {
  if (next.schema !== state.schema) {
    location.assign(next.urls.document);
    return;
  }
  state = next;
  form.typing = null;
  completion.hide();
  timeTracker.open();
  draft.open(next.entry, next.evidence);
  autosave.open(next);
  validation.open();
  conflicts.open();
  confirmations.open();
  responses.open(next);
  for (const touched of form.root.querySelectorAll("[data-touched]")) delete touched.dataset.touched;
  evidence.open(next);
  form.fill();
  jsonView.show("form");
  jsonView.fill(next.json);
  exceptions.open(next);
  validation.show(next);
  drawHead();
  status.open(next, () => navigation.go("next"));
  comments.opened(next);
  if (push) history.pushState({}, "", next.urls.document);
  queue.opened(next);
  restoreDraft();
  unsavedDrafts.send();
  $("form-scroll").scrollTop = 0;
  if (!exceptions.focusFirst()) form.focusFirstEmpty();
  evidence.enter();
}

function drawHead() {
  document.title = document.title.replace(/^.*? · Label/u, `${state.name} · Label`);
  $("document-name").textContent = state.name;
  $("document-page").href = state.urls.page;
  const facts = [state.source && `from ${state.source}`, state.synthetic && "synthetic", state.holdout && "hold-out"];
  $("document-facts").replaceChildren(...facts.filter(Boolean).map((fact) => make("span", { textContent: String(fact) })));
  status.showTags(state.tags);
}

// Restores and saves what an earlier tab could not save.
function restoreDraft() {
  const stored = autosave.storedDraft();
  if (!stored) return;
  if (stored.schema !== state.schema) {
    status.notice("This browser has unsaved changes for an earlier schema. They are kept until you change the label.", "warning");
    return;
  }
  if (stored.base_version > state.version || (stored.entry === undefined && stored.json === undefined)) {
    autosave.removeStored();
    return;
  }
  if (stored.json !== undefined) {
    jsonView.edit(stored.json, stored.typed);
  } else {
    draft.checkpoint();
    draft.entry = stored.entry;
    draft.evidence = stored.evidence;
    form.fill();
  }
  autosave.version = stored.base_version;
  status.notice(`Unsaved changes were found in this browser and restored.${stored.submit ? " The label is not submitted yet." : ""}`, stored.submit ? "warning" : "info");
  autosave.change();
}

// -- changes ----------------------------------------------------------------------------------------------------------

function changed() {
  navigation.withdrawSubmit();
  autosave.change();
}

/** Messages follow a confirmation or review at once, not with the response of the server. */
function evidenceChanged() {
  validation.show(validation.shown);
  changed();
}

/** @returns {Content} */
function collect() {
  if (jsonView.isShown && jsonView.isEdited) return { json: jsonView.text, typed: jsonView.typed, evidence: draft.evidence };
  return { entry: draft.entry, evidence: draft.evidence };
}

// A message that appears between press and release would move a button away from under the pointer.
let isPressed = false;
/** @type {(() => void)[]} */
const postponed = [];

/** @param {() => void} action */
function afterPointer(action) {
  if (isPressed) postponed.push(action);
  else action();
}
document.addEventListener("pointerdown", () => (isPressed = true));
for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
  document.addEventListener(name, () => setTimeout(() => {
    isPressed = false;
    evidence.text.settle();
    for (const action of postponed.splice(0)) action();
  }));
}

/** A revision was restored as a draft, in one step that can be undone. @param {SaveResponse} response */
function restored(response) {
  const { path } = evidence;
  autosave.accept(response);
  jsonView.show("form");
  responses.restored(response);
  if (path !== null && document.activeElement === document.body) form.focus(path);
  status.notice(`The revision was restored as a draft (v${response.version}). ${shortcuts.label("undo")} undoes it.`, "info", [["Undo", () => actions.step("undo")]]);
}

/** Another tab may have saved the label while this one was hidden. */
async function followOtherTabs() {
  const opened = state;
  const isIdle = () => state === opened && !autosave.isBusy && form.typing === null && !(jsonView.isShown && jsonView.isEdited);
  if (document.visibilityState !== "visible" || !isIdle()) return;
  try {
    const response = await request(`${opened.urls.document}state/`);
    const next = /** @type {DocumentState | null} */ (response.ok && !response.redirected ? await response.json() : null);
    if (!next || next.version === autosave.version || next.schema !== opened.schema || !isIdle()) return;
    autosave.accept(next);
    responses.savedElsewhere(next);
  } catch {
    // The next save merges it.
  }
}
document.addEventListener("visibilitychange", followOtherTabs);

/** Takes the other user's value. @param {OpenConflict} conflict */
function take(conflict) {
  conflicts.resolve(conflict.path);
  draft.checkpoint();
  form.putAt(conflict.path, conflict.absent ? undefined : conflict.entry);
}

/** @param {string} path */
function remove(path) {
  draft.checkpoint();
  form.removeAt(path);
}

document.addEventListener("keydown", (event) => {
  if (!document.querySelector("dialog[open]")) actions.onKey(event, shortcuts);
});
for (const name of ["submit", "skip", "flag", "next", "previous"]) $(`${name}-button`).addEventListener("click", () => actions.handlers[name]());
$("save-button").addEventListener("click", () => actions.saveNow());
$("instruction").addEventListener("click", () => {
  $("instruction").setAttribute("aria-expanded", String($("instruction").getAttribute("aria-expanded") !== "true"));
});
$("verdict").addEventListener("click", () => navigation.showFirstProblem());
gridKeys($("form"), form);
splitter($("splitter"), $("panes"));
// A message above the bar takes its height from the form: the field with the focus stays in sight.
new ResizeObserver(() => document.activeElement?.closest("#form [data-control]")?.scrollIntoView({ block: "nearest" })).observe($("form-scroll"));
shortcuts.writeLabels(document);
open(initial);
