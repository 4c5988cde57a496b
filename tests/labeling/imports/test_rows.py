"""Reading JSONL and judging a row: every kind of bad row, with the reason a person is shown."""

import json
from io import BytesIO
from typing import Any

import pytest

from labeling.demo.templates import template
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.rows import MAX_LINE, ParsedRow, RowError, validate_row
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.translation.translation import translate

INVOICE = compile_schema(template("invoice").schema)
GOLD = {"invoice_id": "A-1", "date": "2026-01-14", "vendor": "Acme", "total_amount": 1.5}


def reason(line: str | bytes) -> str:
    data = line if isinstance(line, bytes) else line.encode()
    (parsed,) = parse_jsonl(BytesIO(data))
    with pytest.raises(RowError) as caught:
        validate_row(parsed, INVOICE)
    return str(caught.value)


def row(**values: Any) -> str:
    return json.dumps({"id": "a", "text": "some text", **values})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"}', '"text" is missing'),
        ('{"id": "a", "text": null}', '"text" is missing'),
        (row(text=7), "must be a string"),
        (row(text="  \n "), '"text" is empty'),
        (row(text="x" * 1_000_001), "longer than 1 MB"),
        (row(text="ö" * 600_000), "longer than 1 MB"),
        ('{"id": "a", "text": ', "column 21"),
        ('{"id": "a", "id": "b", "text": "t"}', '"id" occurs twice'),
        ('{"id": "a", "text": "t\\u0000"}', "NUL"),
        ('{"id": "a", "text": "\\ud800"}', "surrogate"),
        ('{"id": "a", "text": "t", "n": NaN}', "NaN is not a number"),
        ("[" * 200 + "]" * 200, "64 deep"),
        (b'{"id": "a", "text": "\xff"}', "not valid UTF-8"),
        ('["a", "text"]', "a row must be an object"),
        ('"text"', "a row must be an object"),
        (row(id="x" * 201), "longer than 200 characters"),
        (row(id="a\nb"), "control characters"),
        (row(id="   "), "is blank"),
        (row(id=1.5), "string or an integer"),
        (row(id=True), "string or an integer"),
        (row(tags="ocr_noise"), '"tags" must be a list'),
        (row(tags=["x" * 41]), "1 to 40 characters"),
        (row(tags=[f"t{n}" for n in range(21)]), "at most 20"),
        (row(more="x" * 200_000), "longer than 100 KB"),
        (row(gold={**GOLD, "total_amount": "1.5"}), "total_amount must be a number"),
        (row(gold={**GOLD, "date": "14.1.2026"}), "date must be a date"),
        (row(gold={"invoice_id": "A-1"}), "date is required; vendor is required; total_amount is required"),
        (row(gold={**GOLD, "extra": 1}), "extra"),
        (row(gold="A-1"), "the gold does not match the schema"),
        (row(gold=False), "the gold does not match the schema"),
        (row(gold={}), "and 1 more"),
    ],
)
def test_invalid_row_has_a_reason(line: str | bytes, message: str) -> None:
    assert message in reason(line)


def test_lines_of_jsonl() -> None:
    rows = list(parse_jsonl(BytesIO(b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": }\n{"text": "b"}\r\n')))
    assert [parsed.number for parsed in rows] == [1, 3, 4]
    assert (rows[0].data, rows[2].data) == ({"text": "a"}, {"text": "b"})
    assert "(line 3, column 10)" in rows[1].error
    long = b'{"text": "' + b"x" * (2 * MAX_LINE) + b'"}\n'
    rows = list(parse_jsonl(BytesIO(long + b'{"text": "after"}')))
    assert "longer than 4 MB" in rows[0].error
    assert rows[0].raw == ""
    assert rows[1].data == {"text": "after"}
    (utf16,) = parse_jsonl(BytesIO('{"text": "a"}\n{"text": "b"}\n'.encode("utf-16")))
    assert "UTF-16" in utf16.error, "the file is rejected once"


def test_valid_row_keeps_digits_and_metadata() -> None:
    (parsed,) = parse_jsonl(BytesIO(b'{"id": 17, "text": "t", "tags": ["a", "a"], "page": 1.10, "gold": null}'))
    valid = validate_row(parsed, INVOICE)
    assert (valid.external_id, valid.gold, valid.tags) == ("17", None, ["a"])
    assert str(valid.metadata["page"]) == "1.10"


def test_a_row_without_id_gets_one_from_its_text() -> None:
    first = validate_row(ParsedRow(1, {"text": "same"}), INVOICE)
    second = validate_row(ParsedRow(2, {"id": "", "text": "same"}), INVOICE)
    assert first.external_id == second.external_id
    assert first.external_id.startswith("text-")


def test_rows_are_checked_for_invalid_characters() -> None:
    with pytest.raises(RowError, match="NUL"):
        validate_row(ParsedRow(1, {"text": "t", "gold": {**GOLD, "vendor": "a\0b"}}), INVOICE)
    with pytest.raises(RowError, match="surrogate"):
        validate_row(ParsedRow(1, {"text": "t", "note": ["\ud800"]}), INVOICE)
    assert validate_row(ParsedRow(1, {"text": "t", "note": "\\u0000"}), INVOICE).metadata == {"note": "\\u0000"}


def test_gold_of_a_document_that_is_a_list_may_be_bare() -> None:
    compiled = translate('{"type": "array", "items": {"type": "integer"}}').compiled
    golds: list[Any] = [[1, 2], {"items": [1, 2]}]
    for gold in golds:
        (parsed,) = parse_jsonl(BytesIO(row(gold=gold).encode()))
        assert validate_row(parsed, compiled).gold == {"items": [1, 2]}
