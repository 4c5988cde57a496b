"""Which head answers which field of a contract."""

from typing import Any

import pytest

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from training.encoders.heads import HeadPlan, plan_heads, tag_labels, tag_width


def plan(**properties: Any) -> HeadPlan:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return plan_heads(compile_schema(schema))


def test_a_field_gets_the_head_of_its_kind() -> None:
    made = plan(
        vendor={"type": "string"},
        total={"type": ["number", "null"]},
        paid={"type": "boolean"},
        kind={"enum": ["a", "b"]},
        stars={"enum": [1, 2, 3]},
        flags={"type": "array", "items": {"enum": ["x", "y"]}},
        names={"type": "array", "items": {"type": "string"}},
    )
    assert {head.pattern: head.kind for head in made.heads} == {
        "vendor": "span", "total": "span", "paid": "decision", "kind": "decision", "stars": "decision",
        "flags": "decision", "names": "tags",
    }  # fmt: skip
    heads = {head.pattern: head for head in made.heads}
    assert heads["paid"].classes == (False, True)
    assert heads["flags"].several
    assert heads["stars"].ordered
    assert not heads["kind"].ordered
    assert not made.unanswered


def test_an_optional_choice_can_be_absent() -> None:
    made = plan_heads(compile_schema({"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}))
    assert made.heads[0].classes == (None, "a", "b")


@pytest.mark.parametrize(
    ("field", "classes"),
    [
        ({"enum": [1, 2, 3, None]}, (None, 1, 2, 3)),
        ({"enum": [1, 2, 3]}, (1, 2, 3)),
        ({"type": "integer", "minimum": 1, "maximum": 5, "x-slm": {"evidence": "none"}}, (1, 2, 3, 4, 5)),
        ({"type": ["integer", "null"], "minimum": 0, "maximum": 2, "x-slm": {"evidence": "none"}}, (None, 0, 1, 2)),
    ],
)
def test_a_scale_is_ordered_also_if_it_can_be_absent(field: dict[str, Any], classes: tuple[Any, ...]) -> None:
    [head] = plan(stars=field).heads
    assert (head.kind, head.classes, head.ordered) == ("decision", classes, True)


def test_integers_with_evidence_or_a_wide_range_are_no_scale() -> None:
    made = plan(
        copied={"type": "integer", "minimum": 1, "maximum": 5},
        wide={"type": "integer", "minimum": 1, "maximum": 500, "x-slm": {"evidence": "none"}},
        open={"type": "integer", "minimum": 1, "x-slm": {"evidence": "none"}},
        pair={"enum": [None, 1, 2]},
    )
    assert [(head.pattern, head.kind, head.ordered) for head in made.heads] == [
        ("copied", "span", False), ("pair", "decision", False),
    ]  # fmt: skip
    assert [item.pattern for item in made.unanswered] == ["wide", "open"]


def test_rows_have_columns_and_pairs_of_class_and_text_are_tags() -> None:
    row = {"type": "object", "properties": {"name": {"type": "string"}, "amount": {"type": "number"}}}
    entity = {"type": "object", "properties": {"type": {"enum": ["P", "O"]}, "text": {"type": "string"}}}
    entity["required"] = ["type", "text"]
    made = plan(items={"type": "array", "items": row}, entities={"type": "array", "items": entity})
    rows, tags = made.heads
    assert (rows.kind, [column.pattern for column in rows.columns]) == ("rows", ["items[].name", "items[].amount"])
    assert (tags.kind, tags.classes) == ("tags", ("P", "O"))


def table_of(*required: str, **columns: Any) -> HeadPlan:
    columns = {"name": {"type": "string"}, **columns}
    return plan(items={"type": "array", "items": {"type": "object", "properties": columns, "required": list(required)}})


FREE = {"type": "string", "x-slm": {"kind": "free"}}


def test_choices_of_rows_are_part_of_their_head() -> None:
    unit = {"enum": ["piece", "box"]}
    made = table_of("name", "unit", "currency", unit=unit, taxed={"type": "boolean"}, currency={"const": "EUR"})
    [rows] = made.heads
    assert [column.pattern for column in rows.columns] == ["items[].name"]
    assert "decision" in rows.description
    assert {choice.pattern: choice.classes for choice in rows.choices} == {
        "items[].unit": ("piece", "box"), "items[].taxed": (None, False, True), "items[].currency": ("EUR",),
    }  # fmt: skip
    assert (tag_labels(rows), tag_width(rows)) == (3, 3 + 1 + 2 + 3 + 1)
    assert not made.unanswered


def test_a_column_that_rows_can_lack_is_listed_by_its_own_pattern() -> None:
    nested = {"type": "object", "properties": {"why": FREE}, "required": ["why"]}
    made = table_of(
        "name", "code", note=FREE, code={**FREE, "type": ["string", "null"]}, parts={"type": "array"}, more=nested
    )
    assert [head.pattern for head in made.heads] == ["items"]
    assert [item.pattern for item in made.unanswered] == [
        "items[].note", "items[].code", "items[].parts", "items[].more.why",
    ]  # fmt: skip
    with pytest.raises(Refused, match=r"No head can be left out for items\[\]\.note"):
        made.check(["items[].note"])


@pytest.mark.parametrize(
    "column",
    [
        FREE,
        {"type": "array", "items": {"type": "string"}},
        {"type": "number", "x-slm": {"evidence": "none"}},
        {"type": "object", "properties": {"a": {"type": "string"}, "why": FREE}, "required": ["why"]},
    ],
)
def test_a_list_has_no_head_where_its_rows_require_a_column_without_one(column: dict[str, Any]) -> None:
    made = table_of("name", "note", note=column)
    assert not made.heads
    [item] = made.unanswered
    assert item.pattern == "items"
    assert "items[].note" in item.reason


def test_what_is_not_in_the_text_has_no_head_and_a_reason() -> None:
    made = plan(
        summary={"type": "string", "x-slm": {"kind": "free"}},
        computed={"type": "number", "x-slm": {"evidence": "none"}},
        anything={},
    )
    assert not made.heads
    assert {item.pattern for item in made.unanswered} == {"summary", "computed", "anything"}
    assert all(item.reason for item in made.unanswered)


def test_what_leaves_no_head_is_refused_with_the_reason() -> None:
    made = plan(total={"type": "number"}, why={"type": "string", "x-slm": {"kind": "free"}})
    made.check()
    with pytest.raises(Refused, match="Keep at least one") as caught:
        made.check(["total"])
    assert caught.value.field == "without_heads"
    with pytest.raises(Refused, match="No head can be left out for why"):
        made.check(["why"])
    with pytest.raises(Refused, match=r"why: it is free text.*Choose a decoder") as caught:
        plan(why={"type": "string", "x-slm": {"kind": "free"}}).check()
    assert caught.value.field == "base_model"
