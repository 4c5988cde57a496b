// "Not in the document", as the answer to a field. Null and an empty list mean it; where the schema allows neither, the
// field's evidence has {absent: true}. A field without an answer has none of these.

/** @import { Entry } from "./types" */
/** @import { Form } from "./form.js" */

import { isGroup, isLeaf, isRows, keyOf, parentOf, stepsOf } from "./nodes.js";

/**
 * Only a field of an object can be absent: rows are removed, and the parts of a map row are required.
 * @param {Element} node
 */
function isField(node) {
  const parent = parentOf(node);
  return parent?.dataset.node === "group" && parentOf(parent)?.dataset.node !== "map";
}

/** Whether absence is kept in the evidence. @param {Element} node */
const isInEvidence = (node) => "absentable" in node.dataset && !("nullable" in node.dataset) && isField(node);

/** @param {Form} form @param {Element} node */
export const isMarked = (form, node) => isInEvidence(node) && form.draft.evidence[form.pathOf(node)]?.absent === true;

/** @param {Form} form @param {Element} node */
export function unmark(form, node) {
  const path = form.pathOf(node);
  const { absent, ...others } = form.draft.evidence[path] ?? {};
  if (!absent) return;
  if (Object.keys(others).length) form.draft.evidence[path] = others;
  else delete form.draft.evidence[path];
}

/** The entry that means absence: null, an empty list, or undefined with a mark. @param {Element} node @returns {Entry} */
function absenceOf(node) {
  if ("nullable" in node.dataset) return null;
  return isRows(node) || node.dataset.node === "checks" ? [] : undefined;
}

/** @param {Form} form @param {Element} node */
export function isAbsent(form, node) {
  const absence = absenceOf(node);
  const entry = form.draft.get(stepsOf(node));
  if (Array.isArray(absence)) return Array.isArray(entry) && !entry.length;
  return absence === null ? entry === null : isMarked(form, node);
}

/** @param {Form} form @param {Element} node @param {boolean} absent */
export function setAbsent(form, node, absent) {
  const absence = absenceOf(node);
  unmark(form, node);
  if (absent && absence === undefined && isInEvidence(node)) {
    const path = form.pathOf(node);
    form.draft.evidence[path] = { ...form.draft.evidence[path], absent: true };
  }
  form.put(node, absent ? absence : undefined);
}

/** Optional nodes without an answer, in the order of the form; of an absent group the group itself. @param {Form} form */
function unansweredNodes(form) {
  return [...form.root.querySelectorAll("[data-node][data-absentable]")].filter((node) => {
    if (node.dataset.state !== "absent" || !isField(node) || "fixed" in node.dataset || keyOf(node) === "$more") return false;
    for (let above = parentOf(node); above && above !== form.root; above = parentOf(above)) {
      if (isGroup(above) && ["absent", "null"].includes(above.dataset.state ?? "")) return false;
    }
    return isLeaf(node) || !isRows(node) || !("required" in node.dataset);
  });
}

/**
 * Marks every unanswered field as not in the document, as one step.
 * @param {Form} form
 * @returns {number} how many they were
 */
export function markUnansweredAbsent(form) {
  const nodes = unansweredNodes(form);
  if (nodes.length) form.draft.checkpoint();
  for (const node of nodes) setAbsent(form, node, true);
  return nodes.length;
}
