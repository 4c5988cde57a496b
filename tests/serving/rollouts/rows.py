"""A deployment with a candidate, and requests as the gateway logs them."""

import hashlib
import itertools
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from serving.deployments import queries, services
from serving.gateway.routes import position
from serving.models import Deployment, RequestLog
from tests.evaluation.factories import World
from tests.serving.factories import answering, approved_report, built


def deployed(world: World) -> Deployment:
    """A stable version that answers."""
    deployment = services.deploy(
        project=world.project, user=world.engineer, stage="full", report=approved_report(world)
    )
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    built(deployment.candidate.package)
    answering(deployment.candidate)
    services.finish_promotion(deployment)
    return current(world)


def current(world: World) -> Deployment:
    """The deployment as it is now."""
    found = queries.find(world.project)
    assert found is not None
    return found


def with_candidate(world: World, stage: str = "canary", share: float | None = None) -> Deployment:
    """A stable version and an approved candidate that both answer."""
    deployed(world)
    return add_candidate(world, stage, share)


def add_candidate(world: World, stage: str = "canary", share: float | None = None) -> Deployment:
    """An approved candidate that answers, where a stable version is deployed."""
    deployment = services.deploy(
        project=world.project, user=world.engineer, stage=stage, share=share, report=approved_report(world)
    )
    assert deployment.candidate is not None
    answering(deployment.candidate)
    return current(world)


def keys(low: float, high: float) -> Iterator[str]:
    """Hashes of documents that fall into a part of the split."""
    for number in itertools.count():
        key = hashlib.sha256(str(number).encode()).hexdigest()
        if low <= position(key) < high:
            yield key


def requests(
    deployment: Deployment, number: int, *, candidate: bool, failed: int = 0, at: datetime, total_ms: float = 100.0,
    key: str = "", **changes: Any,
) -> list[RequestLog]:  # fmt: skip
    """Requests of one side of a canary; the first ``failed`` of them fail."""
    share = deployment.share
    some = keys(0, share) if candidate else keys(share, 1)
    release = deployment.candidate if candidate else deployment.stable
    rows = []
    for index in range(number):
        values: dict[str, Any] = {
            "id": uuid.uuid4(), "day": at.astimezone(UTC).date(), "created_at": at, "project_id": deployment.project_id,
            "release": release, "stage": deployment.stage, "source": "candidate" if candidate else "stable",
            "protocol": "extract", "key_sha256": key or next(some), "total_ms": total_ms,
            "status": 502 if index < failed else 200, "code": "invalid_output" if index < failed else "", **changes,
        }  # fmt: skip
        rows.append(RequestLog(**values))
    return RequestLog.objects.bulk_create(rows)


def pairs(
    deployment: Deployment, number: int, *, candidate_failed: int = 0, stable_failed: int = 0, at: datetime,
    total_ms: float = 100.0,
) -> None:  # fmt: skip
    """Requests in shadow, answered by both: the first ones fail the candidate, the last ones the stable release."""
    some = keys(0, 1)
    rows = []
    for index in range(number):
        values: dict[str, Any] = {
            "day": at.astimezone(UTC).date(), "created_at": at, "project_id": deployment.project_id, "stage": "shadow",
            "protocol": "extract", "key_sha256": next(some), "total_ms": total_ms,
        }  # fmt: skip
        first = RequestLog(
            id=uuid.uuid4(), release=deployment.stable, source="stable",
            status=502 if index >= number - stable_failed else 200, **values,
        )  # fmt: skip
        status = 502 if index < candidate_failed else 200
        copy = {"id": uuid.uuid4(), "release": deployment.candidate, "source": "candidate", "shadow_of": first.id}
        rows += [first, RequestLog(status=status, **copy, **values)]
    RequestLog.objects.bulk_create(rows)
