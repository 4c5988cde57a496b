"""Deployments and logged requests of the feedback tests."""

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from evaluation.models import Endpoint
from serving.gateway.request_log.writer import ensure_partition
from serving.models import Deployment, Release, RequestLog
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World, drawn


def deployed(world: World, **changes: Any) -> Deployment:
    """A deployment whose stable version is an external model."""
    endpoint = Endpoint.objects.create(project=world.project, name="Big", url="http://127.0.0.1:9/v1", model="big")
    number = Release.objects.filter(project=world.project).count() + 1
    release = Release.objects.create(project=world.project, number=number, endpoint=endpoint)
    found: Deployment = Deployment.objects.create(project=world.project, stable=release, **changes)
    return found


def gold_of(number: int) -> dict[str, Any]:
    """The gold label of a drawn invoice."""
    return {**drawn(40)[number].gold}


def logged(deployment: Deployment, number: int = 39, *, days: float = 0, **changes: Any) -> RequestLog:
    """A stored request for the text of a drawn invoice, answered with its gold label."""
    at = timezone.now() - timedelta(days=days)
    ensure_partition(at.date())
    sample = drawn(40)[number]
    values = {
        "id": uuid.uuid4(), "protocol": "extract", "status": 200, "valid": True, "source": "stable",
        "key_sha256": "a" * 64, "total_ms": 5, "text": sample.text, "output": dumps(gold_of(number)),
        "confidence": {name: [0.9, 0.95] for name in sample.gold}, "release": deployment.stable,
    }  # fmt: skip
    values |= changes
    return RequestLog.objects.create(day=at.date(), created_at=at, project_id=deployment.project_id, **values)
