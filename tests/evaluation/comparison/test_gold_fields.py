"""Golds of two schemas are held against each other in the fields that both have."""

from decimal import Decimal
from typing import Any

from evaluation.comparison.services import gold_subset
from slmstudio.contract.schema.compiled import compile_schema
from tests.contract.samples import object_schema

TEXT = {"type": ["string", "null"]}
LINE: dict[str, Any] = {"text": TEXT, "amount": {"type": "number"}}
TAGS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
OLD = compile_schema(
    object_schema({"vendor": TEXT, "lines": {"type": "array", "items": object_schema(LINE)}, "tags": TAGS})
).root
NEW = compile_schema(
    object_schema(
        {
            "currency": TEXT,
            "tags": TAGS,
            "lines": {"type": "array", "items": object_schema({"code": TEXT, **LINE})},
            "vendor": TEXT,
        }
    )
).root
SHARED = frozenset({"vendor", "lines[].text", "lines[].amount", "tags[]"})
GOLD: dict[str, Any] = {
    "vendor": "Acme",
    "lines": [{"text": "pear", "amount": Decimal("1.50")}, {"text": "plum", "amount": 2}],
    "tags": ["red", "green"],
}


def same(old: Any, new: Any) -> bool:
    return gold_subset(OLD, old, SHARED) == gold_subset(NEW, new, SHARED)


def test_what_only_one_schema_has_makes_no_difference() -> None:
    lines = [{"code": f"c{number}", **row} for number, row in enumerate(GOLD["lines"])]
    assert same(GOLD, {"currency": "EUR", "lines": lines, "tags": GOLD["tags"], "vendor": "Acme"})
    assert same(GOLD, {**GOLD, "lines": [*lines, {"code": "c9"}]}), "a row of new fields alone"


def test_other_values_are_another_gold_in_lists_too() -> None:
    assert same(GOLD, GOLD)
    changes: list[dict[str, Any]] = [
        {"vendor": "Acme Ltd"},
        {"vendor": None},
        {"lines": GOLD["lines"][:1]},
        {"lines": [{"text": "pear", "amount": 1}, GOLD["lines"][1]]},
        {"lines": [*GOLD["lines"], {"text": "melon"}]},
        {"lines": GOLD["lines"][::-1]},
        {"tags": ["red"]},
        {"tags": ["red", "blue"]},
    ]
    for change in changes:
        assert not same(GOLD, {**GOLD, **change}), change


def test_absence_is_one_however_it_is_written() -> None:
    empty: tuple[dict[str, Any], ...] = ({}, {"vendor": None, "lines": [], "tags": None}, {"lines": [{"text": None}]})
    assert {gold_subset(OLD, gold, SHARED) for gold in empty} == {None}
    assert all(same({}, {"currency": "EUR", **gold}) for gold in empty)


def test_numbers_count_by_value_and_true_is_none() -> None:
    assert same({"lines": [{"amount": Decimal("1.50")}]}, {"lines": [{"amount": Decimal("1.5")}]})
    assert not same({"lines": [{"amount": 1}]}, {"lines": [{"amount": True}]})
