"""Exports as bytes, and the way back: what is written is read again by the import's readers, to the digit."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labeling.datasets.formats.base import ExportContext, ExportRow
from labeling.datasets.formats.registry import FORMATS
from labeling.imports.formats import arrow
from labeling.imports.formats.base import Context
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.formats.registry import detect, open_file
from labeling.imports.rows import ParsedRow, validate_row
from slmstudio.contract.schema.compiled import compile_schema, dumps, loads
from slmstudio.text.spreadsheets import escape_formula, unescape_formula

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "invoice_id": {"type": "string"},
        "date": {"type": ["string", "null"], "format": "date"},
        "total": {"type": "number"},
        "count": {"type": ["integer", "null"]},
        "paid": {"type": "boolean"},
        "kind": {"enum": ["invoice", "receipt", "="]},
        "seller": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "vat": {"type": ["string", "null"]}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "notes": {"type": "array", "items": {"type": "string"}},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "amount": {"type": ["number", "null"]}},
                "required": ["text"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["invoice_id", "total"],
    "additionalProperties": False,
}
COMPILED = compile_schema(SCHEMA)
ABOUT = ExportContext("Invoices v3", "Extract the fields.", COMPILED)
GOLD = {
    "invoice_id": "A-1029",
    "date": "2026-01-14",
    "total": Decimal("1248.50"),
    "count": None,
    "paid": True,
    "kind": "receipt",
    "seller": {"name": "=cmd|' /C calc'!A0", "vat": None},
    "notes": ["+49 170", "two\nlines"],
    "lines": [{"text": "Widget; 2 x", "amount": Decimal("20.00")}, {"text": "-", "amount": None}],
}


def row_with(
    gold: Any = GOLD, name: str = "inv-1", text: str = "Invoice A-1029\nTotal 1,248.50", **more: Any
) -> ExportRow:
    return ExportRow(name, text, gold, ["ocr_noise"], "human", **more)


def written(shape: str, *examples: ExportRow) -> bytes:
    return b"".join(FORMATS[shape].write(examples, ABOUT))


def read(shape: str, data: bytes, folder: Path) -> list[ParsedRow]:
    """What the import's reader for this shape makes of the bytes."""
    context = Context(COMPILED, folder)
    if shape == "rows":
        return list(parse_jsonl(io.BytesIO(data)))
    path = folder / f"export.{FORMATS[shape].extension}"
    path.write_bytes(data)
    with open_file(path, detect(path, path.name).name, path.name, context) as opened:
        return list(opened.rows)


def unpacked(data: bytes, folder: Path) -> list[Path]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return sorted(folder.rglob("*.arrow"))


ROUND = ("rows", "csv", "label-studio", "hf")


@pytest.mark.parametrize("shape", ROUND)
def test_labels_round_trip(shape: str, tmp_path: Path) -> None:
    least = {"invoice_id": "", "total": Decimal("-0.10")}
    text = '=HYPERLINK("http://x")\r\n\'+1 \N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}\x7f\t"q"; a,b'
    given = [
        row_with(),
        row_with(least, "=1+1", text),
        row_with({**GOLD, "notes": [], "lines": []}, "third", "another text"),
    ]
    back = [validate_row(row, COMPILED) for row in read(shape, written(shape, *given), tmp_path)]
    assert [(row.external_id, row.text, row.tags) for row in back] == [(e.id, e.text, e.tags) for e in given]
    assert [dumps(COMPILED.ordered(row.gold)) for row in back] == [dumps(COMPILED.ordered(e.gold)) for e in given]


texts = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=30)
numbers = st.decimals(-(10**9), 10**9, places=3, allow_nan=False) | st.sampled_from([Decimal("1E+3"), Decimal("0.10")])
golds = st.fixed_dictionaries(
    {"invoice_id": texts, "total": numbers},
    optional={
        "date": st.none() | st.dates().map(str),
        "count": st.none() | st.integers(-(10**18), 10**18),
        "paid": st.booleans(),
        "kind": st.sampled_from(["invoice", "receipt", "="]),
        "seller": st.fixed_dictionaries({"name": texts}, optional={"vat": st.none() | texts}),
        "notes": st.lists(texts, max_size=3),
        "lines": st.lists(st.fixed_dictionaries({"text": texts}, optional={"amount": st.none() | numbers}), max_size=3),
    },
)


@pytest.mark.parametrize("shape", ROUND)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gold=golds)
def test_any_label_round_trips(
    shape: str, gold: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(path: Path, *_: Any) -> Iterator[tuple[str, str]]:
        """What the child process says, without a process for each of so many labels."""
        return ((line[0], line[1:]) for line in arrow.lines(path))

    monkeypatch.setattr(arrow, "_records_of", here)
    assert not COMPILED.validate(gold)
    (row,) = read(shape, written(shape, row_with(gold)), tmp_path)
    assert dumps(COMPILED.ordered(validate_row(row, COMPILED).gold)) == dumps(COMPILED.ordered(loads(dumps(gold))))


@settings(max_examples=30)
@given(text=st.text("'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20a1", max_size=6))
@example("'=1")
@example("''-")
def test_formula_escape_is_reversible(text: str) -> None:
    assert unescape_formula(escape_formula(text)) == text
    assert not escape_formula(text).startswith(
        ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    )


def test_formulas_are_escaped_and_numbers_are_not() -> None:
    rows = list(
        csv.reader(io.StringIO(written("csv", row_with({**GOLD, "total": Decimal("-5.10")}, "@SUM(1)")).decode()))
    )
    head, cells = rows[0], dict(zip(rows[0], rows[1], strict=True))
    assert head[0] == "\N{BYTE ORDER MARK}id"
    assert cells["\N{BYTE ORDER MARK}id"] == "'@SUM(1)"
    assert cells["seller.name"] == "'=cmd|' /C calc'!A0"
    assert cells["total"] == "-5.10"
    assert (cells["paid"], cells["count"], cells["kind"]) == ("true", "", "receipt")
    assert loads(cells["lines"])[0]["amount"] == Decimal("20.00")
    assert "'=" in written("csv", row_with({**GOLD, "kind": "="})).decode()


def test_empty_export_is_a_valid_file(tmp_path: Path) -> None:
    for shape in FORMATS:
        data = written(shape)
        if shape == "label-studio":
            assert json.loads(data) == []
        elif shape == "csv":
            assert len(data.splitlines()) == 1
        elif shape == "hf":
            assert read("hf", data, tmp_path) == []
        else:
            assert data == b"", shape


def test_other_formats_include_unlabeled_documents(tmp_path: Path) -> None:
    for shape in ROUND:
        data = written(shape, row_with(), row_with(None, "waits", "text 2"))
        rows = [validate_row(row, COMPILED) for row in read(shape, data, tmp_path)]
        assert [row.gold is None for row in rows] == [False, True], shape


def test_training_output_is_canonical() -> None:
    line = loads(written("instruct", row_with({"total": Decimal("1.50"), "invoice_id": "A"})))
    assert line["instruction"] == "Extract the fields."
    assert line["output"].startswith('{"invoice_id":"A","date":null,"total":1.50,')
    messages = loads(written("chat", row_with()))["messages"]
    assert [turn["role"] for turn in messages] == ["system", "user", "assistant"]
    pair = loads(written("completion", row_with()))
    assert pair["prompt"].endswith("JSON:\n")
    assert pair["completion"] == messages[2]["content"]


def test_label_studio_results_by_field() -> None:
    (task,) = json.loads(written("label-studio", row_with()))
    results = {result["from_name"]: result for result in task["annotations"][0]["result"]}
    assert results["total"]["value"] == {"text": ["1248.50"]}
    assert results["kind"]["type"] == "choices"
    assert results["lines[0].text"]["value"] == {"text": ["Widget; 2 x"]}
    assert task["data"]["text"] == row_with().text
    (whole,) = json.loads(written("label-studio", row_with({**GOLD, "invoice_id": ""})))[0]["annotations"][0]["result"]
    assert whole["from_name"] == "gold"


def test_hugging_face_reads_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    splits = [*(["train"] * 3), "validation", "holdout"]
    given = [row_with(name=f"inv-{n}", split=split) for n, split in enumerate(splits)]
    unpacked(written("hf", *given), tmp_path)
    loaded = datasets.load_from_disk(str(tmp_path / "dataset"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 3, "validation": 1, "holdout": 1}
    row = loaded["holdout"][0]
    assert loads(row["gold"]) == COMPILED.ordered(GOLD)
    assert (row["id"], row["tags"], row["origin"]) == ("inv-4", ["ocr_noise"], "human")
    assert loaded["train"].map(lambda row: {"length": len(row["text"])})["length"] == [len(row_with().text)] * 3


def test_export_is_streamed() -> None:
    """Nothing is held back: of many documents only a piece is asked for before the first bytes come."""
    taken = 0

    def endless() -> Iterator[ExportRow]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield row_with(name=f"inv-{number}", split="train")

    for shape in FORMATS:
        taken = size = 0
        pieces = FORMATS[shape].write(endless(), ABOUT)
        while size < 1_000:
            size += len(next(pieces))
        assert taken <= 2_001, shape
