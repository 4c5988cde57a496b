// Between texts and values: JSON, paths, and blocks of a spreadsheet.

import assert from "node:assert/strict";
import test from "node:test";

import { readBlock, writeBlock } from "../../static/js/annotation/clipboard.js";
import { print, raw, valueOfText } from "../../static/js/annotation/json_values.js";
import { pathOf, split } from "../../static/js/annotation/paths.js";

/** @param {string} text @param {object} field */
const written = (text, field) => {
  const value = valueOfText(text, { shape: "text", known: undefined, isNullable: false, ...field });
  return value === undefined ? undefined : print(value);
};

test("numbers keep their digits", () => {
  assert.equal(written("1100.10", { shape: "number" }), "1100.10");
  assert.equal(written("1,100.10", { shape: "number", known: "1100.10" }), "1100.10");
  assert.equal(print({ total: raw("1E+400"), tax: raw(" 0.10 ") }), '{\n  "total": 1E+400,\n  "tax": 0.10\n}');
});

test("what only the server can read is not written as a number", () => {
  for (const text of ["1,100.10", "-", "01", "12 EUR"]) assert.equal(written(text, { shape: "number" }), undefined, text);
  assert.equal(written("Jan 14, 2026", { shape: "date" }), undefined);
});

test("what the server has read is written as it reads it", () => {
  assert.equal(written("Jan 14, 2026", { shape: "date", known: "2026-01-14" }), '"2026-01-14"');
  assert.equal(written("n/a", { shape: "number", known: "null" }), "null");
  assert.equal(written("n/a", { known: "null", isNullable: true }), "null");
  assert.equal(written("null", { known: "null" }), '"null"');
});

test("a text that is no JSON stays a text", () => {
  assert.equal(raw("  "), undefined);
  assert.equal(print(raw('{"a": 1.50}')), '{"a": 1.50}');
  assert.equal(print(raw("{a")), '"{a"');
});

test("the layout of lists and groups, empty ones in one line", () => {
  const value = { vendor: 'A "b" Ünï', items: [{ name: "Widget" }, {}], tags: [], paid: true, note: null };
  const lines = ['{', '  "vendor": "A \\"b\\" Ünï",', '  "items": [', "    {", '      "name": "Widget"', "    },", "    {}", "  ],", '  "tags": [],', '  "paid": true,', '  "note": null', "}"];
  assert.equal(print(value), lines.join("\n"));
});

test("paths are read as they are written", () => {
  for (const steps of [[], ["vendor"], ["items", 0, "amount"], ["a.b", "c d", 'e"f'], ["[0]", 1, 2], ["", "x"]]) assert.deepEqual(split(pathOf(steps)), steps);
  assert.equal(pathOf(["line_items", 0, "unit price"]), 'line_items[0]["unit price"]');
});

test("a block of a spreadsheet is read by cells", () => {
  assert.deepEqual(readBlock('one\t1\n"two\nlines ""quoted"""\t2\r\n'), [["one", "1"], ['two\nlines "quoted"', "2"]]);
  assert.deepEqual(readBlock("\ta\n"), [["", "a"]]);
});

test("separated values are read where every line has as many", () => {
  assert.deepEqual(readBlock('a,"x, y",1\nb,z,2'), [["a", "x, y", "1"], ["b", "z", "2"]]);
  assert.deepEqual(readBlock("a;1,5\nb;2,5\n"), [["a;1", "5"], ["b;2", "5"]]);
  assert.deepEqual(readBlock("a;1\nb;2,5\n"), [["a", "1"], ["b", "2,5"]]);
  assert.deepEqual(readBlock("Acme, Ltd\nMain Street"), [["Acme, Ltd"], ["Main Street"]]);
});

test("one value is no block, whatever it contains", () => {
  for (const text of ["Acme, Ltd", "a;b", "", "Acme\n"]) assert.equal(readBlock(text), null, text);
});

test("a block is read as it is written", () => {
  const rows = [["a", "x\ny", ""], ['"b"', "z\tz", "2"]];
  assert.equal(writeBlock([["a", "x\ny", "1"], ["b", "", ""]]), 'a\t"x\ny"\t1\nb\t\t');
  assert.deepEqual(readBlock(writeBlock(rows)), rows);
});
