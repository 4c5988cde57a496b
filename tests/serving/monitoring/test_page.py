"""The monitoring page: figures, charts and marks of a window; the loop behind it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.models import Contract
from serving.deployments import services
from serving.models import Deployment, DeploymentEvent, HostSample
from serving.monitoring.charts import WIDTH
from serving.monitoring.figures import WINDOWS, count_marked, floor
from serving.monitoring.page import page as page_of
from tests.evaluation.factories import World
from tests.serving.monitoring.rows import logged

ADDRESS = "/p/invoices/deploy/monitoring/"


def client(user: Any, *, htmx: bool = False) -> Client:
    signed_in = Client(headers={"HX-Request": "true"} if htmx else {})
    signed_in.force_login(user)
    return signed_in


def test_figures_are_those_of_the_log(world: World, canary: Deployment) -> None:
    prices = {"hardware_price_per_hour": 3.6, "currency": "EUR"}
    Contract.objects.filter(project=world.project).update(constraints=prices)
    now, project = timezone.now(), world.project.pk
    stable, candidate = canary.stable, canary.candidate
    logged(project, now, 60, release=stable, stage="canary")
    logged(project, now, 20, release=candidate, source="candidate", stage="canary", total_ms=900.0, model_ms=800.0)
    logged(project, now, 15, release=stable, stage="canary", status=502, valid=False, code="invalid_output")
    logged(project, now, 5, release=stable, status=429, valid=None, code="queue_full")
    logged(project, now, 7, release=candidate, stage="shadow", source="candidate", shadow_of="0" * 32)
    logged(project, now - timedelta(hours=30), 3, release=stable)
    while count_marked(now):
        pass
    page = page_of(world.project, WINDOWS["24h"], now)
    total = page["view"].total
    assert (total.requests, total.answered, total.failed) == (100, 80, 15)
    assert (total.failure_share, total.rejected_share) == (0.15, 0.05)
    assert total.valid_share == pytest.approx(80 / 95)
    assert total.time("total", 0.5) == pytest.approx(100, rel=0.025)
    assert total.time("total", 0.95) == pytest.approx(900, rel=0.025)
    assert total.time("gateway", 0.5) == pytest.approx(5, rel=0.025)
    assert total.frequent_errors == [("502 invalid_output", 15), ("429 queue_full", 5)]
    # 60 + 15 + 5 requests of 90 ms and 20 of 800 ms, at 3.60 an hour.
    assert total.cost_per_thousand == pytest.approx(1_000 * (80 * 0.09 + 20 * 0.8) / 3_600 * 3.6 / 100)
    lines = {(line.number, line.role, line.stage): line.figures.requests for line in page["view"].lines}
    assert stable is not None
    assert candidate is not None
    assert lines == {
        (stable.number, "stable", "canary"): 75, (stable.number, "stable", ""): 5,
        (candidate.number, "candidate", "canary"): 20, (candidate.number, "shadow", "shadow"): 7,
    }  # fmt: skip
    assert page_of(world.project, WINDOWS["7d"], now)["view"].total.requests == 103
    own = page_of(world.project, WINDOWS["1h"], now, version=candidate.number)
    assert own["view"].total.requests == 27
    # The changes of the rollout are marked.
    assert len(page["changes"]) >= 2
    assert all(0 <= mark.x <= WIDTH for chart in page["charts"] for mark in chart.marks)
    assert len(page["charts"][0].marks) == len(page["changes"])


def test_fallbacks_have_their_share(world: World, deployment: Deployment) -> None:
    now = timezone.now()
    logged(world.project.pk, now, 3, release=deployment.stable)
    asked = {"source": "fallback", "total_ms": 400.0, "fallback_ms": 300.0, "cost": 0.5}
    logged(world.project.pk, now, 1, release=deployment.stable, **asked)
    Contract.objects.filter(project=world.project).update(constraints={"hardware_price_per_hour": 3.6})
    count_marked(now)
    page = page_of(world.project, WINDOWS["1h"], now)
    assert page["view"].total.fallback_share == 0.25
    assert page["view"].total.time("fallback", 0.5) == pytest.approx(300, rel=0.025)
    assert page["view"].total.time("gateway", 1.0) == pytest.approx(5, rel=0.025)
    assert page["view"].total.cost_per_thousand == pytest.approx(1_000 * (0.5 + 4 * 0.09 / 3_600 * 3.6) / 4)
    assert "Fallback" in [chart.title for chart in page["charts"]]


def test_every_window_has_its_points(world: World, deployment: Deployment) -> None:
    now, annotator = timezone.now(), client(world.annotator)
    logged(world.project.pk, now - timedelta(minutes=3), 4, release=deployment.stable)
    count_marked(now)
    for name, window in WINDOWS.items():
        page = page_of(world.project, window, now)
        assert len(page["view"].points) == len(window.starts(now)) == len(page["charts"][0].hovers), name
        assert page["view"].total.requests == sum(point.requests for point in page["view"].points) == 4
        assert annotator.get(f"{ADDRESS}?window={name}").status_code == 200


def test_the_page_reads_itself_again(world: World, deployment: Deployment) -> None:
    whole = client(world.annotator).get(ADDRESS)
    assert whole.status_code == 200
    assert b"<html" in whole.content
    part = client(world.annotator, htmx=True).get(f"{ADDRESS}?part=figures&window=1h")
    assert (part.status_code, b"<html" in part.content) == (200, False)
    assert part.context["page"]["window"].key == "1h"
    assert client(world.annotator).get(f"{ADDRESS}?window=x&version=-1").context["page"]["window"].key == "24h"


def test_the_page_takes_as_many_queries_with_more_requests(
    world: World, deployment: Deployment, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    for minute in range(30):
        logged(world.project.pk, now - timedelta(minutes=minute), 2, release=deployment.stable)
    count_marked(now)
    with django_assert_max_num_queries(12):
        page_of(world.project, WINDOWS["1h"], now)


def test_hosts_show_gpus_and_the_replicas_of_the_project(world: World, deployment: Deployment) -> None:
    release = deployment.stable
    assert release is not None
    now = timezone.now()
    own = {"project": world.project.pk, "release": release.pk, "slot": 0, "memory_bytes": 3_000}
    HostSample.objects.create(
        host="gpu-1", minute=floor(now, 60), replicas=[own, {**own, "project": 0}],
        gpus=[{"name": "H100", "load": 0.5, "memory_bytes": 80, "used_bytes": 20}],
    )  # fmt: skip
    page = page_of(world.project, WINDOWS["1h"], now)
    assert [(host, load, memory) for host, _, load, memory in page["hosts"]] == [
        ("gpu-1", "50%", "20 bytes of 80 bytes"), ("gpu-1", "–", "3 KB"),
    ]  # fmt: skip
    assert [chart.title for chart in page["charts"]][-3:] == ["GPU load", "GPU memory", "Memory of replicas"]
    assert not page["charts"][-1].is_empty


def test_a_rollback_is_a_mark(world: World, canary: Deployment) -> None:
    services.abort(deployment=canary, user=world.engineer, reason="Slow.")
    page = page_of(world.project, WINDOWS["1h"], timezone.now())
    assert page["changes"][0][2:] == ("Slow.", "bad")


def test_a_change_of_the_policy_names_no_stage(world: World, canary: Deployment) -> None:
    services.record_change(canary, DeploymentEvent.Kind.POLICY, world.engineer, "Below 60% to review.")
    page = page_of(world.project, WINDOWS["24h"], timezone.now())
    assert page["changes"][0][1] == "Answer policy changed"
    assert "," in page["charts"][0].ends[0]  # the day before is named
