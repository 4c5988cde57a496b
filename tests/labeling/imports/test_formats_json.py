"""JSON lists and Label Studio exports, read value after value; and what kind a file is."""

import json
import tracemalloc
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.imports.formats import json_values, label_studio
from labeling.imports.formats.registry import FORMATS, OPTIONS, describe_options, detect, options_error
from labeling.imports.forms import ColumnsForm, ImportForm
from labeling.imports.rows import ReadError, RowError, validate_row
from slmstudio.contract.schema.compiled import compile_schema
from tests.labeling.import_files import packed, pdf, read, schema, stored

TEXT = "Invoice A-1029 issued on Jan 14, 2026. Total USD 1,248.50. Vendor: Acme Supplies"


def values_of(data: bytes, chunk: int = 1 << 20) -> list[Any]:
    pieces = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    return [value.text for value in json_values.iterate_values(pieces)]


def test_chunk_borders_do_not_matter() -> None:
    rows = [{"text": 'a "quoted] \\\\ brace}', "n": [1, {"x": "é,"}]}, {"text": "b"}, {"text": "[{"}]
    data = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    for chunk in (1, 2, 7, 1000):
        assert [json.loads(text) for text in values_of(data, chunk)] == rows
    assert [json.loads(text) for text in values_of(b'{"a": 1}\n {"b":\n 2}{"c": 3}')] == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_a_broken_row_costs_itself(tmp_path: Path) -> None:
    path = stored(tmp_path, "rows.json", '[{"text": "t", "n": 1.50}, {"text": }, {"text": "u"}]')
    first, broken, last = read(path)
    assert str(first.data["n"]) == "1.50"
    assert (broken.number, "not JSON" in broken.error) == (2, True)
    assert last.data == {"text": "u"}
    first, last = read(stored(tmp_path, "rows.json", '[{"text": "t"}, {"text": "u'))
    assert first.data == {"text": "t"}
    assert "truncated" in last.error
    bad, good = read(stored(tmp_path, "rows.json", b'[{"text": "\xff"}, {"text": "f\xc3\xbcne"}]'))
    assert "not valid UTF-8" in bad.error
    assert good.data == {"text": "füne"}


def test_overlong_row_is_skipped(tmp_path: Path) -> None:
    path = stored(tmp_path, "rows.json", b'[{"text": "' + b"x" * 20_000_000 + b'"}, {"text": "after"}]')
    tracemalloc.start()
    rows = read(path)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[0].error == "the row is longer than 4 MB"
    assert rows[1].data == {"text": "after"}
    assert highest < 19_000_000


def test_the_encoding_of_json_is_recognized(tmp_path: Path) -> None:
    for name, text in (("a.json", '[{"text": "Grüße"}]'), ("a.jsonl", '{"text": "Grüße"}\n')):
        for encoding in ("utf-8-sig", "utf-16", "utf-16-be", "cp1252"):
            (row,) = read(stored(tmp_path, name, text.encode(encoding)))
            assert (row.error, row.data) == ("", {"text": "Grüße"}), (name, encoding)


# -- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b'{"text": "a"}\n', "jsonl"),
        ("a.txt", b'{"text": "a"}\n{"text": "b"}', "jsonl"),
        ("a.json", b'[{"text": "a"}]', "json"),
        ("a.json", b'{\n "text": "a"\n}', "json"),
        ("a", b"just words", "text"),
        ("a.csv", b"text,id\n", "csv"),
        ("a", pdf([["hello"]]), "pdf"),
        ("a.jpeg", b"\x89PNG\r\n\x1a\n", "image"),
        ("a.parquet", b"PAR1....", "dataset"),
        ("a.ZIP", packed({"a.txt": "hello"}), "zip"),
        ("a.eml", b"just words", "text"),
        ("a.zip", packed({"d/data-0.arrow": b"x"}), "dataset"),
        ("a.json", b'[{"id": 1, "data": {"text": "t"}, "annotations": []}]', "labelstudio"),
        ("a.txt", b"{not json", "text"),
    ],
)
def test_the_format_is_detected_from_the_content(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    assert detect(stored(tmp_path, name, data), name).name == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.docx", packed({"[Content_Types].xml": "", "word/document.xml": ""}), "Office file"),
        ("a.gz", b"\x1f\x8b\x08", "gzip"),
        ("a.bin", b"\0\1\2\3", "not supported"),
        ("a.txt", pdf([["hello"]]), "named .txt"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n", "named .pdf"),
        ("a.csv", b"PAR1....", "named .csv"),
        ("a.png", packed({"a.txt": "hello"}), "named .png"),
        ("a.tiff", b"just words", "named .tiff"),
        ("a.zip", b"just words", "named .zip"),
        # Named, because a zip holds the time at which it was packed, and every process must collect the same tests.
        pytest.param("a.zip", packed({"a": "b" * 500})[:60], "cannot be opened", id="a broken zip"),
    ],
)
def test_unsupported_format_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        detect(stored(tmp_path, name, data), name)


# -- plain text --------------------------------------------------------------------------------------------------------


def test_text_split_options(tmp_path: Path) -> None:
    path = stored(tmp_path, "notes.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree\r\n")
    assert [row.data for row in read(path)] == [{"id": "notes.txt", "text": "one\ntwo\n\nthree\n"}]
    assert [row.data["text"] for row in read(path, split="paragraphs")] == ["one\ntwo", "three"]
    lines = read(path, split="lines")
    assert [(row.number, row.data["text"]) for row in lines] == [(1, "one"), (2, "two"), (4, "three")]


def test_the_encoding_of_a_text_is_recognized(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16", "cp1252"):
        path = stored(tmp_path, "a.txt", "Grüße\nzweite Zeile".encode(encoding))
        assert [row.data["text"] for row in read(path)] == ["Grüße\nzweite Zeile"]
        assert [row.data["text"] for row in read(path, split="lines")] == ["Grüße", "zweite Zeile"]


def test_undecodable_text_names_its_line(tmp_path: Path) -> None:
    (row,) = read(stored(tmp_path, "a.txt", "Grüße".encode() + b" \xff"))
    assert row.error.startswith("the text is not valid UTF-8: byte 9 cannot be read")
    (half,) = read(stored(tmp_path, "c.txt", "ab".encode("utf-16") + b"\x00\xd8c\x00"))
    assert half.error == "the text is not valid UTF-16: it contains an incomplete character"
    (nul,) = read(stored(tmp_path, "d.txt", b"a\0b"), "text")
    with pytest.raises(RowError, match="NUL"):
        validate_row(nul, schema())


@pytest.mark.parametrize("split", ["whole", "lines", "paragraphs"])
def test_overlong_text_is_not_buffered(tmp_path: Path, split: str) -> None:
    path = stored(tmp_path, "a.txt", b"x" * 20_000_000 + b"\n\nafter\n")
    tracemalloc.start()
    rows = read(path, "text", split=split)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[0].error == "the text is longer than 1 MB"
    assert [row.data["text"] for row in rows[1:]] == ([] if split == "whole" else ["after"])
    assert highest < 19_000_000


# -- Label Studio ------------------------------------------------------------------------------------------------------


def task(results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"text": TEXT}, "annotations": [{"id": 1, "result": results}], **more}


def typed(name: str, text: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "textarea", "value": {"text": [text]}}


def span(label: str, message: str) -> dict[str, Any]:
    start = TEXT.index(message)
    value = {"start": start, "end": start + len(message), "text": message, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def test_spans_and_texts_become_gold_with_evidence(tmp_path: Path) -> None:
    results = [span("invoice_id", "A-1029"), span("date", "Jan 14, 2026"), typed("vendor", "Acme Supplies")]
    path = stored(tmp_path, "ls.json", [task([*results, typed("total_amount", "1248.50")])])
    (row,) = read(path)
    valid = validate_row(row, schema())
    assert valid.external_id == "task-7"
    assert valid.gold == {
        "invoice_id": "A-1029",
        "date": "2026-01-14",
        "vendor": "Acme Supplies",
        "total_amount": Decimal("1248.50"),
    }
    assert str(valid.gold["total_amount"]) == "1248.50"
    assert valid.evidence["date"] == {"start": TEXT.index("Jan"), "end": TEXT.index("Jan") + 12}


def test_choices_and_list_paths(tmp_path: Path) -> None:
    compiled = compile_schema(
        {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["a", "b"]},
                "words": {"type": "array", "items": {"type": "string"}},
                "lines": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}},
                },
            },
        }
    )
    results: list[dict[str, Any]] = [
        {"from_name": "kind", "type": "choices", "value": {"choices": ["b"]}},
        {"from_name": "words", "type": "textarea", "value": {"text": ["x", "y"]}},
        {"from_name": "lines[1].n", "type": "number", "value": {"number": 3}},
        typed("lines[0].name", "first"),
    ]
    (row,) = read(stored(tmp_path, "ls.json", [task(results)]), compiled=compiled)
    assert row.data["gold"] == {"kind": "b", "words": ["x", "y"], "lines": [{"name": "first"}, {"n": 3}]}


def test_labeled_spans_become_rows(tmp_path: Path) -> None:
    path = stored(tmp_path, "ls.json", [task([span("person", "Acme"), span("other", "A-1029")])])
    (row,) = read(path, compiled=schema("pii-redaction"))
    valid = validate_row(row, schema("pii-redaction"))
    assert valid.gold == {"spans": [{"type": "person", "text": "Acme"}, {"type": "other", "text": "A-1029"}]}
    assert valid.evidence["spans[0].text"] == {"start": TEXT.index("Acme"), "end": TEXT.index("Acme") + 4}


def test_newest_annotation_and_predictions(tmp_path: Path) -> None:
    old = {"result": [typed("queue", "sales")], "updated_at": "2026-01-01"}
    new = {"result": [typed("queue", "billing")], "updated_at": "2026-02-01"}
    dropped = {"result": [typed("queue", "other")], "updated_at": "2026-03-01", "was_cancelled": True}
    predictions = [{"model_version": "tiny-1", "result": [typed("queue", "returns")]}]
    labeled = {"id": 1, "data": {"text": TEXT}, "annotations": [new, old, dropped], "predictions": predictions}
    (row,) = read(stored(tmp_path, "ls.json", [labeled]), compiled=schema("ticket-routing"))
    assert row.data["gold"] == {"queue": "billing"}
    assert [(p.model, json.loads(p.raw)) for p in row.predictions] == [("tiny-1", {"queue": "returns"})]


def test_invalid_task_has_a_reason(tmp_path: Path) -> None:
    def with_results(*results: Any) -> dict[str, Any]:
        return {"id": 1, "data": {"text": TEXT}, "annotations": [{"result": [*results]}]}

    invalid: list[tuple[dict[str, Any], str]] = [
        ({"id": 1, "data": {"image": "https://example.org/a.png"}, "annotations": []}, "not fetched"),
        (with_results(typed("nothing", "x")), "not a field"),
        (with_results(typed("date", "soon")), "not a value of"),
        (with_results(span("stranger", "Acme")), "neither a field"),
        ({"id": 1, "annotations": []}, 'no "data"'),
        ({"id": 1, "data": {"text": TEXT}, "annotations": 5}, '"annotations" must be a list'),
        (with_results(typed("vendor", "A"), typed("vendor.x", "B")), "not a field"),
    ]
    rows = read(stored(tmp_path, "ls.json", [labeled for labeled, _ in invalid]), "labelstudio")
    for row, (_, message) in zip(rows, invalid, strict=True):
        with pytest.raises(RowError, match=message):
            validate_row(row, schema())
    far = task([typed("line_items[999999999].amount", "1")])
    contradicting = task([typed("line_items", '{"a": 1}'), typed("line_items[0].amount", "1")])
    path = stored(tmp_path, "ls.json", [far, contradicting, task([])])
    large, bad, good = read(path, "labelstudio", compiled=schema("invoice-with-lines"))
    assert "too large" in large.error
    assert "the result line_items[0].amount contradicts another one" in bad.error
    assert good.data["text"] == TEXT


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["", "a", "text", "[1]", "{}", "line_items[0]", TEXT]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["text", "labels", "choices", "start", "end", "result"]), inner, max_size=3)
    ),
    max_leaves=6,
)
paths = st.sampled_from(
    [
        "vendor",
        "vendor.x",
        "total_amount",
        "line_items",
        "line_items[0]",
        "line_items[1].amount",
        "line_items.x",
        "[0]",
        "",
    ]
)
any_result = junk | st.fixed_dictionaries({"from_name": paths | junk, "value": junk})
any_annotation = junk | st.fixed_dictionaries({"result": junk | st.lists(any_result, max_size=4)})
any_task = junk | st.fixed_dictionaries(
    {"data": junk | st.just({"text": TEXT})},
    optional={
        "id": junk,
        "annotations": junk | st.lists(any_annotation, max_size=2),
        "predictions": junk | st.lists(any_annotation, max_size=2),
    },
)


@settings(max_examples=100, deadline=None)
@given(malformed=any_task)
def test_malformed_task_is_rejected(malformed: Any) -> None:
    data = json.dumps([malformed, task([])]).encode()
    _, good = label_studio.parse_tasks(BytesIO(data), schema("invoice-with-lines"))
    assert good.data["text"] == TEXT


# -- the registry of import formats: a format in it is detected, read and configured without further code --


def test_every_option_has_a_form_field_and_is_documented() -> None:
    fields = {*ImportForm().fields}
    for file_format in FORMATS.values():
        if file_format.is_table or file_format.is_reviewed:
            fields |= {*ColumnsForm({}, formats=[file_format]).fields}
    assert {*OPTIONS} <= fields
    assert all(name in describe_options() for name in OPTIONS)


def test_options_are_checked() -> None:
    cases: list[tuple[dict[str, object], str, bool]] = [
        ({"delimiter": ";", "header": False}, "csv", True),
        ({"delimiter": "#"}, "csv", False),
        ({"header": 1}, "csv", False),
        ({"nothing": "x"}, "csv", False),
        ({"ocr": "never"}, "zip", True),
        ({"columns": {"a": "text"}}, "dataset", True),
        ({"columns": {"a": "text"}}, "text", False),
        ({"columns": "a"}, "csv", False),
    ]
    for options, name, valid in cases:
        assert (options_error(options, name) == "") is valid, options
    form = ColumnsForm({"delimiter": ";", "encoding": "", "header": "no"}, formats=[FORMATS["csv"]])
    assert form.chosen() == {"delimiter": ";", "header": False}
