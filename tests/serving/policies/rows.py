"""A deployment with a calibrated release, and requests of its log."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from evaluation.models import Endpoint
from serving.confidence import report
from serving.confidence.records import AnsweredDocument, calibrate
from serving.confidence.signals import JudgedField, Signals
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.models import AnswerPolicy, Deployment, Package, PackageCalibration, RequestLog
from serving.policies import services
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving.factories import approved_report, built


def deployed(world: World) -> Deployment:
    """A deployment whose stable release has a calibration of 400 sure documents and 100 unsure ones."""
    deployment_services.deploy(project=world.project, user=world.engineer, stage="full", report=approved_report(world))
    found = deployment_queries.find(world.project)
    assert found is not None
    assert found.candidate is not None
    assert found.candidate.package is not None
    calibrated(built(found.candidate.package))
    deployment_services.finish_promotion(found)
    found = deployment_queries.find(world.project)
    assert found is not None
    return found


def calibrated(package: Package, sha256: str = "a" * 64) -> PackageCalibration:
    """A calibration in which sure values are right, and half of the others wrong."""
    documents = []
    for number in range(500):
        sure = number % 5 != 0
        signals = Signals(0.99 if sure else 0.5, mean=0.99)
        fields = [JudgedField(name, signals, sure or number % 2 == 0) for name in ("number", "total")]
        documents.append(AnsweredDocument(f"d{number}", fields))
    fitted, records = calibrate(documents)
    row, _ = PackageCalibration.objects.update_or_create(
        package=package, defaults={
            "split": "validation", "documents": len(records), "fits": fitted.as_dict(), "sha256": sha256,
            "summary": report.summary(fitted, records), "records": [one.to_json() for one in records],
        },
    )  # fmt: skip
    return row


def larger(world: World, **changes: Any) -> Endpoint:
    values = {"name": "Big", "url": "http://127.0.0.1:9/v1", "model": "big", **changes}
    return Endpoint.objects.create(project=world.project, **values)


def budget(deployment: Deployment, user: Any, **changes: Any) -> AnswerPolicy:
    values = {"budget_wrong": 1, "budget_of": 50, "budget_unit": "document", "audit_share": 1.0, **changes}
    return services.set_policy(deployment=deployment, user=user, **values)


def request(deployment: Deployment, **changes: Any) -> RequestLog:
    """An automatic answer that was drawn for the audit."""
    now = timezone.now()
    values: dict[str, Any] = {
        "day": now.date(), "id": uuid.uuid4(), "created_at": now, "project_id": deployment.project_id,
        "release": deployment.stable, "source": "stable", "protocol": "extract", "status": 200, "valid": True,
        "total_ms": 5.0, "automatic": True, "audited": True, "audit_probability": 1.0, "key_sha256": "0" * 64,
        "calibrated": {"number": 0.99, "total": 0.98},
    }  # fmt: skip
    return RequestLog.objects.create(**{**values, **changes})


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code
