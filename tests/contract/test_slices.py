"""Figures of the documents with a tag, and of those with a value in their metadata."""

from decimal import Decimal
from typing import Any

import pytest

from slmstudio.contract.schema import compile_schema, dumps
from slmstudio.contract.scoring import DocumentScore, metadata_slices, score_document, slices, summarise
from slmstudio.contract.slices import MOST_KEYS, MOST_VALUES
from tests.contract.samples import object_schema

SCHEMA = compile_schema(object_schema({"a": {"type": "string"}, "b": {"type": ["string", "null"]}}))


def _score(right: bool) -> DocumentScore:
    return score_document(SCHEMA, text="", gold={"a": "x"}, raw=dumps({"a": "x" if right else "y"}))


SCORES = [_score(True), _score(False), _score(True), score_document(SCHEMA, text="", gold={"a": "x", "b": "z"}, raw="")]


def test_a_slice_has_the_figures_of_its_documents_alone() -> None:
    found = slices(SCORES, [["hard"], ["hard", "long"], [], ["long", "long"]])
    assert list(found) == ["hard", "long"]
    for label, part in (("hard", SCORES[:2]), ("long", [SCORES[1], SCORES[3]])):
        whole = summarise(part)
        names = ("documents", "schema_valid", "field_exact", "document_exact")
        assert found[label] == {name: whole[name] for name in names}


def test_labels_belong_to_their_scores() -> None:
    with pytest.raises(ValueError):
        slices(SCORES, [["hard"]])


def test_metadata_gives_a_slice_for_every_value_of_a_key() -> None:
    known: list[dict[str, Any] | None] = [
        {"supplier": "ACME", "pages": 1, "scanned": True, "boxes": [1]},
        {"supplier": "Bolt", "pages": Decimal(2), "scanned": False},
        {"supplier": "ACME", "pages": 1, "only": "one"},
        None,
    ]
    found = metadata_slices(SCORES, known)
    assert {key: list(values) for key, values in found.items()} == {
        "pages": ["1", "2"],
        "scanned": ["false", "true"],
        "supplier": ["ACME", "Bolt"],
    }
    assert found["supplier"]["ACME"]["documents"] == 2
    assert found["supplier"]["ACME"]["field_exact"]["rate"] == 1.0
    assert found["supplier"]["Bolt"]["document_exact"]["k"] == 0


def test_keys_that_tell_nothing_apart_or_too_much_are_left_out() -> None:
    scores = [SCORES[0]] * (MOST_VALUES + 1)
    many = [{"id": str(index), "same": "x", "long": "y" * (61 + index % 2)} for index in range(len(scores))]
    assert metadata_slices(scores, many) == {}
    keys = [{f"k{key:02}": str(index % 2) for key in range(20)} for index in range(len(scores))]
    assert len(metadata_slices(scores, keys)) == MOST_KEYS
