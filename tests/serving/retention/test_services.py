"""Retention and erasure of requests."""

import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import django_rq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.models import Document
from serving.feedback import judgments
from serving.gateway.request_log import ensure_partition
from serving.models import Deployment, Draw, Judgment, RequestLog, ReviewItem
from serving.retention import services
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.runs.reaper import reap_lost_runs
from tests.evaluation.factories import World
from tests.serving.feedback.rows import deployed, gold_of


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


@pytest.fixture
def deployment(world: World) -> Deployment:
    found: Deployment = Deployment.objects.create(project=world.project, retention_days=30)
    return found


def test_contents_are_erased_after_the_days_of_their_project(
    deployment: Deployment, django_assert_num_queries: Any
) -> None:
    project = deployment.project_id
    old, detail = request(project, days=30.01), request(project, days=40, text="", output="", detail="'Ana' is short")
    new, other = request(project, days=29.9), request(project + 1, days=50)
    assert services.erase_expired() == 2
    assert [stored(one) for one in (old, detail, new, other)] == [False, False, True, True]
    row = RequestLog.objects.get(id=old.id)
    assert (row.status, row.caller, row.total_ms) == (200, "ana", 5)  # figures stay
    with django_assert_num_queries(4):
        assert services.erase_expired() == 0


def test_many_are_erased_in_batches(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_BATCH", 2)
    for _ in range(5):
        request(deployment.project_id, days=31)
    assert services.erase_expired() == 5


def test_a_shorter_retention_erases_what_is_there(deployment: Deployment) -> None:
    row = request(deployment.project_id, days=1)
    Deployment.objects.update(retention_days=0)
    assert services.erase_expired() == 1
    assert not stored(row)


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


def test_the_reaper_passes_at_most_once_an_hour(deployment: Deployment, queues: None) -> None:
    first = request(deployment.project_id, days=31)
    reap_lost_runs()
    assert not stored(first)
    second = request(deployment.project_id, days=31)
    reap_lost_runs()
    assert stored(second)
    assert 0 < django_rq.get_connection("default").ttl("slm:serving:retention") <= services.PASS_SECONDS
    django_rq.get_connection("default").delete("slm:serving:retention")
    reap_lost_runs()
    assert not stored(second)


def test_a_caller_is_erased_with_their_shadows(world: World, deployment: Deployment) -> None:
    project = deployment.project_id
    row = request(project, days=3)
    shadow, other = request(project, shadow_of=row.id), request(project, caller="ben")
    elsewhere = request(project + 1)
    assert services.erase(project=world.project, user=world.owner, caller=" ana ") == 2
    assert [stored(one) for one in (row, shadow, other, elsewhere)] == [False, False, True, True]
    erased = RequestLog.objects.get(id=row.id)
    assert (erased.caller, erased.key_sha256) == ("", "")
    entry = AuditEntry.objects.get(action="erased")
    assert (entry.user, entry.about) == (world.owner, "requests")
    assert entry.details == {"by": "caller", "requests": 2}  # the log is kept for good: it must not name the caller


def test_requests_are_erased_by_id(world: World, deployment: Deployment) -> None:
    row, other = request(deployment.project_id), request(deployment.project_id)
    shadow = request(deployment.project_id, shadow_of=row.id, caller="")
    assert services.erase(project=world.project, user=world.owner, ids=[f"chatcmpl-{row.id}"]) == 2
    assert [stored(one) for one in (row, shadow, other)] == [False, False, True]
    assert AuditEntry.objects.get(action="erased").details["ids"] == [str(row.id)]


def test_requests_of_another_project_are_not_erased(world: World, deployment: Deployment) -> None:
    row = request(deployment.project_id + 1)
    assert services.erase(project=world.project, user=world.owner, ids=[str(row.id)]) == 0
    assert stored(row)


@pytest.mark.parametrize("who", ["annotator", "engineer", "manager", "stranger"])
def test_only_owners_erase(world: World, deployment: Deployment, who: str) -> None:
    row = request(deployment.project_id)
    with pytest.raises(Forbidden):
        services.erase(project=world.project, user=getattr(world, who), caller="ana")
    assert stored(row)


@pytest.mark.parametrize(
    ("what", "code"),
    [({}, "what"), ({"caller": "a", "ids": [str(uuid.uuid4())]}, "what"), ({"ids": ["x"]}, "id"),
     ({"caller": "  "}, "what"), ({"ids": [str(uuid.uuid4())] * 1_001}, "too_many")],
)  # fmt: skip
def test_what_to_erase_must_be_clear(world: World, what: dict[str, Any], code: str) -> None:
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
    judgments.judge(project=world.project, request=row, source="caller", output=gold_of(39), token_id=1)
    item, _ = ReviewItem.objects.get_or_create(
        project=world.project, text_sha256="a" * 64,
        defaults={"reason": "feedback", "reasons": ["feedback"], "request_id": row.id, "day": row.day},
    )  # fmt: skip
    Draw.objects.create(
        project=world.project, item=item, request_id=row.id, day=row.day, created_at=row.created_at,
        release_id=int(row.release_id or 0), probabilities={"feedback": 1.0},
    )  # fmt: skip


@pytest.fixture
def served(world: World) -> Deployment:
    """A deployment with a version."""
    return deployed(world)


def test_judgments_and_queue_items_are_erased_with_the_requests(world: World, served: Deployment) -> None:
    rows = [request(served.project_id, days=1, release=served.stable, caller=name) for name in ("ana", "ana", "ben")]
    for row in rows:
        judged(world, row)
    services.erase(project=world.project, user=world.owner, caller="ana")
    assert [one.request_id for one in Judgment.objects.all()] == [rows[2].id]
    assert [one.request_id for one in Draw.objects.all()] == [rows[2].id]
    item = ReviewItem.objects.get()
    assert (item.request_id, item.draws_count) == (rows[2].id, 1)
    services.erase(project=world.project, user=world.owner, ids=[str(rows[2].id)])
    assert [model.objects.count() for model in (Judgment, Draw, ReviewItem)] == [0, 0, 0]


def test_judgments_of_requests_that_left_the_log_are_erased_by_id(world: World, served: Deployment) -> None:
    row = request(served.project_id, days=1, release=served.stable)
    judged(world, row)
    RequestLog.objects.all().delete()
    assert services.erase(project=world.project, user=world.owner, ids=[str(row.id)]) == 0
    assert not Judgment.objects.exists()


def test_documents_that_came_of_erased_requests_are_named(world: World, served: Deployment) -> None:
    row = request(served.project_id, days=1, release=served.stable)
    judged(world, row)
    document = Document.objects.create(
        project=world.project, external_id=f"request-{row.id}", text="Ana", sha256="b" * 64, source="requests"
    )
    ReviewItem.objects.update(document=document)
    services.erase(project=world.project, user=world.owner, caller="ana")
    assert AuditEntry.objects.get(action="erased").details["documents"] == [document.external_id]
    assert Document.objects.filter(pk=document.pk).exists()


def test_corrections_and_queue_items_leave_with_the_texts(world: World, served: Deployment) -> None:
    old, new = (request(served.project_id, days=ago, release=served.stable) for ago in (29, 1))
    judged(world, new)
    judged(world, old)
    item = ReviewItem.objects.get()
    services.erase_expired()
    assert Judgment.objects.exclude(correction="").count() == 2
    Deployment.objects.update(retention_days=10)
    services.erase_expired()
    found = {one.request_id: one for one in Judgment.objects.all()}
    assert (found[old.id].correction, bool(found[new.id].correction)) == ("", True)
    assert not found[old.id].right  # figures stay
    assert ReviewItem.objects.filter(pk=item.pk).exists()  # the newer request sent the same text
    Deployment.objects.update(retention_days=0)
    services.erase_expired()
    assert not ReviewItem.objects.exists()
    assert Draw.objects.count() == 2
