"""The columns of a comparison: every document in one character each, filtered without loading any."""

from typing import Any

from evaluation.comparison.document_filter import (
    ABSENT,
    MAX_VALUES,
    DocumentColumns,
    DocumentFilter,
    select_documents,
)

CASES = DocumentColumns(
    keys=("d1", "d2", "d3", "d4"),
    state="bfwr",
    fields={"total": "bfwr", "date": "r-br"},
    errors={"missing": "0123", "hallucinated": "0000"},
).about(
    tags={"d1": ["ocr_noise"], "d3": ["ocr_noise", "long_document"]},
    metadata={
        "d1": {"supplier": "ACME", "page=s": 2},
        "d2": {"supplier": "ACME"},
        "d3": {"supplier": "Bolt", "page=s": 3},
    },
    other_gold=["d4", "elsewhere"],
)


def keys(**wanted: Any) -> list[str]:
    return [CASES.keys[place] for place, _ in select_documents(CASES, DocumentFilter(**wanted))]


def test_documents_are_listed_broken_first_by_their_state_in_all_or_in_one_field() -> None:
    assert select_documents(CASES, DocumentFilter()) == [
        (0, "broken"),
        (1, "fixed"),
        (2, "still_wrong"),
        (3, "still_right"),
    ]
    assert select_documents(CASES, DocumentFilter(field="date")) == [
        (2, "broken"),
        (0, "still_right"),
        (3, "still_right"),
    ]
    assert keys(field="date", state="still_right") == ["d1", "d4"]
    assert (keys(field="nothing"), keys(gold=True)) == ([], ["d4"])
    assert select_documents(DocumentColumns(("d",), "r", {}, {}), DocumentFilter(gold=True)) == []
    assert CASES.changed(2) == {"total": "still_wrong", "date": "broken"}
    assert CASES.changed(3) == {}
    assert DocumentColumns.of(CASES.as_dict()) == CASES


def test_an_error_is_looked_for_in_one_run_or_in_either() -> None:
    for side, expected in (("a", ["d2", "d4"]), ("b", ["d3", "d4"]), ("", ["d2", "d3", "d4"])):
        assert keys(error="missing", side=side) == expected
        assert keys(error="hallucinated", side=side) == keys(error="no such error", side=side) == []


def test_tags_and_metadata_narrow_the_list() -> None:
    assert keys(tag="ocr_noise") == ["d1", "d3"]
    assert keys(slice="metadata.supplier=ACME") == ["d1", "d2"]
    assert keys(tag="ocr_noise", slice="metadata.supplier=ACME", state="broken") == ["d1"]
    assert keys(slice="metadata.page=s=2") == ["d1"]  # a key with an equals sign in it
    assert keys(slice="metadata.supplier=Nobody") == keys(slice="nonsense") == keys(tag="no such tag") == []


def test_only_keys_that_sort_documents_into_few_kinds_are_slices() -> None:
    names = [f"d{i}" for i in range(100)]
    metadata = {
        name: {
            "file": f"{name}.pdf",  # another for each
            "batch": "same for all",
            "supplier": f"supplier {i % 5}",
            "many": f"{i % (MAX_VALUES + 1):02}",
            "urgent": i % 2 == 0,
            "lines": [1, 2],
            "note": "x" * 500 if i % 2 else "y",
        }
        for i, name in enumerate(names)
    }
    columns = DocumentColumns(tuple(names), "r" * 100, {}, {}).about(tags={}, metadata=metadata)

    assert sorted(columns.metadata) == ["many", "note", "supplier", "urgent"]
    assert columns.metadata["urgent"]["values"] == ["false", "true"]
    assert columns.metadata["note"]["values"] == ["y"]  # a text too long for a name is no value
    assert [(value, len(places)) for key, value, places in columns.slices() if key == "supplier"] == [
        (f"supplier {i}", 20) for i in range(5)
    ]
    # Of too many values the most frequent: 00 to 06 occur four times, the others three.
    assert columns.metadata["many"]["values"] == [f"{i:02}" for i in range(MAX_VALUES)]
    assert columns.metadata["many"]["at"].count(ABSENT) == 3
    assert len(select_documents(columns, DocumentFilter(slice="metadata.many=00"))) == 4
    assert select_documents(columns, DocumentFilter(slice="metadata.many=30")) == []
