"""What counts as a regression, in sentences."""

from typing import Any

from evaluation.compare import compare
from evaluation.regression import gains, regressions
from tests.evaluation.test_compare import RIGHT, WRONG


def result(right_a: int, right_b: int, broken: int, n: int = 40) -> dict[str, Any]:
    """Of ``n`` documents A has the first ``right_a`` right, B all but the first ``broken`` of as many as it has."""
    a = [(f"d{i}", RIGHT if i < right_a else WRONG) for i in range(n)]
    b = [(f"d{i}", RIGHT if broken <= i < right_b + broken else WRONG) for i in range(n)]
    return compare(a, b).as_dict()


def test_what_is_no_worse_is_no_regression() -> None:
    assert regressions(result(20, 20, 0)) == []
    assert regressions(result(10, 30, 0)) == []


def test_what_could_be_luck_is_none_unless_every_document_counts() -> None:
    few = result(20, 17, 3)
    assert few["counts"]["broken"] == 3
    assert regressions(few) == []
    assert regressions(few, any_document=True) == ["3 documents broken: d0, d1, d2."]


def test_documents_and_fields_that_are_worse_by_more_than_luck_are_named() -> None:
    found = regressions(result(30, 0, 30))

    assert "Fewer documents are wholly right: 75.0 % to 0.0 %, p < 0.001 over documents." in found
    assert "total is right in 0 of 40 documents instead of 30, p < 0.001 after Holm." in found
    assert not any(sentence.startswith("date") for sentence in found)


def test_more_invented_values_are_a_regression() -> None:
    fine = {"exact": True, "schema_valid": True, "fields": [{"field": "total", "outcome": "correct"}]}
    invented = {"exact": False, "schema_valid": True, "fields": [{"field": "total", "outcome": "hallucinated"}]}
    found = regressions(compare([(str(i), fine) for i in range(9)], [(str(i), invented) for i in range(9)]).as_dict())

    assert any(sentence.startswith("More documents have something made up: 0.0 % to 100.0 %") for sentence in found)


def test_what_is_better_by_more_than_luck_is_named_too() -> None:
    assert gains(result(0, 30, 0)) == ["more fields are right", "more documents are wholly right"]
    assert gains(result(17, 20, 0)) == gains(result(30, 0, 30)) == []


def test_one_broken_pin_is_enough() -> None:
    assert regressions(result(20, 20, 0), ["d7"]) == ["1 pinned document broken: d7."]
    many = [f"p{i}" for i in range(8)]
    assert regressions(result(20, 20, 0), many) == ["8 pinned documents broken: p0, p1, p2, p3, p4 and 3 more."]
