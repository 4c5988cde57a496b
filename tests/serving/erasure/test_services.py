"""Erasure of a text in every place in which a project stores texts."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from evaluation.approvals.decisions import changed_since
from evaluation.gates.services import create_report
from evaluation.models import AuditEntry, EvalOutput, GateReport, LabelChallenge, PrelabelRun
from labeling.datasets import freeze
from labeling.datasets.queries import dataset_warnings, erased_documents
from labeling.documents.erasure import text_sha256
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import (
    AnnotationRevision,
    Comment,
    Document,
    Erasure,
    Gold,
    ImportRun,
    Page,
    Prediction,
    SavedView,
    Webhook,
    WebhookDelivery,
)
from serving.erasure import services
from serving.erasure.pattern import ErasedText
from serving.models import BatchRun, Judgment, RequestLog
from slmstudio.access import Forbidden
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from tests.evaluation.factories import World, drawn, evaluated, make_version, pretend
from tests.serving.review.rows import deployed, logged

NAME = 'Ana "Zoë" Müller-Quux'
MARK = "Quux"  # no other text of the tests has it


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('dear ana  "zoë"\n müller-quux, you', True), (json.dumps({"a": f"x\n{NAME}"}), True), ({NAME: 1}, True),
        ([[NAME]], True), (dumps({"a": NAME}), True), (f"{NAME}-Smith", False), (f"Jo{NAME.lower()}", False),
        (None, False), ({"a": Decimal("1.5")}, False),
    ],
)  # fmt: skip
def test_a_text_is_found_as_whole_words_however_it_is_written(value: Any, expected: bool) -> None:
    text = ErasedText(f" {NAME}")
    assert text.found_in(value) is expected
    assert not text.found_in(text.replaced(value)[0])


def test_a_number_is_erased_only_as_a_whole() -> None:
    assert ErasedText("4711").replaced({"key": 4711, "total": 47110}) == ({"key": None, "total": 47110}, 1)


def frozen_with_name(world: World) -> dict[str, Document]:
    """Two documents of a new dataset version with the name: a train and a hold-out one."""
    made = {}
    for number, name in ((30, "train"), (31, "holdout")):
        sample = drawn(40)[number]
        text, gold = f"{sample.text}\nFor {NAME}", {**sample.gold, "vendor": NAME}
        row = ParsedRow(1, {"id": name, "text": text, "gold": gold, "metadata": {"customer": NAME}})
        result = import_rows(project=world.project, rows=[row], source="test", as_holdout=name == "holdout")
        assert not result.rejected, result.rejects
        made[name] = Document.objects.get(external_id=name)
    world.dataset = freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    return made


def plant_rows(world: World, documents: dict[str, Document]) -> None:
    """The name in rows about documents, and in rows about none."""
    project, version = world.project, world.project.schema_version
    deletable = Document.objects.create(project=project, external_id="deletable", text=NAME, sha256="b" * 64)
    image = artifacts.store().save(f"pages/{project.pk}/x/1.txt", ContentFile(NAME.encode()))
    Page.objects.create(document=deletable, number=1, image_key=image, width=1, height=1, start=0, end=1)
    other = Document.objects.create(project=project, external_id="other", text="nothing", sha256="c" * 64)
    Comment.objects.create(document=other, user=world.owner, text=f"see {NAME}")
    Prediction.objects.create(document=other, schema_version=version, value={NAME: [NAME]}, model="m", source="s")
    LabelChallenge.objects.create(
        project=project, document=documents["train"], field="vendor", reason=f"is {NAME}", suggestion=NAME,
        revision=Gold.objects.get(document=documents["train"]).revision, created_by=world.owner,
    )  # fmt: skip
    SavedView.objects.create(project=project, user=world.owner, name="mine", query=f"q={NAME}")
    hook = Webhook.objects.create(project=project, url="https://example.com", events=["x"], created_by=world.owner)
    WebhookDelivery.objects.create(webhook=hook, event="x", payload={"text": NAME})
    key = artifacts.store().save("imports/9/rejected.jsonl", ContentFile(json.dumps({"line": NAME}).encode()))
    ImportRun.objects.create(project=project, status=Status.DONE, rejects_key=key, rejects=[{"line": NAME}])
    run = PrelabelRun.objects.create(
        project=project, number=1, schema_version=version, model_version=world.version, status=Status.DONE
    )
    artifacts.write_text(f"{run.folder_key}/documents.jsonl", dumps({"id": "train", "text": "his street"}) + "\n")
    artifacts.write_text(f"{world.training_run.folder_key}/log.txt", f"step 1\nrow of {NAME}\n")


def plant_requests(world: World) -> BatchRun:
    deployment = deployed(world)
    row = logged(deployment, text=f"for {NAME}", output=dumps({"vendor": NAME}), response=dumps({"a": NAME}))
    logged(deployment, caller=NAME, text="of a caller")
    logged(deployment, text="nothing", exchange=json.dumps({"messages": [{"content": NAME}]}))
    Judgment.objects.create(
        project=world.project, request_id=row.pk[1], day=row.day, requested_at=row.created_at, source="caller",
        right=False, correction=dumps({"vendor": NAME}),
    )  # fmt: skip
    folder = f"batches/{world.project.pk}/a"
    batch = BatchRun.objects.create(
        project=world.project, name=f"of {NAME}", status=Status.DONE, input_key=f"{folder}/input.jsonl",
        result_key=f"{folder}/result.jsonl", progress_total=2, progress_done=2,
    )  # fmt: skip
    artifacts.write_text(batch.input_key, f"{dumps({'text': 'one'})}\n{dumps({'text': NAME})}\n")
    artifacts.write_text(batch.result_key, "".join(f'{{"line":{n},"output":{{"n":{n}}}}}\n' for n in (1, 2)))
    return batch


def places_with_mark() -> list[str]:
    """Tables and files that have the name, in the whole database and the whole store."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" AS row WHERE row::text ~* %s', [MARK])
            found += [table] if cursor.fetchone()[0] else []
    root = Path(artifacts.store().path(""))
    return found + [str(path) for path in root.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()]


def approved_report(world: World) -> GateReport:
    run = evaluated(world, pretend(2, spoil=0.1))
    return create_report(eval_run=run, baseline=None, user=world.engineer)


def test_a_name_is_found_nowhere_after_its_erasure(world: World, django_capture_on_commit_callbacks: Any) -> None:
    documents = frozen_with_name(world)
    trained, _ = make_version(world.project, world.engineer, world.dataset, world.base_model)
    report = approved_report(world)
    plant_rows(world, documents)
    batch = plant_requests(world)
    before = places_with_mark()
    assert len(before) > 15, before
    preview = services.find(project=world.project, user=world.owner, text=NAME)
    assert places_with_mark() == before
    with django_capture_on_commit_callbacks(execute=True):
        erasure = services.erase(project=world.project, user=world.owner, text=NAME.lower())
    assert places_with_mark() == []
    assert {**preview.counts, "erased documents": 3} == erasure.counts
    assert erasure.sha256 == text_sha256(world.project, NAME)
    assert str(trained) in erasure.trained
    assert not Document.objects.filter(external_id="deletable").exists()
    held = Document.objects.get(pk=documents["holdout"].pk)
    assert (held.text, held.metadata, held.holdout, held.erased_at is not None) == ("", {}, True, True)
    revisions = AnnotationRevision.objects.filter(annotation__document=held)
    assert [row.value for row in revisions] == [{}] * revisions.count()
    assert not Gold.objects.filter(document=held).exists()
    assert EvalOutput.objects.get(document=held, eval_run=report.eval_run).raw == ""
    prelabeled = artifacts.local_path(f"{PrelabelRun.objects.get().folder_key}/documents.jsonl").read_text()
    assert "street" not in prelabeled
    assert sha256_file(artifacts.local_path(world.dataset.artifact_key)) != world.dataset.sha256
    results = map(json.loads, artifacts.local_path(batch.result_key).read_text().splitlines())
    assert ["error" in result for result in results] == [False, True]
    assert RequestLog.objects.filter(text="of a caller").count() == 0
    assert changed_since(report) == []  # what was approved stays approved
    assert erased_documents(world.dataset) == 2
    assert len(dataset_warnings(world.dataset, {})) == 1
    entry = AuditEntry.objects.get(action="erased")
    assert (entry.user, entry.details["counts"]) == (world.owner, erasure.counts)


def test_a_second_erasure_keeps_the_hash_that_was_frozen(world: World) -> None:
    report = approved_report(world)
    ids = list(world.dataset.items.filter(split="holdout").values_list("document__external_id", flat=True))[:2]
    for name in ids:
        services.erase(project=world.project, user=world.owner, text=name)
        assert changed_since(report) == []
    path = artifacts.local_path(world.dataset.artifact_key)
    path.write_text(path.read_text() + "\n")
    assert changed_since(report)  # a change that no erasure made


def test_only_owners_erase(world: World) -> None:
    for user in (world.annotator, world.engineer, world.manager, world.stranger):
        for service in (services.find, services.erase):
            with pytest.raises(Forbidden):
                service(project=world.project, user=user, text=NAME)


def test_what_cannot_be_erased_is_refused(world: World) -> None:
    run = ImportRun.objects.create(project=world.project, status=Status.RUNNING)
    for text, code in (("An", "length"), ("x" * 201, "length"), (NAME, "busy")):
        with pytest.raises(Refused) as refused:
            services.erase(project=world.project, user=world.owner, text=text)
        assert refused.value.code == code
    ImportRun.objects.filter(pk=run.pk).update(status=Status.DONE)
    with pytest.raises(Refused) as refused:
        services.erase(project=world.project, user=world.owner, text=NAME)
    assert refused.value.code == "nothing"
    assert not Erasure.objects.exists()


def test_revisions_are_emptied_only_with_their_document(world: World) -> None:
    revision = AnnotationRevision.objects.latest("pk")
    with pytest.raises(IntegrityError), transaction.atomic():
        AnnotationRevision.objects.filter(pk=revision.pk).update(value={}, evidence={})


def test_the_command_shows_and_erases(world: World) -> None:
    Document.objects.create(project=world.project, external_id="one", text=NAME, sha256="b" * 64)
    out = StringIO()
    call_command("erase", world.project.slug, NAME, "--dry-run", stdout=out)
    assert "1  documents" in out.getvalue()
    assert Document.objects.filter(external_id="one").exists()
    call_command("erase", world.project.slug, NAME, stdout=out)
    assert not Document.objects.filter(external_id="one").exists()
    assert Erasure.objects.get().created_by is None
    for arguments in ((world.project.slug, NAME), ("none", NAME)):
        with pytest.raises(CommandError):
            call_command("erase", *arguments, stdout=out)
