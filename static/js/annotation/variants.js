// A value that takes one of several forms: the switch between them, and what comes along when it is turned.

import { branchOf, childrenOf, copyOf, isGroup, isLeaf, isRows, parentOf, stepsOf } from "./nodes.js";
import { isRaw, own, table } from "./paths.js";

const templatesOf = (node) => [...node.children].filter((child) => child.matches("template[data-variant]"));

// Draws the form that an entry is in. Where there is no value the first form, or the one that stands there, is empty.
export function fillVariants(form, node, entry) {
  const chosen = Number(entry?.$form ?? node.dataset.form ?? 0);
  const branch = branchOf(node);
  if (node.dataset.form !== String(chosen) || !branch.firstElementChild) {
    node.dataset.form = String(chosen);
    branch.replaceChildren(copyOf(templatesOf(node)[chosen] ?? templatesOf(node)[0]));
  }
  for (const control of switchesOf(node)) {
    if (control.type === "radio") control.checked = Number(control.value) === chosen;
    else control.value = String(chosen);
  }
  form.fillNode(branch.firstElementChild, isRaw(entry) ? undefined : entry?.$value);
}

// Radio buttons of one switch belong together by a name of their own; copies get a new one.
let switches = 0;
function switchesOf(node) {
  const bar = [...node.children].find((child) => child.matches("[data-switches]"));
  const controls = [...bar.querySelectorAll("[data-switch]")];
  if (!bar.dataset.named) {
    switches += 1;
    bar.dataset.named = "yes";
    for (const control of controls) control.name = `switch-${switches}`;
  }
  return controls;
}

// Chooses another form. Fields that both forms have, of the same kind, keep what stands in them; undo brings back all.
export function switchForm(form, node, number) {
  const steps = stepsOf(node);
  const before = form.model.get(steps);
  const old = branchOf(node).firstElementChild;
  const blank = copyOf(templatesOf(node)[number]);
  form.model.checkpoint();
  const entry = { $form: number };
  const value = carried(before?.$value, old, blank);
  if (value !== undefined) entry.$value = value;
  form.put(node, entry);
  const control = branchOf(node).firstElementChild;
  if (isGroup(control)) holdConstants(form, control, { all: true });
  form.fillNode(node, form.model.get(steps));
  form.changed();
}

function carried(value, old, blank) {
  if (value === undefined || value === null || isRaw(value) || !old) return undefined;
  if (isLeaf(old) && isLeaf(blank)) return old.dataset.shape === blank.dataset.shape || typeof value === typeof "" ? plain(value, blank) : undefined;
  if (isRows(old) && isRows(blank) && old.dataset.node === blank.dataset.node) return value;
  if (!isGroup(old) || !isGroup(blank) || typeof value !== "object") return undefined;
  const taken = table();
  const there = new Map(childrenOf(old).map((child) => [child.dataset.key, child]));
  for (const child of childrenOf(blank)) {
    const from = there.get(child.dataset.key);
    const same = from && from.dataset.node === child.dataset.node && from.dataset.shape === child.dataset.shape;
    const inside = own(value, child.dataset.key);
    if (same && inside !== undefined && !("fixed" in child.dataset)) taken[child.dataset.key] = inside;
  }
  return Object.keys(taken).length ? taken : undefined;
}

// A text goes into any field that is typed; choices and booleans have values of their own.
const plain = (value, blank) => (["choice", "boolean", "json", "checks"].includes(blank.dataset.shape) ? undefined : value);

// What comes with a value put below a group: which form it is in, and the constants of the groups around it.
export function holdForms(form, group) {
  for (let node = group; node; node = parentOf(node)) {
    if (node.dataset.node === "variants") {
      const steps = stepsOf(node);
      const entry = form.model.get(steps);
      const known = entry !== null && typeof entry === "object" && "$form" in entry;
      if (!known) form.model.set([...steps, "$form"], Number(node.dataset.form ?? 0));
    } else if (node.dataset.node === "group") {
      holdConstants(form, node, { all: parentOf(node)?.dataset.node === "variants" });
    }
  }
}

// A required field that can have one value only has it as soon as its group is there.
function holdConstants(form, group, { all }) {
  for (const child of constantsOf(group)) {
    if (!all && !("required" in child.dataset)) continue;
    const steps = stepsOf(child);
    if (form.model.get(steps) !== undefined) continue;
    form.model.set(steps, child.dataset.fixed);
    form.fillNode(child, child.dataset.fixed);
  }
}

const known = new WeakMap();
function constantsOf(group) {
  if (!known.has(group)) known.set(group, childrenOf(group).filter((child) => "fixed" in child.dataset));
  return known.get(group);
}

