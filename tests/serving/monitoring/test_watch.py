"""The loop behind the monitoring page."""

import threading
from datetime import datetime

import pytest
from django.db import OperationalError
from django.utils import timezone

from serving.models import AlertRule, Deployment, Traffic
from serving.monitoring.watch import MonitoringLoop, Task
from tests.evaluation.factories import World
from tests.serving.traffic.rows import logged


def test_it_counts_and_checks(world: World, deployment: Deployment) -> None:
    logged(world.project.pk, timezone.now(), 3, release=deployment.stable)
    MonitoringLoop(threading.Event()).step()
    assert Traffic.objects.filter(seconds=60).get().requests == 3
    assert AlertRule.objects.filter(project=world.project, checked_at__isnull=False).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a mistake")])
def test_an_error_does_not_end_the_loop(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.monitoring.watch.connection.close", lambda: None)
    done: list[datetime] = []

    def fails(now: datetime) -> bool:
        raise error

    def works(now: datetime) -> bool:
        done.append(now)
        return len(done) < 3  # more to do at once

    loop = MonitoringLoop(threading.Event(), [Task(60, fails), Task(60, works)])
    for _ in range(5):
        loop.step()
    assert len(done) == 3
