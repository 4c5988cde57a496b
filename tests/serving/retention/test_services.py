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
from serving.gateway.request_log import ensure_partition
from serving.models import Deployment, RequestLog
from serving.retention import services
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.runs.reaper import reap_lost_runs
from tests.evaluation.factories import World


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
    with django_assert_num_queries(2):
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
