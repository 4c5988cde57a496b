"""The price of proof, paid: which documents a button holds out, how many, and for whom."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.gates.holdout.sample_size import queue_labels, required_labels
from evaluation.gates.policy.services import set_policy
from evaluation.gates.services import create_report
from evaluation.models import AuditEntry, GateReport
from labeling.annotation import services as annotation_services
from labeling.annotation.queue import next_document
from labeling.datasets import freeze, holdout_sampling
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetItem, Document
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated, right

VALID = {"key": "valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.9}
HTMX = {"HX-Request": "true"}


def add_unlabelled(world: World, count: int) -> list[Document]:
    """Documents that resemble no other."""
    rows = [
        ParsedRow(number, {"id": f"new-{number:03}", "text": f"{number} " * 40 + chr(97 + number % 26) * number})
        for number in range(1, count + 1)
    ]
    assert import_rows(project=world.project, rows=rows, source="test").rejected == 0
    return list(Document.objects.filter(project=world.project, external_id__startswith="new-").order_by("pk"))


def report_of(world: World, *gates: dict[str, Any]) -> GateReport:
    """12 held-out documents, all right, judged by these gates."""
    set_policy(project=world.project, user=world.manager, gates=list(gates or (VALID,)))
    return create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)


def test_exactly_the_missing_labels_are_sampled_by_seed_and_queued(world: World) -> None:
    add_unlabelled(world, 60)
    report = report_of(world)
    (missing,) = required_labels(report)
    assert (missing.required, missing.missing, missing.allowed, missing.available) == (30, 30, 0, 60)  # 42 at 98.75%
    grown = queue_labels(report=report, key="valid", user=world.engineer, seed=5)
    held_out = Document.objects.filter(project=world.project, holdout=True, external_id__startswith="new-")
    assert sorted(held_out.values_list("pk", flat=True)) == sorted(grown.documents) != grown.documents
    assert (len(grown.documents), grown.pool) == (30, 60)
    assert {document.assigned_to for document in held_out} == {world.annotator}
    taken = next_document(project=world.project, user=world.annotator)
    assert taken is not None
    assert taken.pk in grown.documents
    entry = AuditEntry.objects.get(action="queued labels")
    assert entry.details["documents"] == grown.documents
    assert (entry.details["seed"], entry.details["gate"], entry.user) == (5, "valid", world.engineer)
    for seed, is_same in ((5, True), (6, False)):
        Document.objects.filter(external_id__startswith="new-").update(holdout=False, assigned_to=None)
        again = queue_labels(report=report, key="valid", user=world.engineer, seed=seed)
        assert (again.documents == grown.documents) is is_same


def test_pressed_by_two_at_once_it_is_paid_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is second had seen the same price, and was reading texts while the first one drew."""
    documents = add_unlabelled(world, 80)
    Document.objects.filter(pk__in=[document.pk for document in documents]).update(assigned_to=world.engineer)
    report = report_of(world)
    read = holdout_sampling.TrainingTexts.read

    def slowly(known: holdout_sampling.TrainingTexts) -> holdout_sampling.TrainingTexts:
        monkeypatch.setattr(holdout_sampling.TrainingTexts, "read", read)
        queue_labels(report=report, key="valid", user=world.owner)
        return read(known)

    monkeypatch.setattr(holdout_sampling.TrainingTexts, "read", slowly)
    with pytest.raises(Refused, match="already in the hold-out"):
        queue_labels(report=report, key="valid", user=world.engineer)
    drawn = Document.objects.filter(holdout=True, external_id__startswith="new-")
    assert drawn.count() == 30
    assert {document.assigned_to for document in drawn} == {world.engineer}, "nobody loses what they have"
    assert AuditEntry.objects.filter(action="queued labels").count() == 1


def test_the_required_labels_pass_the_gate(world: World) -> None:
    """Queue, label, freeze, evaluate, judge: the second look passes with the labels that the first one asked for."""
    add_unlabelled(world, 60)
    report = report_of(world)
    assert report.passed is False
    grown = queue_labels(report=report, key="valid", user=world.engineer, who="ana")
    empty = dict.fromkeys(("invoice_id", "date", "vendor", "total_amount"))
    for document in Document.objects.filter(pk__in=grown.documents):
        annotation_services.submit(document=document, user=world.annotator, value=empty, evidence={}, base_version=0)
    assert (required_labels(report)[0].labeled, required_labels(report)[0].is_queued) == (30, True)
    frozen = freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    assert set(frozen.items.filter(document__in=grown.documents).values_list("split", flat=True)) == {"holdout"}
    again = create_report(eval_run=evaluated(world, right, dataset=frozen), baseline=None, user=world.engineer)
    verdict = again.verdicts[0]
    assert (again.holdout_number, verdict["n"], verdict["status"], again.passed) == (2, 42, "PASS", True)


def test_never_a_training_document_nor_what_is_nearly_the_same(world: World) -> None:
    trained = list(
        DatasetItem.objects.filter(dataset=world.dataset).exclude(split="holdout").select_related("document")
    )
    rows = [
        ParsedRow(number, {"id": f"twin-{number}", "text": f"{item.document.text}\n{number}"})
        for number, item in enumerate(trained, start=1)
    ]
    assert import_rows(project=world.project, rows=rows, source="test").rejected == 0
    report = report_of(world)
    with pytest.raises(Refused, match="near-duplicates of training documents"):
        queue_labels(report=report, key="valid", user=world.engineer)
    add_unlabelled(world, 10)
    grown = queue_labels(report=report, key="valid", user=world.engineer)
    names = Document.objects.filter(pk__in=grown.documents).values_list("external_id", flat=True)
    assert {name.split("-")[0] for name in names} == {"new"}
    assert (len(grown.documents), len(grown.near)) == (10, len(trained))
    assert not DatasetItem.objects.filter(document__in=grown.documents).exists()


def test_a_slice_is_drawn_from_its_own_documents(world: World) -> None:
    add_unlabelled(world, 40)
    Document.objects.filter(external_id__startswith="new-").update(metadata={"supplier": "ACME", "pages": 3})
    Document.objects.filter(external_id__in=[f"new-{number:03}" for number in range(1, 6)]).update(
        metadata={"supplier": "Other"}
    )
    Document.objects.filter(project=world.project, holdout=True).update(metadata={"supplier": "ACME", "pages": 3})
    slices = {"a": "metadata.supplier=ACME", "b": "metadata.pages=3", "c": "metadata.pages=4"}
    report = report_of(world, *({**VALID, "key": key, "slice": name} for key, name in slices.items()))
    available = {labels.key: labels.available for labels in required_labels(report)}
    assert available == {"a": 35, "b": 35}, "documents that were not measured have no entry"
    grown = queue_labels(report=report, key="a", user=world.engineer)
    drawn = Document.objects.filter(pk__in=grown.documents)
    assert {document.metadata["supplier"] for document in drawn} == {"ACME"}


# -- the button -------------------------------------------------------------------------------------------------------


def test_an_engineer_presses_the_button(world: World, client: Client) -> None:
    documents = add_unlabelled(world, 64)
    Document.objects.filter(pk__in=[document.pk for document in documents[:4]]).update(state="in_progress")
    report = report_of(world)
    with pytest.raises(Refused, match="paul is not a member"):
        queue_labels(report=report, key="valid", user=world.engineer, who="paul")
    client.force_login(world.engineer)
    address = f"{report.get_absolute_url()}labels/valid/"
    answer = client.post(address, {"who": "erik"}, headers=HTMX)
    assertContains(answer, "30 of 60 unlabeled documents sampled")
    assertContains(answer, "All are queued")
    assert Document.objects.filter(holdout=True, assigned_to=world.engineer).count() == 30
    assertContains(client.post(address, headers=HTMX), "already in the hold-out", status_code=422)
