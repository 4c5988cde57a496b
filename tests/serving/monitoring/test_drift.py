"""The daily check of drift."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.demo.samples import Sample
from serving.models import Deployment, DriftCheck, RequestLog
from serving.monitoring import drift
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World, drawn

NOW = timezone.now().astimezone(UTC).replace(hour=1, minute=0)
YESTERDAY = NOW - timedelta(hours=12)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world has twelve documents in its hold-out."""
    monkeypatch.setattr(drift, "MIN_DOCUMENTS", 10)
    monkeypatch.setattr(drift, "ENOUGH", 30)
    monkeypatch.setattr(drift, "MIN_VALUES", 10)


def sent(deployment: Deployment, samples: tuple[Sample, ...], at: datetime = YESTERDAY, **changes: Any) -> None:
    """Documents with their gold as outputs."""
    RequestLog.objects.bulk_create(
        RequestLog(
            id=uuid.uuid4(), day=at.date(), created_at=at, project_id=deployment.project_id, release=deployment.stable,
            **{
                "source": "stable", "protocol": "extract", "status": 200, "valid": True, "total_ms": 10.0,
                "key_sha256": uuid.uuid4().hex, "text": sample.text, "output": dumps(sample.gold), **changes,
            },
        )
        for sample in samples
    )  # fmt: skip


@pytest.mark.slow
def test_equal_documents_do_not_drift(world: World, deployment: Deployment) -> None:
    sent(deployment, drawn(100)[30:80])
    assert drift.check_due(NOW) == 1
    check = DriftCheck.objects.get()
    assert (check.changed, check.problem, check.live_count, check.reference_count) == (0, "", 50, 12)
    assert {"length", "language", "null vendor"} <= {finding["metric"] for finding in check.findings}


@pytest.mark.slow
def test_longer_documents_with_nulls_drift(world: World, deployment: Deployment) -> None:
    other = [
        replace(sample, text=sample.text * 5, gold={**sample.gold, "vendor": None}) for sample in drawn(400)[30:230]
    ]  # fmt: skip
    sent(deployment, tuple(other))
    drift.check_due(NOW)
    check = DriftCheck.objects.get()
    changed = {finding["metric"] for finding in check.findings if finding["changed"]}
    assert {"length", "null vendor"} <= changed
    assert check.changed == len(changed)
    page = Client()
    page.force_login(world.annotator)
    shown = page.get("/p/invoices/deploy/monitoring/").context["findings"]
    assert {finding.metric for finding in shown if finding.changed} == changed


def test_a_day_is_checked_once(deployment: Deployment) -> None:
    sent(deployment, drawn(100)[30:80])
    assert [drift.check_due(NOW), drift.check_due(NOW), drift.check_due(NOW + timedelta(days=1))] == [1, 0, 1]
    drift.check(deployment, YESTERDAY.date())
    assert DriftCheck.objects.count() == 2


def test_earlier_days_are_added_where_there_are_few_documents(deployment: Deployment) -> None:
    sent(deployment, drawn(100)[30:35])
    drift.check_due(NOW)
    check = DriftCheck.objects.get()
    assert (check.problem, check.days, check.findings) == ("too_few", drift.MAX_DAYS, [])
    check.delete()
    sent(deployment, drawn(100)[35:40])
    sent(deployment, drawn(100)[40:65], YESTERDAY - timedelta(days=2))
    drift.check_due(NOW)
    check = DriftCheck.objects.get()
    assert (check.days, check.live_count) == (3, 35)


def test_repeated_documents_count_once_and_shadow_not_at_all(deployment: Deployment) -> None:
    sent(deployment, drawn(100)[30:50])
    sent(deployment, drawn(100)[50:80], key_sha256="a" * 64)
    sent(deployment, drawn(100)[50:80], shadow_of=uuid.uuid4())
    sent(deployment, drawn(100)[50:80], status=502)
    drift.check_due(NOW)
    assert DriftCheck.objects.get().live_count == 21


def test_without_texts_only_confidence_is_left(deployment: Deployment) -> None:
    sent(deployment, drawn(100)[30:80], text="", output="", confidence={"vendor": [0.9, 0.95]})
    drift.check_due(NOW)
    assert {finding["metric"] for finding in DriftCheck.objects.get().findings} <= {"confidence vendor"}
