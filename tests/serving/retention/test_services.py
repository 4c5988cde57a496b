"""Retention and erasure of requests."""

import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.models import Comment, Document, Gold
from serving.captures.services import caller_group
from serving.gateway.request_log.writer import ensure_partition
from serving.models import Deployment, Draw, Judgment, RequestLog, ReviewItem
from serving.retention import services
from serving.review import judgments
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from tests.evaluation.factories import World
from tests.serving.review.rows import deployed, gold_of
from tests.shared_rows import shared_fixture


def request(project_id: int, *, days: float = 0, **changes: Any) -> RequestLog:
    """A stored request of so many days ago."""
    at = timezone.now() - timedelta(days=days)
    ensure_partition(at.date())
    values = {
        "id": uuid.uuid4(), "protocol": "extract", "status": 200, "key_sha256": "a" * 64, "total_ms": 5, "text": "Ana",
        "output": '{"name":"Ana"}', "detail": "", "caller": "ana", "confidence": {"name": [0.9, 0.9]},
    }  # fmt: skip
    return RequestLog.objects.create(day=at.date(), created_at=at, project_id=project_id, **{**values, **changes})


def stored(row: RequestLog) -> bool:
    row = RequestLog.objects.get(day=row.day, id=row.id)
    return bool(row.text or row.output or row.detail or row.confidence)


def days() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname ~ '^serving_requestlog_[0-9]{8}$'")
        return {name[-8:] for (name,) in cursor.fetchall()}


def partition(ago: int) -> str:
    return f"{timezone.now().date() - timedelta(days=ago):%Y%m%d}"


@shared_fixture
def deployment(world: World) -> Deployment:
    row: Deployment = Deployment.objects.create(project=world.project, retention_days=30)
    return row


def test_contents_are_erased_after_the_days_of_their_project(
    deployment: Deployment, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_BATCH", 1)
    project = deployment.project_id
    old, detail = request(project, days=30.01), request(project, days=40, text="", output="", detail="'Ana' is short")
    new, other = request(project, days=29.9), request(project + 1, days=50)
    assert services.erase_expired() == 2
    assert [stored(row) for row in (old, detail, new, other)] == [False, False, True, True]
    row = RequestLog.objects.get(id=old.id)
    assert (row.status, row.caller, row.total_ms) == (200, "ana", 5)  # figures stay
    with django_assert_num_queries(4):
        assert services.erase_expired() == 0
    Deployment.objects.update(retention_days=29)  # a shorter time counts for what is there
    assert services.erase_expired() == 1
    assert [stored(row) for row in (new, other)] == [False, True]


def test_days_are_dropped_after_ninety_or_the_longest_retention(deployment: Deployment) -> None:
    project = deployment.project_id
    for ago in (89, 92, 130):
        request(project, days=ago)
    Deployment.objects.update(retention_days=120)
    services.drop_old_partitions()
    assert {partition(89), partition(92)} <= days()
    assert partition(130) not in days()
    Deployment.objects.update(retention_days=30)
    services.drop_old_partitions()
    assert partition(89) in days()
    assert partition(92) not in days()
    assert RequestLog.objects.filter(project_id=project).count() == 1


def test_a_caller_is_erased_with_their_shadows(world: World, deployment: Deployment) -> None:
    project = deployment.project_id
    row = request(project, days=3)
    shadow, other = request(project, shadow_of=row.id), request(project, caller="ben")
    elsewhere = request(project + 1)
    assert services.erase(project=world.project, user=world.owner, caller=" ana ").requests == 2
    assert [stored(row) for row in (row, shadow, other, elsewhere)] == [False, False, True, True]
    erased = RequestLog.objects.get(id=row.id)
    assert (erased.caller, erased.key_sha256) == ("", "")
    entry = AuditEntry.objects.get(action="erased")
    assert (entry.user, entry.about) == (world.owner, "requests")
    assert entry.details == {"by": "caller", "requests": 2}  # the log is kept for good: it must not name the caller


def test_requests_are_erased_by_id(world: World, deployment: Deployment) -> None:
    row, other = request(deployment.project_id), request(deployment.project_id)
    elsewhere = request(deployment.project_id + 1)
    assert services.erase(project=world.project, user=world.owner, ids=[str(elsewhere.id)]).requests == 0
    assert stored(elsewhere)
    shadow = request(deployment.project_id, shadow_of=row.id, caller="")
    assert services.erase(project=world.project, user=world.owner, ids=[f"chatcmpl-{row.id}"]).requests == 2
    assert [stored(row) for row in (row, shadow, other)] == [False, False, True]
    assert AuditEntry.objects.filter(action="erased").latest("pk").details["ids"] == [str(row.id)]


def test_only_owners_erase(world: World, deployment: Deployment) -> None:
    row = request(deployment.project_id)
    for user in (world.annotator, world.engineer, world.manager, world.stranger):
        with pytest.raises(Forbidden):
            services.erase(project=world.project, user=user, caller="ana")
    assert stored(row)


def test_what_to_erase_must_be_clear(world: World) -> None:
    unclear: list[tuple[dict[str, Any], str]] = [
        ({}, "what"), ({"caller": "a", "ids": [str(uuid.uuid4())]}, "what"), ({"ids": ["x"]}, "id"),
        ({"caller": "  "}, "what"), ({"ids": [str(uuid.uuid4())] * 1_001}, "too_many"),
    ]  # fmt: skip
    for what, code in unclear:
        with pytest.raises(Refused) as caught:
            services.erase(project=world.project, user=world.owner, **what)
        assert caught.value.code == code


def test_the_command_erases(world: World, deployment: Deployment) -> None:
    row, out = request(deployment.project_id), StringIO()
    call_command("erase_requests", "--project", "invoices", "--request", str(row.id), stdout=out)
    assert out.getvalue().startswith("1 ")
    assert not stored(row)
    assert AuditEntry.objects.get(action="erased").user is None
    for arguments in (
        ("--project", "none", "--caller", "a"),
        ("--project", "invoices", "--caller", "a", "--user", "nobody"),
        ("--project", "invoices", "--caller", "a", "--user", world.engineer.username),
        ("--project", "invoices", "--request", "x"),
    ):
        with pytest.raises(CommandError):
            call_command("erase_requests", *arguments, stdout=out)


def judged(world: World, row: RequestLog) -> None:
    """A judgment of a request with a correction, and its place in the review queue."""
    judgments.judge(project=world.project, request=row, right=None, output=gold_of(39), token_id=1)
    item, _ = ReviewItem.objects.get_or_create(
        project=world.project, text_sha256="a" * 64,
        defaults={"reason": "feedback", "reasons": ["feedback"], "request_id": row.id, "day": row.day},
    )  # fmt: skip
    Draw.objects.create(
        project=world.project, item=item, request_id=row.id, day=row.day, created_at=row.created_at,
        release_id=int(row.release_id or 0), reasons=["feedback"],
    )  # fmt: skip


@shared_fixture
def served(world: World) -> Deployment:
    """A deployment with a version."""
    return deployed(world)


def test_judgments_and_queue_items_are_erased_with_the_requests(world: World, served: Deployment) -> None:
    rows = [request(served.project_id, days=1, release=served.stable, caller=name) for name in ("ana", "ana", "ben")]
    for row in rows:
        judged(world, row)
    services.erase(project=world.project, user=world.owner, caller="ana")
    assert [row.request_id for row in Judgment.objects.all()] == [rows[2].id]
    assert [row.request_id for row in Draw.objects.all()] == [rows[2].id]
    item = ReviewItem.objects.get()
    assert (item.request_id, item.draws_count) == (rows[2].id, 1)
    RequestLog.objects.all().delete()  # by id also those that left the log
    assert services.erase(project=world.project, user=world.owner, ids=[str(rows[2].id)]).requests == 0
    assert [model.objects.count() for model in (Judgment, Draw, ReviewItem)] == [0, 0, 0]


def made(world: World, name: str, source: str = "captured traffic", **metadata: str) -> Document:
    """A document that was made of a request."""
    document: Document = Document.objects.create(
        project=world.project, external_id=name, text=name, sha256=sha256_text(name), source=source, metadata=metadata
    )
    Comment.objects.create(document=document, text="A note.")
    return document


def test_documents_leave_with_their_requests(world: World, served: Deployment) -> None:
    row = request(served.project_id, days=1, release=served.stable)
    other = request(served.project_id, days=1, release=served.stable, caller="ben")
    judged(world, row)
    reviewed = made(world, "reviewed", "requests", request=str(uuid.uuid4()))
    ReviewItem.objects.update(document=reviewed)
    made(world, "collected", request_id=str(row.id))
    # Its request is no longer in the log.
    made(world, "older", request_id=str(uuid.uuid4()), caller_group=caller_group(world.project.pk, "ana"))
    kept = made(world, "of another", request_id=str(other.id), caller_group=caller_group(world.project.pk, "ben"))
    imported = made(world, "imported", "receipts.jsonl", request_id=str(row.id))
    erased = services.erase(project=world.project, user=world.owner, caller="ana").documents
    assert sorted(erased.documents) == ["collected", "older", "reviewed"]
    assert not Document.objects.filter(external_id__in=erased.documents).exists()
    assert Document.objects.filter(pk__in=[kept.pk, imported.pk]).count() == 2
    assert sorted(AuditEntry.objects.get(action="erased").details["documents"]) == sorted(erased.documents)


def test_documents_with_gold_are_counted_and_erased_only_on_request(world: World, served: Deployment) -> None:
    row = request(served.project_id, days=1, release=served.stable)
    golds = Document.objects.filter(project=world.project, golds__isnull=False)
    in_use = golds.filter(dataset_items__isnull=False).first()
    assert in_use is not None
    free = made(world, "free")
    revision = Gold.objects.filter(document=in_use).get().revision
    Gold.objects.create(
        document=free, schema_version=world.project.schema_version, revision=revision, origin="human"
    )  # fmt: skip
    ids = [free.pk, in_use.pk]
    Document.objects.filter(pk__in=ids).update(source="captured traffic", metadata={"request_id": str(row.id)})
    out = StringIO()
    call_command("erase_requests", "--project", "invoices", "--request", str(row.id), stdout=out)
    assert Document.objects.filter(pk__in=ids).count() == 2
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    call_command("erase_requests", "--project", "invoices", "--request", str(row.id), "--with-gold", stdout=out)
    assert list(Document.objects.filter(pk__in=ids)) == [in_use]
    assert Gold.objects.filter(document=in_use).exists()
    assert AuditEntry.objects.filter(action="erased").order_by("-pk")[0].details["in_use"] == [in_use.external_id]


def test_corrections_and_queue_items_leave_with_the_texts(world: World, served: Deployment) -> None:
    old, new = (request(served.project_id, days=ago, release=served.stable) for ago in (29, 1))
    judged(world, new)
    judged(world, old)
    item = ReviewItem.objects.get()
    services.erase_expired()
    assert Judgment.objects.exclude(correction="").count() == 2
    Deployment.objects.update(retention_days=10)
    services.erase_expired()
    judgments_of = {row.request_id: row for row in Judgment.objects.all()}
    assert (judgments_of[old.id].correction, bool(judgments_of[new.id].correction)) == ("", True)
    assert not judgments_of[old.id].right  # figures stay
    assert ReviewItem.objects.filter(pk=item.pk).exists()  # the newer request sent the same text
    Deployment.objects.update(retention_days=0)
    services.erase_expired()
    assert not ReviewItem.objects.exists()
    assert Draw.objects.count() == 2
