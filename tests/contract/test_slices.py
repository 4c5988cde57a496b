"""Metrics of documents with a tag or a metadata value."""

from decimal import Decimal
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import compile_schema, dumps
from slmstudio.contract.scoring.scorer import DocumentScore, metadata_slices, score_document, slices, summarize
from slmstudio.contract.scoring.summary import MAX_KEYS, MAX_VALUES, OTHER
from tests.contract.samples import object_schema

SCHEMA = compile_schema(object_schema({"a": {"type": "string"}, "b": {"type": ["string", "null"]}}))


def _score(right: bool) -> DocumentScore:
    return score_document(SCHEMA, text="", gold={"a": "x"}, raw=dumps({"a": "x" if right else "y"}))


SCORES = [_score(True), _score(False), _score(True), score_document(SCHEMA, text="", gold={"a": "x", "b": "z"}, raw="")]


def test_a_slice_has_the_metrics_of_its_documents() -> None:
    by_tag = slices(SCORES, [["hard"], ["hard", "long"], [], ["long", "long"]])
    assert list(by_tag) == ["hard", "long"]
    for label, part in (("hard", SCORES[:2]), ("long", [SCORES[1], SCORES[3]])):
        whole = summarize(part)
        names = ("documents", "schema_valid", "field_exact", "document_exact")
        assert by_tag[label] == {name: whole[name] for name in names}
    with pytest.raises(ValueError):
        slices(SCORES, [["hard"]])


def test_slices_by_metadata_value() -> None:
    known: list[dict[str, Any] | None] = [
        {"supplier": "ACME", "pages": 1, "scanned": True, "boxes": [1]},
        {"supplier": "Bolt", "pages": Decimal(2), "scanned": False},
        {"supplier": "ACME", "pages": 1, "only": "one"},
        None,
    ]
    by_key = metadata_slices(SCORES, known)
    assert {key: list(values) for key, values in by_key.items()} == {
        "pages": ["1", "2"],
        "scanned": ["false", "true"],
        "supplier": ["ACME", "Bolt"],
    }
    assert by_key["supplier"]["ACME"]["documents"] == 2
    assert by_key["supplier"]["ACME"]["field_exact"]["rate"] == 1.0
    assert by_key["supplier"]["Bolt"]["document_exact"]["k"] == 0


def test_rare_values_share_a_slice() -> None:
    pairs = [f"pair {number:02}" for number in range(40)]
    names = ["ACME"] * 40 + 2 * pairs + [f"alone {number}" for number in range(20)]
    scores = [SCORES[number % 2] for number in range(len(names))]
    by_value = metadata_slices(scores, [*({"supplier": name} for name in names[:-1]), {"supplier": "z" * 61}])[
        "supplier"
    ]
    assert set(by_value) == {OTHER, "ACME", *pairs[: MAX_VALUES - 1]}
    assert (by_value["ACME"]["documents"], by_value["ACME"]["document_exact"]["k"]) == (40, 20)
    assert by_value[OTHER]["documents"] == 2 * len(pairs[MAX_VALUES - 1 :]) + 20
    assert sum(part["documents"] for part in by_value.values()) == len(names)


def test_complete_keys_precede_partial_ones() -> None:
    scores = [SCORES[0]] * 80
    some = [{"a": str(index % 40)} for index in range(80)]
    assert len(metadata_slices(scores, some)["a"]) == MAX_VALUES + 1
    both = [{**row, **{f"k{key:02}": str(index % 2) for key in range(MAX_KEYS)}} for index, row in enumerate(some)]
    by_key = metadata_slices(scores, both)
    assert [key for key, values in by_key.items() if not values] == ["a"]


def test_constant_and_unique_metadata_keys_have_no_slices() -> None:
    scores = [SCORES[0]] * (MAX_VALUES + 1)
    many = [{"id": str(index), "same": "x", "long": "y" * (61 + index % 2)} for index in range(len(scores))]
    assert metadata_slices(scores, many) == {"id": {}, "long": {}}
    keys = [{f"k{key:02}": str(index % 2) for key in range(20)} for index in range(len(scores))]
    by_key = metadata_slices(scores, keys)
    assert [key for key, values in by_key.items() if values] == [f"k{key:02}" for key in range(MAX_KEYS)]
    assert len(by_key) == 20
