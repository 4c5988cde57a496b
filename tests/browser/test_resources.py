"""Measuring again in a browser: the button on an evaluation and on a report, its progress, and the report that rests
on it. In light, in dark and on a phone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evaluation.gates.services import create_report
from evaluation.models import EvalOutput, ResourceMeasurement
from evaluation.runs import resources
from labeling.models import Contract
from tests.browser.accessibility import check
from tests.evaluation.factories import World, broken, evaluated, make_world, pretend

pytestmark = pytest.mark.slow


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.fixture
def engineer(world: World, logged_in: Callable[[Any], Page]) -> Page:
    return logged_in(world.engineer)


def test_a_report_uses_the_new_measurement(world: World, engineer: Page) -> None:
    Contract.objects.filter(project=world.project).update(
        constraints={"latency_p95_ms": 900, "hardware_memory_gb": 2, "requests_per_second": 2}
    )
    base = evaluated(world, broken, tuned=False)
    tuned = evaluated(world, pretend(2, spoil=0.2), latency_ms=lambda index: 4000.0)
    report = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    page = engineer
    page.goto(report.get_absolute_url())
    card = page.get_by_role("region", name="Latency, cost and memory")
    card.get_by_role("button", name="Measure again").click()
    expect(card.get_by_text("waiting for a worker")).to_be_visible()
    check(page, "resources-waiting")
    row = ResourceMeasurement.objects.get()
    assert row.claim_attempt()
    keys = EvalOutput.objects.filter(eval_run=tuned).values_list("document_id", flat=True)
    event = {"latency_ms": 310.0, "prompt_tokens": 120, "output_tokens": 40}
    resources.complete(
        row,
        requests=[resources.request_of(key, event) for key in keys],
        facts={"docs_per_second": 3.2, "peak_memory_bytes": 812e6, "processor": "Test CPU"},
    )
    expect(card.get_by_text("Test CPU")).to_be_visible()
    check(page, "resources-measured")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "resources-phone")
    page.set_viewport_size({"width": 1366, "height": 900})
    card.get_by_role("button", name="Create gate report with the new measurement").click()
    expect(page.get_by_role("heading", name="Report 2")).to_be_visible()
    expect(page.get_by_text("310 ms", exact=False).first).to_be_visible()
    expect(card.get_by_role("button", name="Create gate report with the new measurement")).to_have_count(0)
    check(page, "resources-report")
    page.goto(tuned.get_absolute_url())
    expect(card.get_by_role("button", name="Measure again")).to_be_visible()
    check(page, "resources-evaluation")
    page.goto(f"/p/{world.project.slug}/evaluation/compare/?runs={base.number},{tuned.number}")
    check(page, "resources-comparison")
    page.goto(f"/p/{world.project.slug}/gates/")
    check(page, "resources-gates")
    page.goto(f"/p/{world.project.slug}/prelabels/endpoints/new/")
    expect(page.get_by_label("Reasoning effort")).to_be_visible()
    check(page, "resources-endpoint")
