// The label as the user has it: values by steps, evidence of rows, undo and redo.

import assert from "node:assert/strict";
import test from "node:test";

import { Draft } from "../../static/js/annotation/draft.js";

/** @param {object} entry @param {object} [evidence] */
function opened(entry, evidence = {}) {
  const draft = new Draft();
  draft.open(structuredClone(entry), evidence);
  return draft;
}

/** One change that can be undone. @param {Draft} draft @param {(string | number)[]} steps @param {unknown} value @param {string} [tag] */
function change(draft, steps, value, tag) {
  draft.checkpoint(tag);
  draft.set(steps, value);
}

const plain = (/** @type {object} */ values) => JSON.parse(JSON.stringify(values));

test("groups and rows on the way are created, empty rows are empty texts", () => {
  const draft = opened({});
  draft.set(["buyer", "city"], "Ulm");
  draft.set(["items", 1, "name"], "Widget");
  assert.deepEqual(draft.entry, { buyer: { city: "Ulm" }, items: ["", { name: "Widget" }] });
  assert.equal(draft.get(["items", 1, "name"]), "Widget");
  assert.equal(draft.get(["items", 7, "name"]), undefined);
});

test("undefined removes a name, null stays", () => {
  const draft = opened({ vendor: "ACME", terms: "Net 30" });
  draft.set(["vendor"], undefined);
  draft.set(["terms"], null);
  assert.deepEqual(draft.entry, { terms: null });
});

test("fields may have the names of an object's own members", () => {
  const draft = opened({});
  assert.equal(draft.get(["constructor"]), undefined);
  draft.set(["__proto__", "toString"], "Acme");
  assert.equal(draft.get(["__proto__", "toString"]), "Acme");
  assert.deepEqual(Object.keys(draft.entry), ["__proto__"]);
});

test("what is kept as JSON has no inner values", () => {
  assert.equal(opened({ buyer: { $json: "[1]" } }).get(["buyer", "$json"]), undefined);
});

test("evidence follows its rows", () => {
  const draft = opened({ items: ["a", "b", "c"] }, { "items[0]": 0, "items[1]": 1, "items[2].name": 2, items: 3, "itemsets[1]": 4 });
  draft.insertRow(["items"], 1, "new");
  assert.deepEqual(draft.entry, { items: ["a", "new", "b", "c"] });
  assert.deepEqual(plain(draft.evidence), { "items[0]": 0, "items[2]": 1, "items[3].name": 2, items: 3, "itemsets[1]": 4 });
  draft.removeRow(["items"], 2);
  assert.deepEqual(draft.entry, { items: ["a", "new", "c"] });
  assert.deepEqual(plain(draft.evidence), { "items[0]": 0, "items[2].name": 2, items: 3, "itemsets[1]": 4 });
});

test("the form of a value is no part of the path of its rows", () => {
  const draft = opened({ items: { $form: 1, $value: ["a", "b"] } }, { "items[1]": 1 });
  draft.removeRow(["items", "$value"], 0);
  assert.deepEqual(plain(draft.evidence), { "items[0]": 1 });
});

test("undo and redo restore values and evidence", () => {
  const draft = opened({ vendor: "ACME", items: ["a"] }, { "items[0]": 1 });
  change(draft, ["vendor"], "Globex");
  draft.checkpoint();
  draft.removeRow(["items"], 0);
  assert.ok(draft.undo());
  assert.deepEqual([draft.entry, plain(draft.evidence)], [{ vendor: "Globex", items: ["a"] }, { "items[0]": 1 }]);
  assert.ok(draft.undo());
  assert.deepEqual(draft.entry, { vendor: "ACME", items: ["a"] });
  assert.ok(!draft.undo());
  assert.ok(draft.redo() && draft.redo() && !draft.redo());
  assert.deepEqual([draft.entry, plain(draft.evidence)], [{ vendor: "Globex", items: [] }, {}]);
});

test("a change after an undo ends what could be done again", () => {
  const draft = opened({});
  change(draft, ["vendor"], "ACME");
  draft.undo();
  change(draft, ["vendor"], "Globex");
  assert.ok(!draft.redo());
  assert.deepEqual(draft.entry, { vendor: "Globex" });
});

test("changes of one field in quick succession are undone together", (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const draft = opened({});
  for (const text of ["A", "AC", "ACM"]) {
    change(draft, ["vendor"], text, "vendor");
    context.mock.timers.tick(300);
  }
  change(draft, ["terms"], "Net", "terms");
  context.mock.timers.tick(2000);
  change(draft, ["terms"], "Net 30", "terms");
  const steps = [];
  while (draft.undo()) steps.push(structuredClone(draft.entry));
  assert.deepEqual(steps, [{ vendor: "ACM", terms: "Net" }, { vendor: "ACM" }, {}]);
});

test("a burst that is ended is one step", () => {
  const draft = opened({});
  change(draft, ["vendor"], "ACME", "vendor");
  draft.endBurst();
  change(draft, ["vendor"], "Globex", "vendor");
  draft.undo();
  assert.deepEqual(draft.entry, { vendor: "ACME" });
});

test("the number of steps is limited, the oldest go", () => {
  const draft = opened({});
  for (let number = 1; number <= 320; number += 1) change(draft, ["total"], String(number));
  let count = 0;
  while (draft.undo()) count += 1;
  assert.deepEqual([count, draft.entry], [300, { total: "20" }]);
});

test("another document has no steps of this one", () => {
  const draft = opened({});
  change(draft, ["vendor"], "ACME");
  draft.open({ vendor: "Globex" }, {});
  assert.ok(!draft.undo());
});
