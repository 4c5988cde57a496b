// "Not in the document", said of a field. Null and an empty list say so themselves; where the schema takes neither, it
// is noted beside the value, in the evidence of the field: {absent: true}. A field that nobody answered has no such note.

import { isGroup, isLeaf, isRows, parentOf, stepsOf } from "./nodes.js";

// Only a field of an object can be absent: a row is taken away, and what stands in a row of a map is required.
const isField = (node) => parentOf(node)?.dataset.node === "group" && parentOf(parentOf(node))?.dataset.node !== "map";
const isNoted = (node) => "absentable" in node.dataset && !("nullable" in node.dataset) && isField(node);

// Whether a part that holds nothing is noted as not in the document.
export const isMarked = (form, node) => isNoted(node) && form.model.evidence[form.pathOf(node)]?.absent === true;

export function unmark(form, node) {
  const path = form.pathOf(node);
  const { absent, ...others } = form.model.evidence[path] ?? {};
  if (!absent) return;
  if (Object.keys(others).length) form.model.evidence[path] = others;
  else delete form.model.evidence[path];
}

// What "not in the document" is here: null, an empty list, or nothing and a note.
const takesRows = (node) => isRows(node) || node.dataset.node === "checks";
const nothingOf = (node) => ("nullable" in node.dataset ? null : takesRows(node) ? [] : undefined);

export function isAbsent(form, node) {
  const nothing = nothingOf(node);
  const now = form.model.get(stepsOf(node));
  if (Array.isArray(nothing)) return Array.isArray(now) && !now.length;
  return nothing === null ? now === null : isMarked(form, node);
}

export function setAbsent(form, node, absent) {
  const nothing = nothingOf(node);
  unmark(form, node);
  if (absent && nothing === undefined && isNoted(node)) {
    const path = form.pathOf(node);
    form.model.evidence[path] = { ...form.model.evidence[path], absent: true };
  }
  form.put(node, absent ? nothing : undefined);
}

// The parts that nobody filled and that may be absent, in the order of the form; of a group that is not there the group.
export function unanswered(form) {
  return [...form.root.querySelectorAll("[data-node][data-absentable]")].filter((node) => {
    if (node.dataset.state !== "absent" || !isField(node) || "fixed" in node.dataset || node.dataset.key === "$more") return false;
    for (let above = parentOf(node); above && above !== form.root; above = parentOf(above)) {
      if (isGroup(above) && ["absent", "null"].includes(above.dataset.state)) return false;
    }
    return isLeaf(node) || !isRows(node) || !("required" in node.dataset);
  });
}

// Says of all of them that they are not in the document, as one step. Returns how many they were.
export function answerRest(form) {
  const nodes = unanswered(form);
  if (nodes.length) form.model.checkpoint();
  for (const node of nodes) setAbsent(form, node, true);
  return nodes.length;
}
