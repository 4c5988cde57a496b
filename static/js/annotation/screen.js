// The labeling screen: opens documents, and ties form, document, saving and keys together.

import { announce } from "../site/base.js";
import { Answers } from "./save_responses.js";
import { Checks } from "./validation.js";
import { Clashes } from "./merge_conflicts.js";
import { Completion } from "./completion.js";
import { Confirmations } from "./confirmations.js";
import { Evidence } from "./evidence.js";
import { Exceptions } from "./exceptions.js";
import { Form, itemOf, rowsOf } from "./form.js";
import { written } from "./json_text.js";
import { gridKeys } from "./grid.js";
import { chord, digitOf, Keys } from "./shortcuts.js";
import { Leftovers } from "./unsaved_drafts.js";
import { Way } from "./navigation.js";
import { Model } from "./draft.js";
import { firstDifference } from "./differences.js";
import { pathOf, split } from "./paths.js";
import { flagDialog, skipDialog, splitter } from "./dialogs.js";
import { Queue } from "./queue.js";
import { RawView } from "./json_view.js";
import { leftoverList, Status } from "./status.js";
import { Sync } from "./autosave.js";
import { Comments, History } from "./comments.js";
import { Clock } from "./time_tracker.js";

const $ = (id) => document.getElementById(id);
const page = $("label");
let current = null; // the document that is open

const keys = new Keys(JSON.parse($("label-keys").textContent));
const clock = new Clock();
const model = new Model();
const form = new Form($("form"), model, { changed, settled: () => { sync.settle(); answers.settle(); } });
const clashes = new Clashes(form);
const sync = new Sync({
  user: page.dataset.user, clock, collect,
  typing: () => form.typingPath,
  asked: () => [...checks.asked],
  answered: (answered) => answers.take(answered),
  stateChanged: () => status.draw(),
});
const checks = new Checks(form, {
  confirm: (path, confirmed) => { form.settle(); confirmations.set(path, confirmed); },
  take, remove, choose: takeReading,
  right: (path) => exceptions.right(path),
  key: () => keys.words("right"),
  looks: () => exceptions.found,
});
const status = new Status({ sync, checks, keys });
const confirmations = new Confirmations({
  form, model, checks, sync, changed: looked,
  say: (words) => status.say(words),
  nothing: () => announce("There is nothing to confirm in this field.", "info"),
});
const exceptions = new Exceptions({ page, form, model, checks, confirm: confirmations, keys, say: (words) => status.say(words), changed: looked });
const queue = new Queue(page, clock, (names) => whenReleased(() => status.others(names)));
const leftovers = new Leftovers(sync, (entries) => whenReleased(() => leftoverList(entries)));
const evidence = new Evidence({
  model, form, checks, status,
  left: () => whenReleased(() => checks.show(checks.answer)),
  entered: (path) => clock.enter(path),
});
const completion = new Completion($("form"), { text: evidence.text, take: (...place) => evidence.selected(...place) });
const raw = new RawView({
  write: () => { form.settle(); return sync.isBusy ? written(form, answers.understood()) : null; },
  checkpoint: () => model.checkpoint(),
  changed,
  saved: () => sync.flush(),
  back: () => {
    if (evidence.focused !== null) form.focus(evidence.focused);
    else form.focusFirstEmpty();
    status.draw();
  },
});
const answers = new Answers({
  model, form, sync, raw, checks, clashes, confirmations, exceptions, evidence, status, whenReleased, current: () => current,
});
const way = new Way({ sync, queue, checks, clashes, status, raw, form, keys, open, current: () => current });
const comments = new Comments({ form, current: () => current, focused: () => evidence.focused });
const changes = new History({ current: () => current, version: () => sync.version, saved: () => sync.flush(), restored });

// -- opening ----------------------------------------------------------------------------------------------------------

function open(state, { push = false } = {}) {
  if (current && state.schema !== current.schema) return location.assign(state.urls.document);
  current = state;
  form.typing = null;
  completion.hide();
  clock.open();
  model.open(state.entry, state.evidence);
  sync.open(state);
  checks.open();
  clashes.open();
  confirmations.open();
  answers.open(state);
  for (const touched of form.root.querySelectorAll("[data-touched]")) delete touched.dataset.touched;
  evidence.open(state);
  form.fill();
  raw.show("form");
  raw.fill(state.json);
  exceptions.open(state);
  checks.show(state);
  drawHead();
  status.open(state, () => way.follow("next"));
  comments.opened(state);
  if (push) history.pushState({}, "", state.urls.document);
  queue.opened(state);
  restore();
  leftovers.send();
  $("form-scroll").scrollTop = 0;
  if (!exceptions.focusFirst()) form.focusFirstEmpty();
  evidence.draw();
  return undefined;
}

function drawHead() {
  document.title = document.title.replace(/^.*? · Label/u, `${current.name} · Label`);
  $("document-name").textContent = current.name;
  $("document-page").href = current.urls.page;
  const facts = [current.source && `from ${current.source}`, current.synthetic && "synthetic", current.holdout && "hold-out"];
  $("document-facts").replaceChildren(...facts.filter(Boolean).map((fact) => Object.assign(document.createElement("span"), { textContent: fact })));
  status.flags(current.tags);
}

// What an earlier tab could not save is put back, and saved.
function restore() {
  const left = sync.leftover();
  if (!left) return;
  if (left.schema !== current.schema) {
    return status.notice("What could not be saved here before was made for another schema. This browser keeps it until you change something.", "warning");
  }
  if (left.base_version > current.version || (left.entry === undefined && left.json === undefined)) return sync.forget();
  if (left.json !== undefined) {
    raw.edit(left.json, left.typed);
  } else {
    model.checkpoint();
    model.entry = left.entry;
    model.evidence = left.evidence;
    form.fill();
  }
  sync.version = left.base_version;
  status.notice("What could not be saved here before was found in this browser and is put back.");
  sync.change();
  return undefined;
}

// -- changes ----------------------------------------------------------------------------------------------------------

function changed() {
  sync.change();
}

// A field was looked at: its message goes at once, not with the answer of the server.
function looked() {
  checks.show(checks.answer);
  changed();
}

function collect() {
  if (raw.isShown && raw.edited) return { json: raw.text, typed: raw.typed, evidence: model.evidence };
  return { entry: model.entry, evidence: model.evidence };
}

// A message that appears between press and release would move the button away from under the pointer.
let pressed = false;
const waiting = [];
function whenReleased(action) {
  if (pressed) waiting.push(action);
  else action();
}
document.addEventListener("pointerdown", () => (pressed = true));
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () => setTimeout(() => {
    pressed = false;
    for (const action of waiting.splice(0)) action();
  }));
}

// An old version is back: as a draft, and as one step that can be undone.
function restored(answer) {
  const path = evidence.focused;
  sync.accept(answer);
  raw.show("form");
  answers.restore(answer);
  if (path !== null && document.activeElement === document.body) form.focus(path);
  status.notice(`It is as it was then, as a draft (v${answer.version}). ${keys.words("undo")} takes it back.`, "info", [["Take it back", () => step("undo")]]);
}

function take(clash) {
  clashes.settle(clash.path);
  model.checkpoint();
  form.putAt(clash.path, clash.absent ? undefined : clash.entry);
}

// The date that an ambiguous one means.
function takeReading(path, day) {
  form.settle();
  model.checkpoint();
  form.put(form.find(path).node, day);
}

// By a key, also while the server has not said yet that the date is ambiguous.
async function reading(index) {
  const path = here();
  if (path === null) return;
  const entry = JSON.stringify(form.entryOf(form.find(path).node));
  await sync.flush();
  const day = checks.answer.readings[path]?.[index];
  if (day === undefined) announce("This field holds no ambiguous date.", "info");
  else if (JSON.stringify(form.entryOf(form.find(path).node)) === entry) takeReading(path, day);
}

function remove(path) {
  model.checkpoint();
  form.removeAt(path);
}

// One step back or on: the focus goes where something changed, unless it is there already.
function step(direction) {
  const before = model.entry;
  if (!model[direction]()) return status.say(`Nothing is left to ${direction}.`);
  const path = evidence.focused;
  completion.hide();
  form.fill();
  const steps = firstDifference(before, model.entry);
  const changedNode = steps && form.nodeAt(steps);
  if (changedNode && !changedNode.contains(path === null ? null : form.find(path).node)) form.focusNode(changedNode);
  else if (path !== null) form.focus(path);
  evidence.draw();
  return changed();
}

// -- actions ------------------------------------------------------------------------------------------------------------

// What was said to be right belongs to what is submitted.
async function submit() {
  if (confirmations.asked.size) await sync.flush();
  await way.submit();
}

async function saveNow() {
  if (await sync.flush()) status.say("Saved.");
}

const dialogs = {
  skip: skipDialog(() => current, () => way.skipped()),
  flag: flagDialog(() => current, () => status.flags(current.tags)),
};

function addRow() {
  const active = document.activeElement?.closest?.("#form [data-node]") ?? evidence.node;
  if (evidence.addBlock(active)) return;
  const rows = rowsOf(active) ?? form.root.querySelector('[data-node="table"], [data-node="list"]');
  if (rows) form.addRow(rows);
}

function withRow(action) {
  const item = document.activeElement ? itemOf(document.activeElement) : null;
  if (item) action(item);
}

function nothing() {
  const rows = rowsOf(document.activeElement?.closest("[data-add-row], [data-null]"));
  if (rows) form.toggleNull(rows);
  else if (evidence.node && !form.toggleNull(evidence.node)) status.say("This field is required: it cannot be left out.");
}

function toDocument() {
  const { front } = evidence.pages;
  if (!front.contains(document.activeElement)) front.focus({ preventScroll: true });
  else if (evidence.focused !== null) form.focus(evidence.focused);
  else form.focusFirstEmpty();
}

// The field at hand: the one that the message with the focus is about, else the one that had the focus last.
const here = () => document.activeElement?.closest("[data-about]")?.dataset.about ?? evidence.focused;

// To the first message that something can be done about, from there to the next one, and back to the field.
function toMessages() {
  const path = here();
  const node = path === null ? null : form.find(path).node;
  const about = path === null ? [] : [...form.root.querySelectorAll(`[data-about="${CSS.escape(path)}"]`)];
  const boxes = [...about, ...(node?.querySelectorAll(":scope > .sf-raw-note") ?? []), ...(rowsOf(node)?.querySelectorAll(":scope > [data-messages] > .sf-message-more, :scope > .sf-raw-note") ?? []), $("notice"), $("messages")];
  const stops = boxes.filter((box) => !box.hidden).flatMap((box) => [...box.querySelectorAll("button, input, a")]);
  const next = stops[stops.indexOf(document.activeElement) + 1];
  if (next) next.focus();
  else if (path !== null) form.focus(path);
  if (!stops.length) status.say("There is no message about this field.");
}

// The path of what there is to confirm: a rule may be broken by a row or by the whole label.
function doubtful(path) {
  for (let place = path; ; place = pathOf(split(place).slice(0, -1))) {
    if (checks.isDoubtful(place)) return place;
    if (place === "") return path;
  }
}

// It is right as it stands.
function right() {
  const path = here();
  const place = path === null ? null : doubtful(path);
  if (exceptions.found === null) return place !== null && confirmations.toggle(place);
  // What a person looked at before may stand in doubt by now.
  if (place !== null && !exceptions.found[path] && checks.isDoubtful(place) && !checks.isConfirmed(place)) confirmations.set(place, true);
  return exceptions.right(path);
}

function prefilled() {
  if (exceptions.found === null) announce("No model filled this form.", "info");
  return exceptions.found !== null;
}

const ACTIONS = {
  submit,
  save: saveNow,
  undo: () => !raw.isShown && step("undo"),
  redo: () => !raw.isShown && step("redo"),
  next: () => way.follow("next"),
  previous: () => way.follow("previous"),
  skip: () => dialogs.skip(),
  flag: () => dialogs.flag(),
  comment: () => comments.show(),
  history: () => changes.show(),
  right,
  messages: toMessages,
  all_fields: () => prefilled() && exceptions.toggle(),
  absent: nothing,
  absent_rest: () => way.answerRest(),
  reading_1: () => reading(0),
  reading_2: () => reading(1),
  evidence: () => evidence.cycle() || announce("This value stands nowhere in the document.", "info"),
  row_add: addRow,
  row_duplicate: () => withRow((item) => form.duplicateRow(item)),
  row_delete: () => withRow((item) => form.deleteRow(item)),
  json: () => raw.turn(),
  view: () => evidence.pages.turnView() || announce("This document is text alone: it has no pages.", "info"),
  document: toDocument,
  keys: () => document.querySelector("[data-keys-help]").click(),
};
// In the text of the JSON view these are the browser's.
const NATIVE_IN_RAW = new Set(["undo", "redo", "row_duplicate", "row_delete"]);

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const name = keys.actionOf(event);
  if (name && !(raw.isShown && NATIVE_IN_RAW.has(name))) {
    event.preventDefault();
    form.settle();
    ACTIONS[name]();
    return;
  }
  choose(event, chord(event));
});

// Digits choose in a choice; Backspace and Delete empty it.
function choose(event, pressedKeys) {
  const control = event.target.closest?.("[data-choice]");
  if (!control) return;
  const leaf = control.closest("[data-node]");
  const number = digitOf(event);
  const empties = ["Backspace", "Delete"].includes(pressedKeys);
  if (number === null && !empties) return;
  event.preventDefault();
  if (empties) {
    model.checkpoint();
    form.put(leaf, undefined);
  } else if (control.tagName === "SELECT") {
    if (control.options[number]) control.selectedIndex = number;
    form.typed(control);
  } else {
    const other = leaf.querySelectorAll("[data-choice]")[number - 1];
    other?.focus();
    other?.click();
  }
}

for (const name of ["submit", "skip", "flag", "next", "previous"]) $(`${name}-button`).addEventListener("click", () => ACTIONS[name]());
$("save-button").addEventListener("click", saveNow);
$("instruction").addEventListener("click", ({ currentTarget: button }) => {
  button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
});
$("verdict").addEventListener("click", () => way.toFirstProblem());
gridKeys($("form"), form);
splitter($("splitter"), $("panes"));
// A message above the bar takes its height from the form: the field with the focus stays in sight.
new ResizeObserver(() => document.activeElement?.closest("#form [data-control]")?.scrollIntoView({ block: "nearest" })).observe($("form-scroll"));
keys.hint(document);
open(JSON.parse($("label-state").textContent));
