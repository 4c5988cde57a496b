"""What a report says beside its verdicts, in a browser: money, automation, and the button that queues labels; and the
policy's page. In light, in dark and on a phone.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, expect

from evaluation.gates.services import create_report
from labeling.models import Contract, Document
from tests.browser.accessibility import check
from tests.evaluation.approvals.test_evidence import sure
from tests.evaluation.factories import World, broken, evaluated, make_world, rewrite
from tests.evaluation.gates.test_sample_size import add_unlabelled

pytestmark = pytest.mark.slow


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.fixture
def owner(world: World, logged_in: Callable[[Any], Page]) -> Page:
    return logged_in(world.owner)


def test_error_cost_automation_and_missing_labels(world: World, owner: Page) -> None:
    Contract.objects.filter(project=world.project).update(
        constraints={"expected_volume": 12000, "review_cost": 0.4, "currency": "EUR", "hardware_price_per_hour": 0.1}
    )
    add_unlabelled(world, 60)
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, sure)
    report = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    page = owner
    page.goto(report.get_absolute_url())
    expect(page.get_by_role("heading", name="Error cost")).to_contain_text("12,000 documents a month")
    expect(page.get_by_text("Its errors cost less")).to_be_visible()
    check(page, "gate-evidence")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "gate-evidence-phone")
    missing = page.get_by_role("region", name="Required sample size")
    expect(missing.get_by_role("button", name="Queue the 60 available documents").first).to_be_visible()
    missing.get_by_role("button", name=re.compile(r"^Queue \d+ documents$")).first.click()
    expect(missing.get_by_role("status")).to_contain_text("sampled for the hold-out")
    assert Document.objects.filter(holdout=True, external_id__startswith="new-").exists()
    check(page, "gate-evidence-queued")


def test_a_field_gate_is_added(world: World, owner: Page) -> None:
    page = owner
    page.goto(f"/p/{world.project.slug}/gates/policy/")
    page.get_by_label("Metric", exact=True).select_option("recall")
    page.get_by_label("Threshold", exact=True).fill("98")
    page.get_by_label("Field", exact=True).select_option("total_amount")
    check(page, "gate-policy")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "gate-policy-phone")
    page.get_by_role("button", name="Save as version").click()
    expect(page.locator(".policy-list").get_by_text("At least 98% recall (total_amount)")).to_be_visible()


def test_provenance_and_the_evidence_bundle(world: World, owner: Page) -> None:
    """The facts of a report are in a fold; so are the bundle and the hash by which it is recognized."""
    facts = {"version": "0.1.0", "commit": "c0ffee" * 6, "requirements": "ab" * 32}
    environment = {"processor": "Test CPU", "device": "cpu", "python": "3.11.2", "packages": {"torch": "2.9.0"}}
    rewrite(
        world.training_run, facts={"application": facts, "environment": environment, "optimizer": {"optim": "adamw"}}
    )
    report = create_report(eval_run=evaluated(world, sure), baseline=None, user=world.engineer)
    page = owner
    page.goto(report.get_absolute_url())
    fold = page.get_by_role("region", name="Provenance")
    fold.get_by_role("heading", name="Provenance").click()
    expect(fold.get_by_text("torch 2.9.0")).to_be_visible()
    expect(fold.get_by_text("not recorded").first).to_be_visible()
    check(page, "gate-provenance")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "gate-provenance-phone")
    with page.expect_download() as started:
        fold.get_by_role("link", name="Download").click()
    shown = fold.locator("code.hash").first.inner_text()
    call_command("verify_bundle", str(started.value.path()), "--sha256", shown)
