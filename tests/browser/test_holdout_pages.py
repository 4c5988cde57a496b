"""The hold-out as a deliberate act: its price, closed outputs, opening them; in light, dark and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from evaluation.gates.services import create_report
from evaluation.models import EvalRun
from tests.browser.accessibility import check
from tests.evaluation.factories import World, evaluated, make_world, pretend, right

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=48, holdout=30)


def test_a_hold_out_evaluation_is_confirmed_at_its_price(world: World, logged_in: Callable[[Any], Page]) -> None:
    evaluated(world, right)
    page = logged_in(world.engineer)
    page.goto("/p/invoices/evaluation/new/?model=run-1")
    expect(page.get_by_label("Evaluate on the hold-out")).to_have_count(0)
    page.locator("[name=split]").select_option("holdout")
    confirm = page.get_by_label("Evaluate on the hold-out")
    expect(confirm).to_be_visible()
    check(page, "holdout-price")
    page.set_viewport_size(PHONE)
    check(page, "holdout-price-phone")
    page.locator("[name=split]").select_option("validation")
    expect(confirm).to_have_count(0)
    page.locator("[name=split]").select_option("holdout")
    confirm.check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/evaluation/2/")
    assert EvalRun.objects.get(number=2).split == "holdout"


def test_closed_outputs_are_opened(world: World, logged_in: Callable[[Any], Page]) -> None:
    base = evaluated(world, pretend(2, spoil=0.5), tuned=False, is_open=False)
    run = evaluated(world, pretend(5, spoil=0.1), is_open=False)
    evaluated(world, pretend(5, spoil=0.1), split="validation")
    report = create_report(eval_run=run, baseline=base, user=world.engineer)
    page = logged_in(world.manager)
    page.goto("/p/invoices/evaluation/")
    expect(page.get_by_role("row")).to_have_count(2)
    check(page, "evaluations-on-validation")
    page.goto(report.get_absolute_url())
    check(page, "holdout-report")
    page.goto(f"/p/invoices/evaluation/compare/?runs={base.number},{run.number}")
    check(page, "holdout-comparison")
    page.goto(run.get_absolute_url())
    expect(page.locator("details.output")).to_have_count(0)
    check(page, "holdout-closed")
    page.get_by_text("Open outputs", exact=True).click()
    check(page, "holdout-opening")
    page.set_viewport_size(PHONE)
    check(page, "holdout-opening-phone")
    page.get_by_label("Reason").fill("Two labels look wrong.")
    page.get_by_role("button", name="Open outputs of 30 documents").click()
    expect(page.locator("details.output").first).to_be_visible()
    check(page, "holdout-opened-phone")
    run.refresh_from_db()
    assert run.opened_by == world.manager
