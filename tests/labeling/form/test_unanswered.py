"""Unanswered optional fields differ from fields that are absent from the document."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling.annotation import services as annotation_services
from labeling.datasets import freeze
from labeling.form.tree import tree_of
from labeling.form.validation import empty_optional_fields, unanswered_fields, with_absent_evidence
from labeling.models import Annotation, AnnotationRevision, Document, Gold
from slmstudio.contract.schema.compiled import compile_schema
from tests.contract.samples import object_schema
from tests.labeling.api_client import api_of
from tests.labeling.desk import bring_in
from tests.labeling.label_desk import TEXT, Desk, gold, make_desk
from tests.shared_rows import shared_fixture

ENTRY = {"invoice_id": "A-1029", "date": "Jan 14, 2026", "vendor": "Acme Supplies", "total_amount": "1,248.50"}
OPTIONAL = ["due_date", "purchase_order"]
ABSENT = {"absent": True}


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def client(desk: Desk) -> Client:
    client = Client()
    client.force_login(desk.ana)
    return client


def save(client: Client, document: Document, entry: Any, base: int = 0, **more: Any) -> Any:
    body = {"entry": entry, "evidence": {}, "base_version": base, "schema": 1, "seconds": 1, "submit": False, **more}
    return client.post(reverse("label_save", args=["desk", document.pk]), json.dumps(body), "application/json")


def state(client: Client, document: Document) -> Any:
    return client.get(reverse("label_state", args=["desk", document.pk])).json()


def test_empty_optional_fields_are_found() -> None:
    text = {"type": "string"}
    person = {"type": "object", "properties": {"name": text, "email": {"type": ["string", "null"]}}}
    schema = object_schema(
        {
            "must": text,
            "may": text,
            "group": person,
            "rows": {"type": "array", "items": {**person, "required": ["name"]}},
            "either": {"anyOf": [{"type": "object", "properties": {"a": text}, "required": ["a"]}, person]},
        }
    )
    schema["required"] = ["must"]
    node = tree_of(compile_schema(schema))
    assert list(empty_optional_fields(node, {})) == ["may", "group", "rows", "either"]
    value = {"may": "x", "group": {"name": "A"}, "rows": [{"name": "B"}, {"email": None}], "either": {"a": "1"}}
    assert list(empty_optional_fields(node, value)) == ["group.email", "rows[0].email"]
    evidence = {"group.email": ABSENT, "may": ABSENT}
    assert unanswered_fields(node, value, evidence) == ["rows[0].email"]
    assert unanswered_fields(node, value, with_absent_evidence(node, value, evidence)) == []


def test_submit_asks_once_about_empty_fields(desk: Desk, client: Client) -> None:
    document = desk.document()
    answer = save(client, document, ENTRY, submit=True, asked=[])
    assert (answer.status_code, answer.json()["unanswered"], answer.json()["problems"]) == (422, OPTIONAL, [])
    assert not Gold.objects.exists()
    evidence = {"due_date": ABSENT}
    answer = save(client, document, ENTRY, 1, submit=True, asked=[], evidence=evidence)
    assert (answer.status_code, answer.json()["unanswered"]) == (422, ["purchase_order"])
    assert state(client, document)["evidence"]["due_date"] == ABSENT
    # Asked about it before, the person leaves it open.
    answer = save(client, document, ENTRY, 2, submit=True, asked=["purchase_order"], evidence=evidence)
    assert answer.status_code == 200
    revision = Gold.objects.get().revision
    assert revision.value == gold()
    assert (revision.evidence["due_date"], "purchase_order" in revision.evidence) == (ABSENT, False)


def test_value_replaces_absent_mark_and_the_json_view_keeps_it(desk: Desk, client: Client) -> None:
    document = desk.document()
    entry = {**ENTRY, "purchase_order": "A-1029"}
    evidence = {"purchase_order": ABSENT, "due_date": ABSENT}
    answer = save(client, document, entry, submit=True, asked=[], evidence=evidence)
    assert answer.status_code == 200
    kept = Gold.objects.get().revision.evidence
    assert ("absent" in kept["purchase_order"], kept["due_date"]) == (False, ABSENT)
    typed = desk.document()  # in the JSON view
    text, marks = json.dumps(dict.fromkeys(ENTRY)), dict.fromkeys(OPTIONAL, ABSENT)
    answer = save(client, typed, None, json=text, submit=True, asked=[], evidence=marks)
    assert answer.status_code == 200
    kept = Gold.objects.get(document=typed).revision.evidence
    assert {path: kept[path] for path in OPTIONAL} == marks


def test_absent_marks_survive_merge_and_restore(desk: Desk, client: Client) -> None:
    document = desk.document()
    save(client, document, ENTRY, evidence={"due_date": ABSENT})
    ben = Client()
    ben.force_login(desk.ben)
    merged = save(ben, document, {"vendor": "Acme Supplies"}, evidence={"purchase_order": ABSENT}).json()
    assert merged["unanswered"] == []
    first = AnnotationRevision.objects.order_by("pk").first()
    assert first is not None
    saved = annotation_services.restore(document=document, user=desk.ana, revision_id=first.pk, base_version=2)
    assert saved.checks.evidence["due_date"] == ABSENT


def test_program_submits_mark_absent_fields(desk: Desk) -> None:
    document = desk.document()
    api = api_of(desk.project, desk.ana)
    assert api.post(f"documents/{document.pk}/submit", {"value": gold(), "base_version": 0}).status == 200
    evidence = Annotation.objects.get().evidence
    assert [evidence[path] for path in OPTIONAL] == [ABSENT, ABSENT]


def test_predictions_and_imports_mark_absent_fields(desk: Desk, client: Client) -> None:
    from tests.browser.labeling import predict

    predicted = desk.document()
    predict(predicted, {}, due_date=None)
    assert state(client, predicted)["unanswered"] == []
    bring_in(desk.project, [{"id": "imported", "text": f"{TEXT} imported", "gold": {**gold(), "total_amount": 1248.5}}])
    imported = Document.objects.get(external_id="imported")
    assert state(client, imported)["unanswered"] == []
    # A draft of a person is asked about.
    drafted = desk.document("A draft.")
    save(client, drafted, ENTRY)
    assert state(client, drafted)["unanswered"] == OPTIONAL


def test_dataset_counts_unanswered_fields(desk: Desk, client: Client) -> None:
    rows = [
        {"id": f"imported-{number}", "text": f"{TEXT} {number}", "gold": {**gold(), "total_amount": 1248.5}}
        for number in range(4)
    ]
    bring_in(desk.project, rows)
    for number, evidence in enumerate(({}, {"due_date": ABSENT}, dict.fromkeys(OPTIONAL, ABSENT))):
        document = desk.document(f"{TEXT} by hand {number}")
        assert save(client, document, ENTRY, submit=True, asked=OPTIONAL, evidence=evidence).status_code == 200
    dataset = freeze.freeze(project=desk.project, user=desk.owner, holdout_share=0)
    assert dataset.counts["unanswered"] == {"due_date": 1, "purchase_order": 2}
    page = client.get(dataset.get_absolute_url())
    shown = [(field["title"], field["count"], len(field["documents"])) for field in page.context["unanswered"]]
    assert shown == [("Purchase order", 2, 2), ("Due date", 1, 1)]
