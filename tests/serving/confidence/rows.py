"""A deployment with a calibrated release, and drawn answers."""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from django.utils import timezone

from evaluation.models import Endpoint
from serving.confidence import policy as policies
from serving.confidence.calibration import AnsweredDocument, JudgedField, calibrate, summary
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.models import AnswerPolicy, Deployment, Judgment, Package, PackageCalibration, RequestLog
from serving.models.review import Draw
from slmstudio.errors import Refused
from tests.evaluation.factories import World, permitted
from tests.serving.factories import approved_report, built


def deployed(world: World) -> Deployment:
    """A deployment whose stable release has a calibration of 400 sure documents and 100 unsure ones."""
    deployment_services.deploy(project=world.project, user=world.engineer, stage="full", report=approved_report(world))
    deployment = deployment_queries.find(world.project)
    assert deployment is not None
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    calibrated(built(deployment.candidate.package))
    deployment_services.finish_promotion(deployment)
    deployment = deployment_queries.find(world.project)
    assert deployment is not None
    return deployment


def calibrated(package: Package, sha256: str = "a" * 64) -> PackageCalibration:
    """A calibration in which sure values are right, and half of the others wrong."""
    documents = []
    for number in range(500):
        sure = number % 5 != 0
        fields = [
            JudgedField(name, 0.99 if sure else 0.5, False, sure or number % 2 == 0) for name in ("number", "total")
        ]
        documents.append(AnsweredDocument(f"d{number}", fields))
    fitted, records = calibrate(documents)
    row, _ = PackageCalibration.objects.update_or_create(
        package=package, defaults={
            "split": "validation", "documents": len(records), **asdict(fitted), "sha256": sha256,
            "summary": summary(fitted, records), "records": [record.to_json() for record in records],
        },
    )  # fmt: skip
    return row


def larger(world: World, **changes: Any) -> Endpoint:
    values = {"name": "Big", "url": "http://127.0.0.1:9/v1", "model": "big", **changes}
    return permitted(world, Endpoint.objects.create(project=world.project, **values))


def budget(deployment: Deployment, user: Any, **changes: Any) -> AnswerPolicy:
    values = {"budget_wrong": 1, "budget_of": 50, "min_confidence": 0.9, **changes}
    return policies.set_policy(deployment=deployment, user=user, **values)


def request(deployment: Deployment, **changes: Any) -> RequestLog:
    """An automatic answer."""
    now = timezone.now()
    values: dict[str, Any] = {
        "day": now.date(), "id": uuid.uuid4(), "created_at": now, "project_id": deployment.project_id,
        "release": deployment.stable, "source": "stable", "protocol": "extract", "status": 200, "valid": True,
        "total_ms": 5.0, "automatic": True, "key_sha256": "0" * 64, "calibrated": {"number": 0.99, "total": 0.98},
    }  # fmt: skip
    return RequestLog.objects.create(**{**values, **changes})


def audited(deployment: Deployment, **changes: Any) -> Draw:
    """An automatic answer in the uniform sample."""
    now = timezone.now()
    values = {
        "project": deployment.project, "request_id": uuid.uuid4(), "day": now.date(), "created_at": now,
        "release": deployment.stable, "reasons": ["uniform"], "uniform_probability": 0.1, "is_audited": True,
    }  # fmt: skip
    return Draw.objects.create(**{**values, **changes})


def judge(draw: Draw, *, right: bool, source: str = "reviewer") -> None:
    """A judgment, as the review queue stores it."""
    Judgment.objects.create(
        project=draw.project, request_id=draw.request_id, day=draw.day, requested_at=draw.created_at,
        release=draw.release, source=source, right=right,
    )  # fmt: skip


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code
