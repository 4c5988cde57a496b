// A value that has one of several forms (oneOf): the switch between them, and what is kept when it is turned.

/** @import { Entry, EntryGroup } from "./types" */
/** @import { Form } from "./form.js" */

import { branchOf, childOf, childrenOf, copyOf, isGroup, isLeaf, isRows, keyOf, parentOf, stepsOf, variantOf } from "./nodes.js";
import { isNamed, isRaw, own, table } from "./paths.js";

/** @param {Element} node @param {number} number */
function templateOf(node, number) {
  const templates = /** @type {HTMLTemplateElement[]} */ ([...node.children].filter((child) => child.matches("template[data-variant]")));
  return templates[number] ?? templates[0];
}

/**
 * Shows the form that an entry has; without a value the first one, or the one that is shown, is empty.
 * @param {Form} form @param {Element} node @param {Entry} entry
 */
export function fillVariants(form, node, entry) {
  const value = isNamed(entry) ? entry : {};
  const chosen = Number(value.$form ?? node.dataset.form ?? 0);
  if (node.dataset.form !== String(chosen) || !variantOf(node)) {
    node.dataset.form = String(chosen);
    branchOf(node).replaceChildren(copyOf(templateOf(node, chosen)));
  }
  for (const control of switchesOf(node)) {
    if (control.type === "radio") control.checked = Number(control.value) === chosen;
    else control.value = String(chosen);
  }
  form.fillNode(/** @type {Element} */ (variantOf(node)), value.$value);
}

// The radio buttons of a switch share a name; copies get a new one.
let switches = 0;

/** @param {Element} node */
function switchesOf(node) {
  const bar = /** @type {Element} */ (childOf(node, "[data-switches]"));
  const controls = /** @type {HTMLInputElement[]} */ ([...bar.querySelectorAll("[data-switch]")]);
  if (!bar.dataset.named) {
    switches += 1;
    bar.dataset.named = "yes";
    for (const control of controls) control.name = `switch-${switches}`;
  }
  return controls;
}

/**
 * Chooses another form. Fields of the same kind in both forms keep their values.
 * @param {Form} form @param {Element} node @param {number} number
 */
export function switchForm(form, node, number) {
  const steps = stepsOf(node);
  const before = form.draft.get(steps);
  const blank = copyOf(templateOf(node, number));
  form.draft.checkpoint();
  const value = keptValue(isNamed(before) ? before.$value : undefined, variantOf(node), blank);
  form.put(node, value === undefined ? { $form: number } : { $form: number, $value: value });
  const variant = variantOf(node);
  if (variant && isGroup(variant)) putConstants(form, variant, true);
  form.fillNode(node, form.draft.get(steps));
  form.changed();
}

/**
 * The part of a value that another form can hold.
 * @param {Entry} value @param {Element | null} old @param {Element} blank
 * @returns {Entry}
 */
function keptValue(value, old, blank) {
  if (value === undefined || value === null || isRaw(value) || !old) return undefined;
  if (isLeaf(old) && isLeaf(blank)) {
    const isText = old.dataset.shape === blank.dataset.shape || typeof value === "string";
    return isText && !["choice", "boolean", "json", "checks"].includes(blank.dataset.shape ?? "") ? value : undefined;
  }
  if (isRows(old) && isRows(blank) && old.dataset.node === blank.dataset.node) return value;
  return isGroup(old) && isGroup(blank) ? keptFields(value, old, blank) : undefined;
}

/** @param {Entry} value @param {Element} old @param {Element} blank @returns {EntryGroup | undefined} */
function keptFields(value, old, blank) {
  if (value === null || typeof value !== "object") return undefined;
  const fields = /** @type {EntryGroup} */ (value);
  /** @type {EntryGroup} */
  const kept = table();
  const nodes = new Map(childrenOf(old).map((child) => [keyOf(child), child]));
  for (const child of childrenOf(blank)) {
    const from = nodes.get(keyOf(child));
    const isSame = from && from.dataset.node === child.dataset.node && from.dataset.shape === child.dataset.shape;
    const inner = own(fields, keyOf(child));
    if (isSame && inner !== undefined && !("fixed" in child.dataset)) kept[keyOf(child)] = inner;
  }
  return Object.keys(kept).length ? kept : undefined;
}

/**
 * Puts what a value below a group implies: the form it is in, and the constants of the groups around it.
 * @param {Form} form @param {Element | null} group
 */
export function putImplied(form, group) {
  for (let node = group; node; node = parentOf(node)) {
    if (node.dataset.node === "variants") {
      const steps = stepsOf(node);
      const entry = form.draft.get(steps);
      const isKnown = entry !== null && typeof entry === "object" && "$form" in entry;
      if (!isKnown) form.draft.set([...steps, "$form"], Number(node.dataset.form ?? 0));
    } else if (node.dataset.node === "group") {
      putConstants(form, node, parentOf(node)?.dataset.node === "variants");
    }
  }
}

/**
 * Puts the values of fields with a single choice: of required ones, or of all.
 * @param {Form} form @param {Element} group @param {boolean} all
 */
function putConstants(form, group, all) {
  for (const child of constantsOf(group)) {
    if (!all && !("required" in child.dataset)) continue;
    const steps = stepsOf(child);
    if (form.draft.get(steps) !== undefined) continue;
    form.draft.set(steps, child.dataset.fixed);
    form.fillNode(child, child.dataset.fixed);
  }
}

/** @type {WeakMap<Element, Element[]>} */
const constants = new WeakMap();

/** @param {Element} group */
function constantsOf(group) {
  const found = constants.get(group) ?? childrenOf(group).filter((child) => "fixed" in child.dataset);
  constants.set(group, found);
  return found;
}
