// What others saved, merged into a form in use.

import assert from "node:assert/strict";
import test from "node:test";

import { combineFindings, differingPaths, firstDifference, isWithin, withoutNews } from "../../static/js/annotation/differences.js";
import { merge, origins } from "../../static/js/annotation/merge.js";

/**
 * `sent` is read by the server as it is, unless `read` says how.
 * @param {any} sent @param {any} mine @param {any} theirs @param {object} [more]
 */
function merged(sent, mine, theirs, more = {}) {
  return JSON.parse(JSON.stringify(merge({ sent, mine, read: sent, theirs, ...more })));
}

/** @param {any} sent @param {any} mine @param {any} theirs @param {any} entry */
function becomes(sent, mine, theirs, entry) {
  assert.deepEqual(merged(sent, mine, theirs), { entry, held: false, conflicts: [] });
}

test("what only others changed is taken", () => {
  becomes({ vendor: "A" }, { vendor: "A" }, { vendor: "B" }, { vendor: "B" });
  becomes({ vendor: "A" }, { vendor: "A" }, {}, {});
  becomes({}, {}, { buyer: { city: "Ulm" } }, { buyer: { city: "Ulm" } });
  becomes({ vendor: "A" }, { vendor: "A" }, { vendor: null }, { vendor: null });
});

test("what only the user changed stays", () => {
  becomes({ vendor: "A" }, { vendor: "B" }, { vendor: "A" }, { vendor: "B" });
  becomes({ vendor: "A" }, {}, { vendor: "A" }, {});
  becomes({ vendor: "A", terms: "" }, { vendor: "B", terms: "" }, { vendor: "A", terms: "C" }, { vendor: "B", terms: "C" });
});

test("a text that the server reads as another value is unchanged", () => {
  const result = merged({ total: "1,100.00" }, { total: "1,100.00" }, { total: "1100.00" }, { read: { total: "1100.00" } });
  assert.deepEqual(result.entry, { total: "1,100.00" });
});

test("a change of both is a conflict, and the user's stays", () => {
  const result = merged({ vendor: "A" }, { vendor: "B" }, { vendor: "C" });
  assert.deepEqual(result, { entry: { vendor: "B" }, held: false, conflicts: [{ steps: ["vendor"], theirs: "C" }] });
  becomes({ vendor: "A" }, { vendor: "B" }, { vendor: "B" }, { vendor: "B" });
});

test("a conflict in a row has the steps of the merged row", () => {
  const result = merged({ rows: [{ n: "a" }] }, { rows: [{ n: "b" }] }, { rows: [{ n: "first" }, { n: "a" }] });
  assert.deepEqual(result.entry, { rows: [{ n: "first" }, { n: "b" }] });
  assert.deepEqual(result.conflicts, []);
  const both = merged({ rows: [{ n: "a", m: "1" }] }, { rows: [{ n: "b", m: "1" }] }, { rows: [{ n: "c", m: "1" }] });
  assert.deepEqual(both.conflicts, [{ steps: ["rows", 0, "n"], theirs: "c" }]);
});

test("rows of both are added, each once", () => {
  becomes(["a"], ["a", "mine"], ["a", "theirs"], ["a", "mine", "theirs"]);
  becomes(["a"], ["a", "mine"], ["first", "a"], ["first", "a", "mine"]);
  becomes({}, { rows: [{ n: "Widget" }] }, { vendor: "ACME" }, { vendor: "ACME", rows: [{ n: "Widget" }] });
  becomes({ rows: [{ n: "Wid" }] }, { rows: [{ n: "Widget" }] }, { rows: [{ n: "Wid" }], vendor: "ACME" }, { rows: [{ n: "Widget" }], vendor: "ACME" });
});

test("a removed row goes, unless the other side changed it", () => {
  becomes(["a", "b"], ["a", "b"], ["b"], ["b"]);
  becomes(["a", "b"], ["b"], ["a", "b"], ["b"]);
  becomes([{ n: "a" }, { n: "b" }], [{ n: "a" }, { n: "b", m: "1" }], [{ n: "a" }], [{ n: "a" }, { n: "b", m: "1" }]);
  becomes([{ n: "a" }, { n: "b" }], [{ n: "a" }], [{ n: "a" }, { n: "b", m: "1" }], [{ n: "a" }, { n: "b", m: "1" }]);
});

test("rows say which they were before", () => {
  const { entry } = merge({ sent: ["a", "b"], mine: ["a", "mine", "b"], read: ["a", "b"], theirs: ["first", "a", "b"] });
  assert.deepEqual([entry, origins.get(entry)], [["first", "a", "mine", "b"], [null, 0, 1, 2]]);
});

test("rows that were exchanged are the same rows, equal ones keep their places", () => {
  becomes(["a", "b", "c", "d"], ["a", "b", "c", "d"], ["b", "c", "d", "a"], ["b", "c", "d", "a"]);
  becomes([{ n: "a" }, { n: "b" }], [{ n: "a", m: "1" }, { n: "b" }], [{ n: "a" }, { n: "c" }], [{ n: "a", m: "1" }, { n: "c" }]);
  becomes([{ n: "a", m: "1" }], [{ m: "1", n: "a" }], [{ n: "a", m: "2" }], [{ m: "2", n: "a" }]);
});

test("many rows are matched by position", () => {
  const rows = (/** @type {string} */ mark) => Array.from({ length: 600 }, (_, number) => `${mark}${number}`);
  becomes(rows("a"), rows("a"), rows("b"), rows("b"));
});

const FOCUS = { focus: ["vendor"], isTyping: true };

test("a half-typed value stays, and theirs comes when it is left unchanged", () => {
  const result = merged({ vendor: "A" }, { vendor: "A" }, { vendor: "B" }, FOCUS);
  assert.deepEqual(result, { entry: { vendor: "A" }, held: true, conflicts: [{ steps: ["vendor"], theirs: "B" }] });
  const changed = merged({ vendor: "A" }, { vendor: "Ab" }, { vendor: "B" }, FOCUS);
  assert.deepEqual([changed.entry, changed.held, changed.conflicts.length], [{ vendor: "Ab" }, false, 1]);
  assert.deepEqual(merged({ vendor: "A" }, { vendor: "Ab" }, { vendor: "A" }, FOCUS).conflicts, []);
});

test("a field with the focus in which nothing is typed takes theirs", () => {
  assert.deepEqual(merged({ vendor: "A" }, { vendor: "A" }, { vendor: "B" }, { focus: ["vendor"] }).entry, { vendor: "B" });
});

test("a row or a form with the focus is not taken away", () => {
  const row = merged({ rows: ["a", "b"] }, { rows: ["a", "b"] }, { rows: ["a"] }, { focus: ["rows", 1] });
  assert.deepEqual([row.entry, row.held], [{ rows: ["a", "b"] }, true]);
  const other = merged({ rows: ["a", "b"] }, { rows: ["a", "b"] }, { rows: ["a"] }, { focus: ["rows", 0] });
  assert.deepEqual([other.entry, other.held], [{ rows: ["a"] }, false]);
  const forms = [{ $form: 0, $value: { n: "a" } }, { $form: 1, $value: "a" }];
  const form = merged({ x: forms[0] }, { x: forms[0] }, { x: forms[1] }, { focus: ["x", "$value", "n"] });
  assert.deepEqual([form.entry, form.held], [{ x: forms[0] }, true]);
});

test("fields may have the names of an object's own members", () => {
  const theirs = JSON.parse('{"__proto__": "a", "constructor": "b"}');
  const { entry } = merged({}, {}, theirs);
  assert.deepEqual(Object.entries(entry), [["__proto__", "a"], ["constructor", "b"]]);
});

test("paths that differ are those of values, and of rows where their number differs", () => {
  assert.deepEqual(differingPaths({ a: "1", b: { c: "2" } }, { a: "1", b: { c: "3" }, d: "4" }), ["b.c", "d"]);
  assert.deepEqual(differingPaths({ rows: ["a", "b"] }, { rows: ["a", "c"] }), ["rows[1]"]);
  assert.deepEqual(differingPaths({ rows: ["a"] }, { rows: ["a", "b"] }), ["rows"]);
  assert.deepEqual(differingPaths({ map: [{ key: "k", value: "1" }] }, { map: [{ key: "k", value: "2" }] }), ["map"]);
  assert.deepEqual(differingPaths({ x: { $form: 1, $value: "a" } }, { x: { $form: 1, $value: "b" } }), ["x"]);
});

test("the first difference has steps", () => {
  assert.deepEqual(firstDifference({ a: "1", rows: ["a", "b"] }, { a: "1", rows: ["a", "c"] }), ["rows", 1]);
  assert.equal(firstDifference({ a: ["1"] }, { a: ["1"] }), null);
});

test("a path is within its group, not within a name that begins like it", () => {
  assert.ok(["", "rows", "rows[1]"].every((place) => isWithin("rows[1].name", place)));
  assert.ok(!isWithin("rowset", "rows"));
});

const NONE = { problems: [], warnings: [], shown: {}, spans: {}, missing: {}, evidence: {}, exceptions: {}, readings: {}, doubts: {} };
const problem = (/** @type {string} */ path, message = "", rule = "type") => ({ path, message, rule });

test("findings about what was changed since are the earlier ones", () => {
  const earlier = { ...NONE, problems: [problem("a", "old"), problem("b", "old")], shown: { a: "1", b: "2" } };
  const fresh = { ...NONE, problems: [problem("a", "new"), problem("b", "new")], shown: { a: "3" } };
  const findings = combineFindings(earlier, fresh, ["b"]);
  assert.deepEqual(findings.problems, [problem("a", "new"), problem("b", "old")]);
  assert.deepEqual(findings.shown, { a: "3", b: "2" });
});

test("while a field is typed, only findings that end are news", () => {
  const earlier = { ...NONE, problems: [problem("a", "old"), problem("b", "old")] };
  const fresh = { ...NONE, problems: [problem("a", "new"), problem("c", "new")], warnings: [problem("a", "new", "evidence")] };
  const findings = withoutNews(earlier, fresh);
  assert.deepEqual([findings.problems, findings.warnings], [[problem("a", "old")], []]);
});
