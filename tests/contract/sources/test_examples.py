"""A schema from examples accepts them all, and its inferences are those that a person expects."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema, exact
from slmstudio.contract.sources.detection import draft_from_values, draft_schema
from slmstudio.contract.sources.examples import SourceError
from tests.contract.samples import json_values, texts
from tests.contract.test_consistent_interpretation import check_meaning

names = st.text("abcXYZ_9 .é", min_size=1, max_size=6)


def derived(*values: Any) -> dict[str, Any]:
    """The fields of the schema of some values of the field ``a``."""
    return draft_from_values([exact({"a": value}) for value in values]).schema["properties"]["a"]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.dictionaries(texts, json_values, min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_example_is_valid(values: list[dict[str, Any]]) -> None:
    compiled = compile_schema(draft_from_values(values).schema)
    assert [compiled.validate(value) for value in values] == [[]] * len(values)


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.dictionaries(names, json_values, min_size=1, max_size=3), min_size=1, max_size=3))
def test_examples_agree_in_form_decoder_and_scorer(values: list[dict[str, Any]]) -> None:
    compiled = compile_schema(draft_from_values(values).schema)
    for value in values:
        check_meaning(compiled, value)


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([1, 2], {"type": "integer"}),
        ([1, 2.5], {"type": "number"}),
        ([True], {"type": "boolean"}),
        (["2026-01-14", "2026-02-28"], {"type": "string", "format": "date"}),
        (["2026-01-14", "soon"], {"type": "string"}),
        (["14.01.2026", "Jan 15, 2026"], {"type": "string", "x-slm": {"kind": "date"}}),
        (["2026-01-14T08:30:00Z"], {"type": "string", "format": "date-time"}),
        (["a@b.example"], {"type": "string", "format": "email"}),
        (["x", None], {"type": ["string", "null"]}),
        ([None], {"type": ["string", "null"]}),
        ([[]], {"type": "array", "items": {"type": "string"}}),
        ([[1], []], {"type": "array", "items": {"type": "integer"}}),
        ([["x", 1]], {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}),
        ([{"2026-01": 1, "2026-02": 2}], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (["b", "a"] * 6, {"type": "string", "enum": ["a", "b"]}),
        (["b", "a"] * 4, {"type": "string"}),
        ([str(number) for number in range(12)], {"type": "string"}),
    ],
)
def test_types_and_choices(values: list[Any], schema: dict[str, Any]) -> None:
    assert derived(*values) == schema


def test_fields_lists_and_reasons() -> None:
    draft = draft_schema("""
        {"invoice_id": "A-1", "total": 12.50, "lines": [{"what": "tea", "amount": 3}]}
        {"invoice_id": "A-2", "due": "2026-01-31", "total": 7,
         "lines": [{"what": "oil", "amount": 4.5, "note": null}]}
    """)
    fields = draft.schema["properties"]
    assert list(fields) == ["invoice_id", "due", "total", "lines"]
    assert draft.schema["required"] == ["invoice_id", "total", "lines"]
    assert fields["total"] == {"type": "number", "multipleOf": Decimal("0.01"), "x-slm": {"kind": "money"}}
    assert fields["lines"]["items"]["required"] == ["what", "amount"]
    patterns = {reason.pattern for reason in draft.reasons}
    assert patterns >= {"invoice_id", "due", "total", "lines[].amount", "lines[].note"}
    assert any("1 of 2" in reason.text for reason in draft.reasons if reason.pattern == "due")


def test_examples_in_a_text() -> None:
    for text in (
        '[{"a": 1}, {"a": 2}]',
        '{"a": 1}\n{"a": 2}\n',
        '{"a": 1},\n{"a": 2}',
        '```json\n{"a": 1}\n\n{"a": 2}\n```',
        '\ufeff{"a": 1}\n{broken: yes\n{"a": 2}',
        '{"id": 1, "text": "x", "gold": {"a": 1}}\n{"id": 2, "text": "y", "gold": {"a": 2}}',
        '{"prompt": "x", "completion": "{\\"a\\": 1}"}\n{"prompt": "y", "completion": "{\\"a\\": 2}"}',
    ):
        draft = draft_schema(text)
        assert draft.source == "examples", text
        assert draft.schema["properties"] == {"a": {"type": "integer"}}
        assert draft.schema["required"] == ["a"]
    assert any("Line 2" in note for note in draft_schema('{"a": 1}\n{"a": oops}\n{"a": 2}\n').notes)


def test_no_examples() -> None:
    for text, line in (("", 0), ("hello", 1), ('\n\n{"a": }', 3), ("[1, 2]", 0), ("{}", 0)):
        with pytest.raises(SourceError) as caught:
            draft_schema(text)
        assert caught.value.line == line


def test_schemas_and_examples_are_told_apart() -> None:
    cases: list[tuple[Any, str]] = [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "schema"),
        ({"name": "x", "strict": True, "schema": {"type": "object", "properties": {"a": {}}}}, "schema"),
        ({"type": "invoice", "items": [{"a": 1}]}, "examples"),
        ({"name": "x", "parameters": {"limit": 3}}, "examples"),
        ({"type": "string", "name": "x"}, "examples"),
    ]
    for value, source in cases:
        assert draft_schema(json.dumps(value)).source == source, value


def test_a_map_with_many_names() -> None:
    values = [{"counts": {f"word{number}{extra}": number for number in range(5)}} for extra in "abc"]
    assert derived(*[value["counts"] for value in values]) == {
        "type": "object", "additionalProperties": {"type": "integer"},
    }  # fmt: skip


def test_one_draft_is_stable_under_the_order_of_fields() -> None:
    values = [{"a": 1, "b": 2}, {"a": 1, "x": 0, "b": 2}, {"first": 1, "a": 1}]
    assert list(draft_schema("\n".join(map(dumps, values))).schema["properties"]) == ["first", "a", "x", "b"]
