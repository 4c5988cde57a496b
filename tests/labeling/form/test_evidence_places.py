"""Which match in the document is the evidence of each value of a table."""

import time
from decimal import Decimal
from typing import Any

import pytest

from labeling.form.codec import Parsed, from_entry
from labeling.form.tree import tree_of
from labeling.form.validation import check
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from tests.contract.samples import object_schema

ROWS = compile_schema(
    object_schema(
        {
            "title": {"type": "string"},
            "items": {
                "type": "array",
                "items": object_schema(
                    {
                        "name": {"type": "string"},
                        "count": {"type": "integer"},
                        "unit": {"type": "string"},
                    }
                ),
            },
        }
    )
)


def columns(text: str, *rows: tuple[str, int, str], given: dict[str, Any] | None = None) -> list[list[tuple[int, int]]]:
    """For each row, line and column of the evidence of its values."""
    items = [dict(zip(("name", "count", "unit"), row, strict=True)) for row in rows]
    evidence = check(ROWS, Parsed({"items": items}), text, given or {}).evidence
    starts = [[evidence[f"items[{row}].{name}"]["start"] for name in items[row]] for row in range(len(items))]
    return [[(text.count("\n", 0, start), start - text.rfind("\n", 0, start) - 1) for start in row] for row in starts]


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("Letterhead, box A4   2   box", [("Letterhead, box A4", 2, "box")], [[(0, 0), (0, 21), (0, 25)]]),
        ("box of 3 sets   3   set\nset   2   box", [("box of 3 sets", 3, "set"), ("set", 2, "box")],
         [[(0, 0), (0, 16), (0, 20)], [(1, 0), (1, 6), (1, 10)]]),
        ("Cable, 1 x 2.4 m   5   pcs\nRope, white   7   m", [("Cable, 1 x 2.4 m", 5, "pcs"), ("Rope, white", 7, "m")],
         [[(0, 0), (0, 19), (0, 23)], [(1, 0), (1, 14), (1, 18)]]),
        ("Efeu 9 cm   4   pot\nFarn   9   pot", [("Efeu 9 cm", 4, "pot"), ("Farn", 9, "pot")],
         [[(0, 0), (0, 12), (0, 16)], [(1, 0), (1, 7), (1, 11)]]),
        ("1   2   box\nPen   2   box\nPen   2   box", [("Pen", 2, "box"), ("Pen", 2, "box")],
         [[(1, 0), (1, 6), (1, 10)], [(2, 0), (2, 6), (2, 10)]]),
    ],
)  # fmt: skip
def test_values_of_a_row_are_on_its_line_beside_each_other(
    text: str, rows: list[tuple[str, int, str]], expected: list[list[tuple[int, int]]]
) -> None:
    assert columns(text, *rows) == expected


def test_a_number_with_a_unit_stays_as_typed_and_is_a_problem() -> None:
    parsed = from_entry(tree_of(ROWS), {"items": [{"name": "Pen", "count": "200 pce"}, {"name": "Cap", "count": "3x"}]})
    assert parsed.value["items"] == [{"name": "Pen", "count": "200 pce"}, {"name": "Cap", "count": 3}]
    checks = check(ROWS, parsed, "Pen   200 pce\n3x Cap", {})
    assert [(problem.path, problem.rule) for problem in checks.problems] == [("items[0].count", "type")]
    assert checks.missing == {}


def test_a_selected_place_decides_between_matches() -> None:
    text, row = "Junction box   2   box", ("Junction box", 2, "box")
    for start, end, column in ((9, 12, 9), (15, 22, 19)):
        given = {"items[0].unit": {"start": start, "end": end, "by": "hand"}}
        assert columns(text, row, given=given) == [[(0, 0), (0, 15), (0, column)]]
    of_another_value = {"items[0].unit": {"start": 0, "end": 8}}
    assert columns(text, row, given=of_another_value) == [[(0, 0), (0, 15), (0, 19)]]
    # A value that is only in another cell has its place there.
    assert columns("Junction box   2", row) == [[(0, 0), (0, 15), (0, 9)]]


def test_a_value_in_more_lines_than_are_listed_keeps_its_line() -> None:
    lines = [f"Pen no{number}   2   pcs" for number in range(100)]
    places = columns("\n".join(lines), *((line.split("   ")[0], 2, "pcs") for line in lines))
    assert [{line for line, _ in row} for row in places] == [{number} for number in range(100)]


# -- a receipt of a thousand lines is checked on every change as quickly as a short one is --


LINES = 1000


@pytest.fixture(scope="module")
def receipt() -> CompiledSchema:
    item = object_schema(
        {"name": {"type": "string"}, "quantity": {"type": "integer"}, "amount": {"type": "number"}}, required=["name"]
    )
    return compile_schema(object_schema({"items": {"type": "array", "items": item}}))


def text_of(lines: int) -> str:
    return "\n".join(f"Article {number:04}    {number % 3 + 1}    {number}.50" for number in range(lines))


def value_of(lines: int) -> dict[str, Any]:
    return {
        "items": [
            {"name": f"Article {number:04}", "quantity": number % 3 + 1, "amount": Decimal(f"{number}.50")}
            for number in range(lines)
        ]
    }


def test_a_thousand_rows_are_checked_within_a_save(receipt: CompiledSchema) -> None:
    text, value = text_of(LINES), value_of(LINES)
    started = time.process_time()
    checks = check(receipt, Parsed(value), text, {})
    took = time.process_time() - started
    print(f"{LINES} rows checked in {took * 1000:.0f} ms of computing")
    assert checks.warnings == []
    assert len(checks.evidence) == 3 * LINES
    # Every row has its own place, those of its line.
    starts = [checks.evidence[f"items[{row}].quantity"]["start"] for row in range(LINES)]
    assert starts == sorted(set(starts))
    # A fifth of a second on a machine that is free; it was ten seconds when each row was compared with all others.
    assert took < 2
