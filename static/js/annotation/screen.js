// The labeling screen: opens documents, and ties form, document, autosave and shortcuts together.

/** @import { Content, DocumentState, OpenConflict, SaveResponse } from "./types" */

import { Autosave } from "./autosave.js";
import { Comments } from "./comments.js";
import { Completion } from "./completion.js";
import { Confirmations } from "./confirmations.js";
import { flagDialog, skipDialog, splitter } from "./dialogs.js";
import { firstDifference } from "./differences.js";
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
import { itemOf, rowsOf } from "./nodes.js";
import { pathOf, split } from "./paths.js";
import { Queue } from "./queue.js";
import { SaveResponses } from "./save_responses.js";
import { Shortcuts, chord, digitOf } from "./shortcuts.js";
import { Status, showUnsavedDrafts } from "./status.js";
import { TimeTracker } from "./time_tracker.js";
import { UnsavedDrafts } from "./unsaved_drafts.js";
import { Validation } from "./validation.js";
import { announce } from "../site/base.js";
import { $, find, make } from "../site/dom.js";

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
});
const validation = new Validation(form, {
  confirm: (path, isConfirmed) => {
    form.settle();
    confirmations.set(path, isConfirmed);
  },
  take,
  remove,
  chooseReading,
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
const completion = new Completion($("form"), { text: evidence.text, take: (...place) => evidence.select(...place) });
const jsonView = new JsonView({
  write: () => {
    form.settle();
    return autosave.isBusy ? writeJson(form, responses.normalized()) : null;
  },
  checkpoint: () => draft.checkpoint(),
  changed,
  save: () => autosave.flush(),
  back: () => {
    focusForm();
    status.draw();
  },
});
const responses = new SaveResponses({
  draft, form, autosave, jsonView, validation, conflicts, confirmations, exceptions, evidence, status, afterPointer, current,
});
const navigation = new Navigation({ autosave, queue, validation, conflicts, status, jsonView, form, shortcuts, open, current });
const comments = new Comments({ form, current, focusedPath: () => evidence.path });
const revisions = new History({ current, version: () => autosave.version, save: () => autosave.flush(), restored });

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
  evidence.draw();
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
    status.notice("Unsaved changes from before belong to another schema. This browser keeps them until you change something.", "warning");
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
  status.notice("Unsaved changes were found in this browser and restored.");
  autosave.change();
}

// -- changes ----------------------------------------------------------------------------------------------------------

function changed() {
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
  status.notice(`The revision was restored as a draft (v${response.version}). ${shortcuts.label("undo")} undoes it.`, "info", [["Undo", () => step("undo")]]);
}

/** Takes the other user's value. @param {OpenConflict} conflict */
function take(conflict) {
  conflicts.resolve(conflict.path);
  draft.checkpoint();
  form.putAt(conflict.path, conflict.absent ? undefined : conflict.entry);
}

/** Puts the date that an ambiguous one means. @param {string} path @param {string} date */
function chooseReading(path, date) {
  form.settle();
  draft.checkpoint();
  form.put(form.find(path).node, date);
}

/** By a key, also before the server has found that the date is ambiguous. @param {number} index */
async function chooseReadingAt(index) {
  const path = currentPath();
  if (path === null) return;
  const entryAt = () => JSON.stringify(form.entryOf(form.find(path).node));
  const entry = entryAt();
  await autosave.flush();
  const date = validation.shown.readings[path]?.[index];
  if (date === undefined) announce("This field has no ambiguous date.", "info");
  else if (entryAt() === entry) chooseReading(path, date);
}

/** @param {string} path */
function remove(path) {
  draft.checkpoint();
  form.removeAt(path);
}

/** The focus goes where something changed, unless it is there already. @param {"undo" | "redo"} direction */
function step(direction) {
  const before = draft.entry;
  if (!draft[direction]()) {
    status.announce(`Nothing to ${direction}.`);
    return;
  }
  const { path } = evidence;
  completion.hide();
  form.fill();
  const steps = firstDifference(before, draft.entry);
  const node = steps && form.nodeAt(steps);
  if (node && !node.contains(path === null ? null : form.find(path).node)) form.focusNode(node);
  else if (path !== null) form.focus(path);
  evidence.draw();
  changed();
}

// -- actions ------------------------------------------------------------------------------------------------------------

async function submit() {
  // Pending confirmations are part of what is submitted.
  if (confirmations.hasPending) await autosave.flush();
  await navigation.submit();
}

async function saveNow() {
  if (await autosave.flush()) status.announce("Saved.");
}

const dialogs = {
  skip: skipDialog(current, () => navigation.skipped()),
  flag: flagDialog(current, () => status.showTags(state.tags)),
};

function addRow() {
  const active = document.activeElement?.closest("#form [data-node]") ?? evidence.node;
  if (evidence.addBlock(active)) return;
  const rows = rowsOf(active) ?? form.root.querySelector('[data-node="table"], [data-node="list"]');
  if (rows) form.addRow(rows);
}

/** @param {(item: Element) => void} action */
function withRow(action) {
  const item = document.activeElement && itemOf(document.activeElement);
  if (item) action(item);
}

function toggleAbsent() {
  const rows = rowsOf(document.activeElement?.closest("[data-add-row], [data-null]"));
  if (rows) form.toggleAbsent(rows);
  else if (evidence.node && !form.toggleAbsent(evidence.node)) status.announce("This field is required: it cannot be absent.");
}

function focusForm() {
  if (evidence.path !== null) form.focus(evidence.path);
  else form.focusFirstEmpty();
}

function focusDocument() {
  const { front } = evidence.pages;
  if (front.contains(document.activeElement)) focusForm();
  else front.focus({ preventScroll: true });
}

/** The path of the message with the focus, else of the field that had the focus last. */
const currentPath = () => document.activeElement?.closest("[data-about]")?.dataset.about ?? evidence.path;

/** Goes to the first message with a control, from there to the next one, and back to the field. */
function focusMessages() {
  const path = currentPath();
  const node = path === null ? null : form.find(path).node;
  const boxes = [
    ...(path === null ? [] : form.root.querySelectorAll(`[data-about="${CSS.escape(path)}"]`)),
    ...(node?.querySelectorAll(":scope > .sf-raw-note") ?? []),
    ...(rowsOf(node)?.querySelectorAll(":scope > [data-messages] > .sf-message-more, :scope > .sf-raw-note") ?? []),
    $("notice"),
    $("messages"),
  ];
  const controls = boxes.filter((box) => !box.hidden).flatMap((box) => [...box.querySelectorAll("button, input, a")]);
  const next = controls[controls.findIndex((control) => control === document.activeElement) + 1];
  if (next) next.focus();
  else if (path !== null) form.focus(path);
  if (!controls.length) status.announce("This field has no messages.");
}

/** The path with something to confirm: an invariant may be broken by a row or by the whole label. @param {string} path */
function pathToConfirm(path) {
  for (let place = path; ; place = pathOf(split(place).slice(0, -1))) {
    if (validation.needsConfirmation(place)) return place;
    if (place === "") return path;
  }
}

/** Confirms the value, or marks it as reviewed. */
function confirmValue() {
  const path = currentPath();
  const place = path === null ? null : pathToConfirm(path);
  if (exceptions.reasons === null) {
    if (place !== null) confirmations.toggle(place);
    return;
  }
  // A reviewed value may need a confirmation by now.
  const isReviewed = path !== null && !exceptions.reasons[path];
  if (place !== null && isReviewed && validation.needsConfirmation(place) && !validation.isConfirmed(place)) confirmations.set(place, true);
  exceptions.markReviewed(path);
}

function toggleExceptions() {
  if (exceptions.reasons === null) announce("No model filled this form.", "info");
  else exceptions.toggle();
}

/** @type {Record<string, () => unknown>} */
const ACTIONS = {
  submit,
  save: saveNow,
  undo: () => !jsonView.isShown && step("undo"),
  redo: () => !jsonView.isShown && step("redo"),
  next: () => navigation.go("next"),
  previous: () => navigation.go("previous"),
  skip: () => dialogs.skip(),
  flag: () => dialogs.flag(),
  comment: () => comments.show(),
  history: () => revisions.show(),
  right: confirmValue,
  messages: focusMessages,
  all_fields: toggleExceptions,
  absent: toggleAbsent,
  absent_rest: () => navigation.answerRest(),
  reading_1: () => chooseReadingAt(0),
  reading_2: () => chooseReadingAt(1),
  evidence: () => evidence.cycle() || announce("This value is not in the document.", "info"),
  row_add: addRow,
  row_duplicate: () => withRow((item) => form.duplicateRow(item)),
  row_delete: () => withRow((item) => form.deleteRow(item)),
  json: () => jsonView.turn(),
  view: () => evidence.pages.turnView() || announce("This document has text only, no pages.", "info"),
  document: focusDocument,
  keys: () => find(document, "[data-keys-help]").click(),
};
// In the text of the JSON view these are the browser's.
const NATIVE_IN_JSON = new Set(["undo", "redo", "row_duplicate", "row_delete"]);

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const action = shortcuts.actionOf(event);
  if (action && !(jsonView.isShown && NATIVE_IN_JSON.has(action))) {
    event.preventDefault();
    form.settle();
    ACTIONS[action]();
    return;
  }
  choose(event);
});

/** Digits choose in a choice; Backspace and Delete empty it. @param {KeyboardEvent & Targeted} event */
function choose(event) {
  const control = /** @type {FormControl | null} */ (event.target.closest("[data-choice]"));
  const leaf = control?.closest("[data-node]");
  if (!control || !leaf) return;
  const number = digitOf(event);
  const isEmptied = ["Backspace", "Delete"].includes(chord(event));
  if (number === null && !isEmptied) return;
  event.preventDefault();
  if (isEmptied) {
    draft.checkpoint();
    form.put(leaf, undefined);
  } else if (number !== null && control.tagName === "SELECT") {
    if (control.options[number]) control.selectedIndex = number;
    form.typed(control);
  } else if (number !== null) {
    const other = leaf.querySelectorAll("[data-choice]")[number - 1];
    other?.focus();
    other?.click();
  }
}

for (const name of ["submit", "skip", "flag", "next", "previous"]) $(`${name}-button`).addEventListener("click", () => ACTIONS[name]());
$("save-button").addEventListener("click", saveNow);
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
