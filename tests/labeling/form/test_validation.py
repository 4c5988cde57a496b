"""What a person looked at and found right; and where values stand in the text."""

from typing import Any

import pytest

from labeling.form.codec import Parsed
from labeling.form.highlights import highlight
from labeling.form.merge import MISSING, value_at
from labeling.form.tree import tree_of
from labeling.form.validation import check
from slmstudio.contract.schema.compiled import compile_schema
from tests.labeling.review.test_agreement import SCHEMA, label


def test_seen_field_stores_its_value() -> None:
    value = label()
    given: dict[str, Any] = {"number": {"seen": True}, "total": {"seen": '"other"'}, "rows[1].amount": {"seen": "5"}}
    evidence = check(SCHEMA, Parsed(value), "A-1 pump 10 hose 5 15", given).evidence
    assert evidence["number"]["seen"] == '"A-1"'
    assert "seen" not in evidence["total"]
    assert evidence["rows[1].amount"]["seen"] == "5"


def test_empty_field_can_be_seen() -> None:
    evidence = check(SCHEMA, Parsed({}), "", {"total": {"seen": True}, "kind": {"seen": ""}}).evidence
    assert evidence == {"total": {"seen": ""}, "kind": {"seen": ""}}


@pytest.mark.parametrize("given", [{"a[": {"seen": True}}, {"number": "x"}, {"number": {"seen": ["x"]}}, {"": None}])
def test_invalid_evidence_is_dropped(given: dict[str, Any]) -> None:
    evidence = check(SCHEMA, Parsed(label()), "", given).evidence
    assert not any("seen" in place for place in evidence.values())


def test_the_value_at_a_path() -> None:
    assert value_at(label(), "rows[1].what") == "hose"
    assert value_at(label(), "rows[7].what") is MISSING
    assert value_at(label(), "kind.what") is MISSING
    assert value_at({"a.b": [None]}, '["a.b"][0]') is None


def test_highlights_split_the_text() -> None:
    compiled = compile_schema({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
    evidence = {
        "b": {"start": 6, "end": 9},
        "a": {"start": 0, "end": 3},
        "c": {"start": 2, "end": 5},  # shares a character with a
        "d": {"start": 9, "end": 99},
        "e": {"confirmed": True, "of": "1"},
    }
    cut = highlight("one, <two>", evidence, tree_of(compiled)).pieces
    assert [(piece.text, piece.path) for piece in cut] == [("one", "a"), (", <", ""), ("two", "b"), (">", "")]
    assert [piece.text for piece in highlight("text", {}, tree_of(compiled)).pieces] == ["text"]
    assert highlight("", {}, tree_of(compiled)).pieces == []
