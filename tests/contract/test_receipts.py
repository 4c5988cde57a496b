"""Real receipts: gold dates and totals can be parsed and are found in their text."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema, dumps, loads
from slmstudio.contract.scoring.scorer import score_document, sroie, summarize
from slmstudio.contract.values import dates, numbers
from slmstudio.contract.values.evidence import is_present
from tests.contract.samples import object_schema

SCHEMA = object_schema(
    {
        "company": {"type": "string"},
        "date": {"type": "string", "x-slm": {"kind": "date", "date_order": "DMY"}},
        "address": {"type": ["string", "null"], "x-slm": {"kind": "address"}},
        "total": {"type": ["string", "null"], "x-slm": {"kind": "money", "locale": "en_US"}},
    },
    required=["company", "date", "total"],
    additionalProperties=False,
)


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    with (shared / "data/sroie/receipts.jsonl").open("rb") as file:
        return [loads(line) for line in file]


@pytest.fixture(scope="module")
def compiled() -> CompiledSchema:
    return compile_schema(SCHEMA)


def test_every_gold_date_and_total_can_be_read(rows: list[dict[str, Any]]) -> None:
    golds = [row["gold"] for row in rows]
    assert [gold["date"] for gold in golds if dates.parse(gold["date"], "DMY") is None] == []
    assert [gold["total"] for gold in golds if numbers.parse(gold["total"] or "0", "en_US") is None] == []


def test_gold_is_found_in_its_text(rows: list[dict[str, Any]], compiled: CompiledSchema) -> None:
    lost = {
        name: sum(
            row["gold"][name] is not None and not is_present(row["gold"][name], compiled.by_pattern[name], row["text"])
            for row in rows
        )
        for name in ("company", "date", "total")
    }
    assert lost["date"] <= 2
    assert lost["total"] <= 2
    assert lost["company"] <= 12


def test_values_of_other_receipts_are_not_found(rows: list[dict[str, Any]], compiled: CompiledSchema) -> None:
    strange = [
        is_present(other["gold"]["date"], compiled.by_pattern["date"], row["text"])
        for row, other in zip(rows, rows[7:], strict=False)
        if row["gold"]["date"] != other["gold"]["date"]
    ]
    assert sum(strange) / len(strange) < 0.05


def test_gold_scores_perfectly_under_every_protocol(rows: list[dict[str, Any]], compiled: CompiledSchema) -> None:
    scores = [
        score_document(compiled, text=row["text"], gold=row["gold"], raw=compiled.canonical(row["gold"]))
        for row in rows
    ]
    figures = summarize(scores)
    assert figures["document_exact"]["rate"] == 1.0
    assert figures["micro"]["f1"] == 1.0
    assert sroie((row["gold"], row["gold"]) for row in rows)["f1"] == 1.0


def test_a_total_off_by_a_cent_is_an_error(rows: list[dict[str, Any]], compiled: CompiledSchema) -> None:
    for row in rows[::4]:
        total = numbers.parse(row["gold"]["total"] or "", "en_US")
        if total is not None:
            output = {**row["gold"], "total": str(total + Decimal("0.01"))}
            score = score_document(compiled, text=row["text"], gold=row["gold"], raw=dumps(output))
            assert not score.exact
