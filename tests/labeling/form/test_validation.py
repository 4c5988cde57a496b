"""What a person looked at and found right; and where values stand in the text."""

from typing import Any

from labeling.form.codec import Parsed
from labeling.form.merge import MISSING, value_at
from labeling.form.validation import check
from tests.labeling.review.test_agreement import SCHEMA, label


def test_seen_field_stores_its_value() -> None:
    value = label()
    given: dict[str, Any] = {"number": {"seen": True}, "total": {"seen": '"other"'}, "rows[1].amount": {"seen": "5"}}
    evidence = check(SCHEMA, Parsed(value), "A-1 pump 10 hose 5 15", given).evidence
    assert evidence["number"]["seen"] == '"A-1"'
    assert "seen" not in evidence["total"]
    assert evidence["rows[1].amount"]["seen"] == "5"
    empty = check(SCHEMA, Parsed({}), "", {"total": {"seen": True}, "kind": {"seen": ""}}).evidence
    assert empty == {"total": {"seen": ""}, "kind": {"seen": ""}}


def test_invalid_evidence_is_dropped() -> None:
    invalid: list[dict[str, Any]] = [{"a[": {"seen": True}}, {"number": "x"}, {"number": {"seen": ["x"]}}, {"": None}]
    for given in invalid:
        evidence = check(SCHEMA, Parsed(label()), "", given).evidence
        assert not any("seen" in place for place in evidence.values())


def test_the_value_at_a_path() -> None:
    assert value_at(label(), "rows[1].what") == "hose"
    assert value_at(label(), "rows[7].what") is MISSING
    assert value_at(label(), "kind.what") is MISSING
    assert value_at({"a.b": [None]}, '["a.b"][0]') is None
