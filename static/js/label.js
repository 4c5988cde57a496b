// The labeling screen: opens documents, and ties form, document, saving and keys together.

import { announce } from "./studio.js";
import { Checks } from "./label_checks.js";
import { Evidence } from "./label_evidence.js";
import { Form, itemOf, rowsOf, stepsOf } from "./label_form.js";
import { gridKeys } from "./label_grid.js";
import { chord, digitOf } from "./label_keys.js";
import { Leftovers } from "./label_leftovers.js";
import { Model } from "./label_model.js";
import { pathOf, split } from "./label_paths.js";
import { Queue } from "./label_queue.js";
import { Status } from "./label_status.js";
import { Sync, reach } from "./label_sync.js";
import { flagDialog, skipDialog, splitter } from "./label_parts.js";

const $ = (id) => document.getElementById(id);
const page = $("label");
const model = new Model();
const form = new Form($("form"), model, changed);
const checks = new Checks(form, { confirm, take, remove });
const sync = new Sync({ user: page.dataset.user, collect, answered, stateChanged: () => status.draw() });
const status = new Status({ sync, checks, raw: () => isRawView() });
const queue = new Queue(page, sync);
const leftovers = new Leftovers(sync, (entries) => whenReleased(() => status.leftovers(entries)));
const evidence = new Evidence({ model, form, checks, status, left: () => whenReleased(() => checks.show(checks.answer)) });

let current = null; // the document that is open
let rawEdited = false;
let clashes = []; // what somebody else put where this person put something else, until it is settled

// -- opening ----------------------------------------------------------------------------------------------------------

function open(state, { push = false } = {}) {
  if (current && state.schema !== current.schema) return location.assign(state.urls.document);
  current = state;
  model.open(state.entry, state.evidence);
  sync.open(state);
  checks.open();
  clashes = [];
  for (const touched of form.root.querySelectorAll("[data-touched]")) delete touched.dataset.touched;
  evidence.close();
  evidence.text.open(state.text);
  form.fill();
  checks.show(state);
  showView("form");
  $("raw-text").value = state.json;
  drawHead();
  status.open(state);
  if (push) history.pushState({}, "", state.urls.document);
  queue.opened(state);
  restore();
  leftovers.send();
  $("form-scroll").scrollTop = 0;
  form.focusFirstEmpty();
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
    showView("json");
    $("raw-text").value = left.json;
    rawEdited = true;
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

function collect() {
  if (isRawView() && rawEdited) return { json: $("raw-text").value, evidence: model.evidence };
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

function answered(result) {
  whenReleased(() => adopt(result));
}

function adopt({ answer, fresh }) {
  if (answer.syntax) status.syntax(answer.syntax);
  if (answer.syntax || answer.message) return;
  if (!fresh) {
    // The form goes its own way, but the next save may start from this version and say nothing of these any more.
    if (!answer.clashes.length) return;
    keepClashes(answer, fresh);
    status.merged({ ...answer, merged: [] }, (path) => form.titleOf(path));
    checks.show({ ...checks.answer, clashes });
    return;
  }
  status.syntax("");
  current.state = answer.state;
  model.evidence = answer.evidence;
  if (answer.entry !== undefined) {
    model.checkpoint();
    model.entry = answer.entry;
    form.fill();
  }
  if (answer.merged.length || answer.clashes.length) status.merged(answer, (path) => form.titleOf(path));
  if (!isRawView() || !rawEdited) $("raw-text").value = answer.json;
  keepClashes(answer, fresh);
  checks.show({ ...answer, clashes });
  if (answer.schema !== current.schema) {
    status.notice("The schema was changed meanwhile. Your draft is saved; the page is loaded anew.", "warning");
    setTimeout(() => location.reload(), 1500);
  }
  status.draw();
  evidence.draw();
  evidence.line();
}

// A clash stands beside its field until the person changes the field, having stopped to type after it came.
function keepClashes(answer, fresh) {
  const mine = (path) => JSON.stringify(model.get(split(path))) ?? "";
  const newer = answer.clashes.map((clash) => ({ ...clash, by: answer.merged_with, mine: null }));
  const paths = new Set(newer.map((clash) => clash.path));
  const stands = (clash) => !paths.has(clash.path) && [null, mine(clash.path)].includes(clash.mine);
  clashes = [...clashes.filter(stands), ...newer];
  if (fresh) for (const clash of clashes) clash.mine = mine(clash.path);
}

function confirm(path, of) {
  model.checkpoint();
  if (of === null) delete model.evidence[path];
  else model.evidence[path] = { ...model.evidence[path], confirmed: true, of };
  changed();
}

function take(clash) {
  const { node } = form.find(clash.path);
  clashes = clashes.filter((other) => other.path !== clash.path);
  model.checkpoint();
  form.put(node, clash.absent ? undefined : clash.entry);
}

function remove(path) {
  const { node } = form.find(path);
  model.checkpoint();
  const inside = model.get(stepsOf(node));
  for (const name of Object.keys(inside ?? {})) {
    if (pathOf([...stepsOf(node), name]) === path) model.set([...stepsOf(node), name], undefined);
  }
  changed();
}

function step(moved) {
  if (!moved) return;
  const path = evidence.focused;
  form.fill();
  if (path !== null) form.focus(path);
  evidence.draw();
  changed();
}

// -- JSON view ----------------------------------------------------------------------------------------------------------

function isRawView() {
  return !$("raw").hidden;
}

function showView(name) {
  $("raw").hidden = name !== "json";
  $("form").hidden = name === "json";
  $("focus-line").hidden = name === "json";
  if (name === "json") rawEdited = false;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.classList.toggle("active", button.dataset.view === name);
    button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }
}

async function switchView(name = isRawView() ? "form" : "json") {
  if (name === (isRawView() ? "json" : "form")) return;
  const saved = await sync.flush();
  if (name === "form" && rawEdited && !saved) return $("raw-text").focus();
  showView(name);
  if (name === "json") {
    $("raw-text").focus();
    $("raw-text").setSelectionRange(0, 0);
    $("raw-text").scrollTop = 0;
  }
  else if (evidence.focused !== null) form.focus(evidence.focused);
  else form.focusFirstEmpty();
  status.draw();
}

$("raw-text").addEventListener("input", () => {
  if (!rawEdited) model.checkpoint();
  rawEdited = true;
  changed();
});

// -- actions ------------------------------------------------------------------------------------------------------------

// One way out of a document at a time: a second press while the first is under way would skip the document after it.
let leaving = null;
function once(action) {
  return (...args) => {
    leaving ??= action(...args).finally(() => (leaving = null));
    return leaving;
  };
}

const submit = once(async () => {
  const { status: code, answer } = await sync.send(true);
  if (code === 200) return (await mayLeave()) && goOn(() => queue.next());
  if (code === 409 && !answer.merged.length && !answer.clashes.length) return undefined;
  if (code === 409) return status.say("Not submitted yet: look at what changed, then submit again.");
  if (code === 422 && !answer.syntax) {
    checks.tried = true;
    if (isRawView()) await switchView("form");
    checks.show(checks.answer);
    status.draw();
    const first = checks.first();
    if (first !== undefined) form.focus(first);
    const box = first && document.querySelector(`[data-confirm="${CSS.escape(first)}"]`);
    if (box && !checks.seen.some((problem) => problem.path === first)) box.focus();
    status.say(status.verdictWords());
  }
  return undefined;
});

// What was typed is saved and brought up nothing to look at, or the person leaves the document all the same.
async function mayLeave() {
  const known = new Set(clashes.map((clash) => clash.path));
  if (await sync.flush()) {
    if (clashes.every((clash) => known.has(clash.path))) return true;
    status.say("Look at what somebody else changed, then go on.");
    return false;
  }
  const why = sync.stuck || "The server does not answer.";
  return window.confirm(`${why}\nThe last changes are not saved; they are kept in this browser. Go on all the same?`);
}

async function goOn(step) {
  let state;
  try {
    state = await step();
  } catch (error) {
    return announce(error.message);
  }
  if (!state) return undefined;
  // What was typed while it was fetched.
  await sync.flush();
  return open(state, { push: true });
}

async function saveNow() {
  if (await sync.flush()) status.say("Saved.");
}

const follow = once(async (direction) => {
  if (await mayLeave()) await goOn(() => queue[direction]());
});

const dialogs = {
  skip: skipDialog(() => current, once(() => {
    sync.discard();
    return goOn(() => queue.next());
  })),
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
  if (!item) return false;
  action(item);
  return true;
}

function nothing() {
  const rows = rowsOf(document.activeElement?.closest("[data-add-row], [data-null]"));
  if (rows) form.toggleNull(rows);
  else if (evidence.node && !form.toggleNull(evidence.node)) status.say("This field is required: it cannot be left out.");
}

const ACTIONS = {
  "Ctrl+Enter": submit,
  "Ctrl+KeyS": saveNow,
  "Ctrl+KeyZ": () => !isRawView() && step(model.undo()),
  "Ctrl+Shift+KeyZ": () => !isRawView() && step(model.redo()),
  "Ctrl+KeyY": () => !isRawView() && step(model.redo()),
  "Alt+KeyN": () => follow("next"),
  "Alt+KeyP": () => follow("previous"),
  "Alt+KeyX": () => dialogs.skip(),
  "Alt+KeyF": () => dialogs.flag(),
  "Alt+KeyJ": () => switchView(),
  "Alt+KeyE": () => evidence.cycle() || announce("This value stands nowhere in the document.", "info"),
  "Alt+KeyR": addRow,
  "Alt+Digit0": nothing,
  "Ctrl+KeyD": () => withRow((item) => form.duplicateRow(item)),
  "Ctrl+Shift+Backspace": () => withRow((item) => form.deleteRow(item)),
};
const NATIVE_IN_RAW = new Set(["Ctrl+KeyZ", "Ctrl+Shift+KeyZ", "Ctrl+KeyY", "Ctrl+KeyD", "Ctrl+Shift+Backspace"]);

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const keys = chord(event);
  const action = ACTIONS[keys];
  if (action && !(isRawView() && NATIVE_IN_RAW.has(keys))) {
    event.preventDefault();
    action();
    return;
  }
  choose(event, keys);
});

// Digits choose in a choice; Backspace and Delete empty it.
function choose(event, keys) {
  const control = event.target.closest?.("[data-choice]");
  if (!control) return;
  const leaf = control.closest("[data-node]");
  const number = digitOf(event);
  const empties = ["Backspace", "Delete"].includes(keys);
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

$("submit-button").addEventListener("click", submit);
$("save-button").addEventListener("click", saveNow);
$("skip-button").addEventListener("click", () => dialogs.skip());
$("flag-button").addEventListener("click", () => dialogs.flag());
$("next-button").addEventListener("click", () => follow("next"));
$("previous-button").addEventListener("click", () => follow("previous"));
$("verdict").addEventListener("click", async () => {
  checks.tried = true;
  if (isRawView()) await switchView("form");
  checks.show(checks.answer);
  status.draw();
  const first = checks.first();
  if (first !== undefined) form.focus(first);
});
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => switchView(button.dataset.view));
window.addEventListener("popstate", async () => {
  const stay = () => history.pushState({}, "", current.urls.document);
  if (!(await mayLeave())) return stay();
  let response;
  try {
    response = await reach(`${location.pathname}state/`);
  } catch (error) {
    announce(error.message);
    return stay();
  }
  if (response.ok && !response.redirected) open(await response.json());
  else location.reload();
  return undefined;
});
// Keys of a selection in the document belong to the field that is filled.
gridKeys($("form"), form);
splitter($("splitter"), $("panes"));
open(JSON.parse($("label-state").textContent));
