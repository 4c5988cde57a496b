"""A long document scored as one, from models that see one window at a time; the schema of such a window."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import DocumentScore, score_document, summarize
from slmstudio.contract.windows.gold import nullable_window_schema, window_gold, window_schema
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import Window, split_windows
from tests.contract.windows.statements import SCHEMA, Statement, statement

COMPILED = compile_schema(SCHEMA)
LIMIT = 420


def windows_of(text: str, limit: int = LIMIT) -> list[Window]:
    return split_windows(text, limit=limit, count=lambda part: len(part.split()))


def scored(made: Statement, read: Callable[[Window], Any], limit: int = LIMIT) -> DocumentScore:
    windows = windows_of(made.text, limit)
    assert len(windows) > 3
    merged = merge_outputs(COMPILED, made.text, windows, [dumps(read(window)) for window in windows])
    return score_document(COMPILED, text=made.text, gold=made.gold, raw=merged.raw)


@pytest.mark.parametrize("limit", [120, 420])
def test_a_perfect_model_of_windows_is_perfect_on_the_statement(limit: int) -> None:
    made = statement()
    assert len(made.gold["transactions"]) == 300
    rows = [dumps(row) for row in made.gold["transactions"]]
    assert len(set(rows)) < 290, "some rows are equal"
    score = scored(made, made.read, limit)
    assert score.schema_valid
    assert score.exact, [field for field in score.fields if field.error][:5]


def test_an_imperfect_model_loses_what_it_gets_wrong() -> None:
    made = statement()
    draw = random.Random(3)

    def read(window: Window) -> dict[str, Any]:
        output = made.read(window)
        rows = [dict(row) for row in output["transactions"] if draw.random() >= 0.05]
        for row in rows:
            if draw.random() < 0.05:
                row["amount"] += 1
        return {**output, "transactions": rows}

    rate = summarize([scored(made, read)])["field_exact"]["rate"]
    assert 0.9 < rate < 0.97


@pytest.mark.parametrize("limit", [120, 420])
def test_the_gold_of_a_window_is_what_it_contains(limit: int) -> None:
    made = statement()
    windows = windows_of(made.text, limit)
    for window, gold in zip(windows, window_gold(COMPILED, made.gold, made.text, windows), strict=True):
        wanted = made.read(window)
        assert gold["transactions"] == wanted["transactions"]
        singles = {name: value for name, value in wanted.items() if name != "transactions" and value is not None}
        given = {name: value for name, value in gold.items() if name != "transactions"}
        assert given == singles


@pytest.mark.parametrize("is_in_order", [True, False])
def test_rows_of_running_text_are_found_and_joined_again(is_in_order: bool) -> None:
    person = {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}
    schema = {"type": "object", "properties": {"people": {"type": "array", "items": {"type": "object", **person}}}}
    compiled = compile_schema(schema)
    people = [{"name": name, "age": 20 + age} for age, name in enumerate(("Ada Long", "Ben Rome", "Cai Wood") * 8)]
    listed = ", ".join(f"{person['name']}, aged {person['age']}" for person in people)
    text = f"In the office {listed}, all of them."
    if not is_in_order:
        random.Random(1).shuffle(people)
    windows = split_windows(text, limit=24, count=lambda part: len(part.split()))
    golds = window_gold(compiled, {"people": people}, text, windows)
    assert max(len(gold["people"]) for gold in golds) < 7
    raw = merge_outputs(compiled, text, windows, [dumps(gold) for gold in golds]).raw
    assert score_document(compiled, text=text, gold={"people": people}, raw=raw).exact


def test_a_window_without_a_required_value_leaves_it_out() -> None:
    relaxed = window_schema(COMPILED)
    assert (
        relaxed.validate({"currency": "EUR", "opening_balance": None, "closing_balance": 1, "transactions": []}) == []
    )
    assert relaxed.validate({"opening_balance": None, "closing_balance": 1, "transactions": []}), "a class is required"
    nullable = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
    assert window_schema(compile_schema(nullable)) is compile_schema(nullable)


def merged(schema: dict[str, Any], text: str, cuts: list[tuple[int, int]], values: list[Any], **more: Any) -> Any:
    windows = [Window(start, end, text[start:end]) for start, end in cuts]
    output = merge_outputs(compile_schema(schema), text, windows, [dumps(value) for value in values], **more)
    return compile_schema(schema).check(output.raw)[0], output.confidence


ANY = {"type": "object", "properties": {
    "name": {"type": ["string", "null"]}, "label": {"enum": ["a", "b"]},
    "seller": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}},
    "extra": {"type": "object", "additionalProperties": {"type": "string"}},
    "items": {"type": "array", "items": {"type": "string"}},
}}  # fmt: skip
TEXT = "Ada Oslo 0150\napple\napple\npear\nBen Rome\nplum\n"
CUTS = [(0, 31), (20, len(TEXT))]


def test_values_are_merged_by_evidence_then_confidence() -> None:
    first = {"name": "Ben", "label": "a", "seller": {"city": "Oslo"}, "extra": {"x": "1"}, "items": ["apple", "apple"]}
    second = {"name": "Ben", "label": "b", "seller": {"zip": "0150"}, "extra": {"y": "2"}, "items": ["pear", "plum"]}
    sure = [
        {"name": (0.99, 0.99), "label": (0.5, 0.6), "items[1]": (0.1, 0.2)},
        {"name": (0.3, 0.4), "label": (0.7, 0.8), "items[0]": (0.5, 0.5), "items[1]": (0.6, 0.7)},
    ]
    value, confidence = merged(ANY, TEXT, CUTS, [first, second], confidences=sure)
    assert value == {
        "name": "Ben", "label": "b", "seller": {"city": "Oslo", "zip": "0150"}, "extra": {"x": "1", "y": "2"},
        "items": ["apple", "apple", "pear", "plum"],
    }  # fmt: skip
    assert confidence["name"] == (0.3, 0.4), "the window that contains the value"
    assert (confidence["label"], confidence["items[1]"], confidence["items[3]"]) == ((0.7, 0.8), (0.1, 0.2), (0.6, 0.7))
    assert merged(ANY, TEXT, CUTS, [{"name": None}, {"name": None}])[0] == {"name": None}


def test_equal_rows_on_different_lines_stay_and_one_line_is_one_row() -> None:
    both = [{"items": ["apple", "apple"]}, {"items": ["apple", "pear", "plum"]}]
    assert merged(ANY, TEXT, CUTS, both)[0] == {"items": ["apple", "apple", "pear", "plum"]}
    wrong = [{"items": ["apple", "apple", "peer"]}, {"items": ["apple", "pear", "plum"]}]
    assert merged(ANY, TEXT, [(0, 31), (20, len(TEXT))], wrong)[0]["items"].count("apple") == 2


def test_rows_that_a_window_repeats_are_there_once() -> None:
    made = statement()
    transactions = made.gold["transactions"]

    def read(window: Window) -> dict[str, Any]:
        output = made.read(window)
        return {**output, "transactions": [*output["transactions"], *output["transactions"][-3:]]}

    score = scored(made, read, 120)
    assert score.exact, [field for field in score.fields if field.error][:5]
    assert len({dumps(row) for row in transactions}) < len(transactions), "and equal rows stay"


def test_an_output_that_is_not_an_object_is_that_of_the_document() -> None:
    windows = [Window(0, 5, TEXT[:5]), Window(5, 9, TEXT[5:9])]
    assert merge_outputs(COMPILED, TEXT, windows, ["{}", "[1"]).raw == "[1"
    assert merge_outputs(COMPILED, TEXT, windows, ["{}", "[1]"]).raw == "[1]"


# -- the schema of the output for a window --


NUMBER: dict[str, Any] = {"type": "string"}


def test_a_value_that_a_window_lacks_is_left_out_or_null() -> None:
    inner = {"type": "object", "properties": {"number": NUMBER}, "required": ["number"]}
    compiled = compile_schema(
        {"type": "object", "properties": {"number": NUMBER, "order": inner}, "required": ["number", "order"]}
    )
    left_out, null = window_schema(compiled).schema, nullable_window_schema(compiled).schema
    assert left_out["required"] == ["order"]
    assert null["required"] == ["number", "order"]
    assert null["properties"]["number"] == {"anyOf": [NUMBER, {"type": "null"}]}
    assert null["properties"]["order"]["required"] == left_out["properties"]["order"]["required"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"allOf": [{"properties": {"number": {"type": "string"}}}]},
        {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"properties": {"number": {"type": "string"}}}},
    ],
)
def test_a_field_that_is_also_constrained_elsewhere_is_left_out(more: dict[str, Any]) -> None:
    compiled = compile_schema(
        {"type": "object", "properties": {"kind": NUMBER}, "required": ["kind", "number"], **more}
    )
    assert "number" not in nullable_window_schema(compiled).schema["required"]
