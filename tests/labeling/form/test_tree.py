"""A schema becomes a form; what is typed becomes its value, and back, losing nothing."""

from decimal import Decimal
from typing import Any

import pytest

from labeling.form.codec import ABSENT, from_entry, leaf_values, to_entry
from labeling.form.nodes import RAW
from labeling.form.tree import FormNode, form_for, node_at, tree_of
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem, compile_schema

CLAIM = {
    "type": "object",
    "required": ["number", "holder", "causes"],
    "properties": {
        "number": {"type": "string", "x-slm": {"kind": "identifier"}},
        "holder": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "born": {"type": ["string", "null"], "format": "date"}},
        },
        "causes": {"type": "array", "uniqueItems": True, "items": {"enum": ["fire", "water", "storm"]}},
        "injured": {"type": ["boolean", "null"]},
        "country": {"enum": list("ABCDEFGHIJ")},
        "level": {"enum": [1, "1", None]},
        "witnesses": {"type": "array", "items": {"type": "string", "maxLength": 20}},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["text", "amount"],
                "properties": {
                    "text": {"type": "string"},
                    "amount": {"type": "number", "x-slm": {"kind": "money", "locale": "en_US"}},
                    "count": {"type": ["integer", "null"]},
                    "kind": {"enum": ["a", "b"]},
                },
            },
        },
        "cars": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"plate": {"type": "string"}, "drivers": {"type": "array", "items": {"type": "string"}}},
            },
        },
        "more": {"title": "Anything"},
    },
}


@pytest.fixture
def claim() -> CompiledSchema:
    return compile_schema(loads(dumps(CLAIM)))


def shapes(node: FormNode) -> dict[str, str]:
    by_pattern: dict[str, str] = {node.pattern: node.shape}
    for child in (*node.children, *([node.item] if node.item else [])):
        by_pattern.update(shapes(child))
    return by_pattern


def test_node_shapes(claim: CompiledSchema) -> None:
    assert shapes(tree_of(claim)) == {
        "": "group",
        "number": "text",
        "holder": "group",
        "holder.name": "lines",
        "holder.born": "date",
        "causes": "checks",
        "injured": "boolean",
        "country": "choice",
        "level": "choice",
        "witnesses": "list",
        "witnesses[]": "text",
        "rows": "table",
        "rows[]": "group",
        "rows[].text": "lines",
        "rows[].amount": "number",
        "rows[].count": "number",
        "rows[].kind": "choice",
        "cars": "list",
        "cars[]": "group",
        "cars[].plate": "lines",
        "cars[].drivers": "list",
        "cars[].drivers[]": "lines",
        "more": "json",
    }


def test_choices_up_to_nine_are_buttons(claim: CompiledSchema) -> None:
    tree = tree_of(claim)
    assert not node_at(tree, "country").as_buttons
    assert node_at(tree, "level").as_buttons
    assert node_at(tree, "level").nullable
    assert [option.code for option in node_at(tree, "level").options] == ["1", '"1"']


def test_typed_text_is_parsed(claim: CompiledSchema) -> None:
    entry = {
        "number": " C-88 ",
        "holder": {"name": "Marta Ruiz", "born": "3 May 1971"},
        "causes": ['"water"'],
        "injured": False,
        "level": '"1"',
        "rows": [{"text": "Door", "amount": "USD 1,248.50", "count": "-"}],
        "more": {RAW: '{"a": [1.50]}'},
    }
    parsed = from_entry(tree_of(claim), entry)
    assert dumps(parsed.value) == (
        '{"number":"C-88","holder":{"name":"Marta Ruiz","born":"1971-05-03"},"causes":["water"],"injured":false,'
        '"level":"1","rows":[{"text":"Door","amount":1248.50,"count":null}],"more":{"a":[1.50]}}'
    )
    assert not parsed.problems
    assert parsed.shown == {"holder.born": "1971-05-03", "rows[0].amount": "1248.50", "rows[0].count": "null"}


def test_unparsable_text_is_kept_and_an_empty_row_is_a_problem(claim: CompiledSchema) -> None:
    tree = tree_of(claim)
    entry = {"rows": [{"text": "x", "amount": "twelve"}], "holder": {"born": "some day"}}
    assert from_entry(tree, entry).value == entry
    assert {problem.path for problem in claim.validate(entry)} >= {"rows[0].amount", "holder.born"}
    parsed = from_entry(tree, {"number": "", "witnesses": ["Ann", ""], "rows": [{}], "more": {RAW: "[1,"}})
    assert "number" not in parsed.value
    assert parsed.value["more"] == "[1,"
    assert [(problem.path, problem.rule) for problem in parsed.problems] == [
        ("witnesses[1]", "empty"),
        ("rows[0]", "empty"),
        ("more", "json"),
    ]


def test_reserved_property_name_is_kept() -> None:
    compiled = compile_schema({"type": "object", "properties": {RAW: {"type": "string"}}})
    tree = tree_of(compiled)
    for value in ({RAW: "x"}, {RAW: "[1]"}, {}):
        assert from_entry(tree, to_entry(tree, value)).value == value


def test_opening_and_saving_keeps_the_value(claim: CompiledSchema) -> None:
    tree = tree_of(claim)
    values: list[Any] = [
        {"number": ""},
        {"number": " padded "},
        {"number": "two\nlines"},
        {"number": 5},
        {"rows": [{"amount": "12"}, {"amount": Decimal("1248.500")}, {"amount": Decimal("1E+3")}]},
        {"rows": "none"},
        {"rows": None, "holder": None, "causes": None},
        {"rows": [], "causes": [], "witnesses": []},
        {"holder": []},
        {"causes": ["fire", "fire"]},
        {"causes": ["flood"]},
        {"holder": {"born": "Jan 14, 2026"}},
        {"holder": {"born": "N/A"}},  # typed, it means null
        {"unknown": {"deep": [1, None, {"x": "y"}]}},
        {"more": "text"},
        {"injured": "true"},
        [],
        "text",
    ]
    for value in values:
        assert dumps(from_entry(tree, to_entry(tree, value)).value) == dumps(value)


def test_leaves_are_in_form_order(claim: CompiledSchema) -> None:
    value = {"rows": [{"amount": 1, "text": "a"}, {"text": None}], "number": "x", "holder": {"name": "y"}}
    paths = [path for path, _, _ in leaf_values(tree_of(claim), value)]
    assert paths == ["number", "holder.name", "rows[0].text", "rows[0].amount"]


def test_problems_are_bound_to_fields(claim: CompiledSchema) -> None:
    problem = ValueProblem("holder.name", "required", "is required")
    form = form_for(claim, {}, problems=[problem])
    holder = next(child for child in form.children if child.node.key == "holder")
    assert holder.children[0].messages == [problem]
    assert holder.children[0].entry is ABSENT
