"""The monitoring page: figures, alerts, drift."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from serving.models import AlertRule, DriftCheck, HostSample
from serving.monitoring import alerts
from serving.monitoring.figures import count_marked, floor
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.monitoring.rows import logged
from tests.serving.rollouts.rows import with_candidate

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_watch_a_deployment(world: World, logged_in: As) -> None:
    deployment = with_candidate(world, share=0.25)
    now, project = timezone.now(), world.project.pk
    for minute in range(50):
        at = now - timedelta(minutes=minute)
        stable, other = 3 + minute % 7, 1 + minute % 3
        logged(project, at, stable, release=deployment.stable, total_ms=300.0 + 10 * (minute % 11), model_ms=250.0)
        logged(project, at, other, release=deployment.candidate, source="candidate", stage="canary", total_ms=120.0)
        if minute % 9 == 4:
            logged(project, at, 1, release=deployment.candidate, status=502, code="invalid_output", valid=False)
    HostSample.objects.create(
        host="gpu-1", minute=floor(now, 60), replicas=[],
        gpus=[{"name": "NVIDIA H100", "load": 0.62, "memory_bytes": 80_000_000_000, "used_bytes": 31_000_000_000}],
    )  # fmt: skip
    while count_marked(now):
        pass
    alerts.rules_of(world.project)
    AlertRule.objects.filter(metric="failures").update(state="firing", value=0.081, checked_at=now, since=now)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    erik.get_by_role("navigation", name="Deploy").get_by_role("link", name="Monitoring").click()
    figures = erik.locator("#figures")
    figures.get_by_role("link", name="1 hour").click()
    expect(figures.locator(".line-chart")).to_have_count(8)
    first = erik.locator(".figures dd").first
    before = int(first.inner_text().split()[0])
    check(erik, "monitoring")
    logged(project, timezone.now(), 5, release=deployment.stable)
    count_marked(timezone.now())
    expect(first).to_contain_text(str(before + 5))  # the page reads itself again

    erik.get_by_role("link", name="Change p95 latency").click()
    form = erik.get_by_role("form", name="p95 latency")
    form.get_by_label("Limit (ms)").fill("1200")
    check(erik, "alert-form")
    form.get_by_role("button", name="Save").click()
    expect(erik.get_by_role("row", name="p95 latency")).to_contain_text("1.2 s")

    finding = {
        "metric": "length", "kind": "number", "p": 1e-9, "adjusted": 1e-8, "effect": 0.4, "reference": 812.0,
        "live": 1540.0, "reference_count": 200, "live_count": 812, "category": "", "changed": True,
    }  # fmt: skip
    share = {**finding, "metric": "null vendor", "kind": "share", "adjusted": 0.3, "category": "True", "changed": False}
    values: dict[str, Any] = {"project": world.project, "release": deployment.stable, "live_count": 812}
    for back in range(3):
        day = now.date() - timedelta(days=back + 1)
        DriftCheck.objects.create(
            day=day, findings=[finding, {**share, "reference": 0.05, "live": 0.06}], changed=1, **values
        )
    erik.reload()
    expect(erik.get_by_text("median 1,540 (812 in the evaluation)")).to_be_visible()
    check(erik, "drift")

    erik.set_viewport_size({"width": 390, "height": 844})
    erik.goto("/p/invoices/deploy/monitoring/")
    check(erik, "monitoring-narrow")
