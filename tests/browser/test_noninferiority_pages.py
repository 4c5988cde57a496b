"""The gate on non-inferiority from its margin to the certificate that delivery shows; light, dark and on a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from evaluation.gates.services import create_report
from evaluation.models import EvalRun
from labeling.models import Contract
from serving.deployments import services
from tests.browser.accessibility import check
from tests.evaluation.factories import World, evaluated, make_version, make_world, rewrite, right
from tests.serving.factories import answering, approved_report, built

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    """A model that is deployed, and another one that is as good."""
    world = make_world(tmp_path / "small-base", documents=76, holdout=70)
    contract = Contract.objects.get(project=world.project)
    rewrite(contract, constraints={**contract.constraints, "hardware_price_per_hour": 1.2, "currency": "EUR"})
    deployment = services.deploy(
        project=world.project, user=world.engineer, stage="full", report=approved_report(world)
    )
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    built(deployment.candidate.package)
    answering(deployment.candidate)
    services.finish_promotion(deployment)
    EvalRun.objects.update(opened_at=None)
    return world


def test_a_margin_is_set_tested_and_shown(world: World, logged_in: Callable[[Any], Page]) -> None:
    page = logged_in(world.manager)
    page.goto("/p/invoices/gates/policy/")
    page.get_by_label("points worse than the current production model").fill("15")
    check(page, "margin-policy")
    page.get_by_role("button", name="Save as version").click()
    listed = page.get_by_role("list").get_by_text("At most 15 points worse than the current production model")
    expect(listed).to_be_visible()
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    candidate = evaluated(world, right, is_open=False)
    report = create_report(eval_run=candidate, baseline=None, user=world.engineer)
    services.deploy(project=world.project, user=world.engineer, stage="shadow", run=candidate)
    for name, address in (
        ("report", report.get_absolute_url()),
        ("deployment", "/p/invoices/deploy/"),
        ("comparisons", "/p/invoices/deploy/comparisons/"),
    ):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address)
        expect(page.get_by_text("version 1 of the deployment").first).to_be_visible()
        check(page, f"margin-{name}")
        page.set_viewport_size(PHONE)
        check(page, f"margin-{name}-phone")
    page.goto(report.get_absolute_url())
    hashed = page.locator(".bundle-line .hash")
    expect(hashed).to_have_count(0)
    page.locator("#provenance summary").first.click()
    expect(hashed).to_have_text(re.compile("[0-9a-f]{64}"))
