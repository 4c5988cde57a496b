"""The ceiling: the share of gold values that are in the text, by field, never of the hold-out."""

from typing import Any

import pytest

from labeling.datasets.ceiling import MAX_LISTED, CeilingCounter, absent_values, ceiling_of
from labeling.datasets.freeze import freeze
from labeling.models import DatasetVersion
from slmstudio.contract.schema.compiled import compile_schema, loads
from tests.labeling.desk import Desk, bring_in, invoice
from tests.shared_rows import shared_fixture

SCHEMA = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "date": {"type": ["string", "null"], "format": "date"},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"amount": {"type": "number"}}}},
        "category": {"enum": ["food", "fuel"]},
        "paid": {"type": "boolean"},
        "comment": {"type": "string", "x-slm": {"kind": "free"}},
        "month": {"type": "string", "x-slm": {"evidence": "none"}},
    },
}
TEXT = "Acme Supplies, Jan 14, 2026: 12.50 and 1,300.00"
GOLD: dict[str, Any] = {
    "vendor": "ACME supplies",
    "date": "2026-01-14",
    "rows": [{"amount": 12.5}, {"amount": 1300}, {"amount": 7}, {"amount": 8}],
    "category": "fuel",
    "paid": True,
    "comment": "none",
    "month": "January",
}


def row(split: str = "train", **gold: Any) -> dict[str, Any]:
    return {"id": "a", "split": split, "text": TEXT, "gold": {**GOLD, **gold}}


def test_values_are_found_as_the_scorer_finds_them() -> None:
    counter = CeilingCounter(compile_schema(SCHEMA))
    counter.add(row(), 1)
    counter.add(row("validation", date=None, vendor=" "), 2)
    counted = counter.counts()
    assert counted["not_copied"] == {
        "category": "choice",
        "paid": "choice",
        "comment": "free",
        "month": "no_evidence",
    }
    assert counted["fields"]["vendor"]["train"] == {"values": 1, "in_text": 1, "documents": 0}
    assert counted["fields"]["rows[].amount"]["train"] == {"values": 4, "in_text": 2, "documents": 1}
    assert counted["fields"]["date"]["validation"]["values"] == 0, "null is no value"
    assert counted["fields"]["vendor"]["validation"]["values"] == 0, "neither is a blank"


def test_of_the_holdout_only_documents_are_counted() -> None:
    counter = CeilingCounter(compile_schema(SCHEMA))
    counter.add(row("holdout", vendor="Nowhere"), 1)
    counter.add(row("holdout", rows=[]), 2)
    assert counter.counts()["holdout_documents"] == 1
    fields = counter.counts()["fields"]
    assert not any(counts["values"] for splits in fields.values() for counts in splits.values())
    assert counter.text() == ""


def test_the_list_is_bounded_but_the_counts_are_not() -> None:
    counter = CeilingCounter(compile_schema(SCHEMA))
    for number in range(MAX_LISTED + 5):
        counter.add({"id": str(number), "split": "train", "text": "", "gold": {"vendor": "Acme"}}, number)
    assert counter.counts()["fields"]["vendor"]["train"]["values"] == MAX_LISTED + 5
    listed = [loads(line) for line in counter.text().splitlines()]
    assert len(listed) == MAX_LISTED
    assert listed[0] == {"document": 0, "id": "0", "split": "train", "field": "vendor", "gold": "Acme"}


@shared_fixture
def frozen(desk: Desk) -> DatasetVersion:
    rows = [invoice(number) for number in range(20)]
    for changed in rows[:6]:
        changed["gold"]["vendor"] = "Nowhere Ltd"
    bring_in(desk.project, rows)
    return freeze(project=desk.project, user=desk.people["engineer"], holdout_share=0.5)


@pytest.mark.django_db
def test_a_version_has_its_ceiling(desk: Desk, frozen: DatasetVersion) -> None:
    by_field = {field.pattern: field for field in ceiling_of(frozen)}
    outside = frozen.counts["splits"]["train"] + frozen.counts["splits"]["validation"]
    vendor = by_field["vendor"]
    assert vendor.values == outside
    assert 0 < vendor.absent == vendor.documents < outside
    assert by_field["invoice_id"].share == 1
    absent = absent_values(frozen, "vendor")
    assert vendor.absent == len(absent)
    assert {row["split"] for row in absent} <= {"train", "validation"}
    assert absent_values(frozen, "invoice_id") == []
    # A version of an earlier release has none.
    frozen.counts.pop("ceiling")
    assert ceiling_of(frozen) == []
    frozen.artifact_key = "datasets/0/dataset.jsonl"
    assert absent_values(frozen) == []


@pytest.mark.django_db
def test_pages_show_the_ceiling_and_the_documents(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("engineer")
    shown = {field.pattern: field for field in client.get(desk.url("datasets/1/")).context["ceiling"]}
    assert shown["vendor"].absent
    listed = client.get(desk.url("datasets/1/absent-values/?field=vendor"))
    assert {row["gold"] for row in listed.context["rows"]} == {"Nowhere Ltd"}
    assert desk.url(f"documents/{listed.context['rows'][0]['document']}/") in listed.content.decode()
    everything = client.get(desk.url("datasets/1/absent-values/?field=unknown&page=9"))
    assert everything.context["total"] == shown["vendor"].absent
    form = client.get(desk.url("training/new/?dataset=1"))
    assert form.context["below_ceiling"] == 1
    counted = frozen.counts["ceiling"]["holdout_documents"]
    assert counted == 6 - shown["vendor"].documents
    for page in (desk.url("datasets/1/"), desk.url("training/new/?dataset=1")):
        assert f'data-holdout-documents="{counted}"' in client.get(page).content.decode()
    answer = client.get(f"/api/v1/projects/{desk.project.slug}/datasets/1")
    assert answer.json()["counts"]["ceiling"]["fields"]["vendor"]["train"]["values"]
