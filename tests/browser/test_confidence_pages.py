"""The page of confidence: a budget is set, its limit and charts appear, and a person resumes after it was exceeded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from playwright.sync_api import Page, expect

from serving.models import AnswerPolicy
from serving.policies import services
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.policies.rows import deployed, larger, request

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_a_budget_is_set_exceeded_and_resumed(world: World, logged_in: As) -> None:
    deployment = deployed(world)
    larger(world, price_in=1.0, price_out=4.0)
    for number in range(12):
        request(deployment, audited=number % 4 == 0)
    request(deployment, fallback_reason="confidence", source="fallback", fallback_ms=812.0, cost=0.02, audited=False)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    erik.get_by_role("navigation", name="Serving").get_by_role("link", name="Confidence").click()
    budget = erik.get_by_role("region", name="Error budget")
    expect(budget).to_contain_text("No budget is set")
    form = erik.locator("#policy")
    form.get_by_label("Maximum wrong").fill("1")
    form.get_by_label("Out of").fill("50")
    form.get_by_label("counted in").select_option("document")
    form.get_by_label("Larger model", exact=True).select_option(label="Big")
    form.get_by_label("Minimum confidence of every field (%)").fill("60")
    form.get_by_role("button", name="Save policy").click()
    expect(budget.locator(".badge")).to_have_text("In effect")
    expect(budget).to_contain_text("80%")
    expect(erik.locator("svg.chart")).to_have_count(3)
    assert AnswerPolicy.objects.get().min_confidence == 0.6
    erik.get_by_text("What if, as a table").click()
    erik.get_by_text("Fields", exact=True).click()
    check(erik, "confidence")
    erik.set_viewport_size({"width": 390, "height": 844})
    check(erik, "confidence-narrow")
    erik.set_viewport_size({"width": 1280, "height": 900})

    with transaction.atomic():
        services.break_budget(deployment=deployment, reason="The audit found 12 wrong of 32 documents.")
    erik.reload()
    alert = erik.get_by_role("alert").filter(has_text="The error budget is exceeded")
    expect(alert).to_contain_text("12 wrong of 32")
    check(erik, "confidence-exceeded")
    alert.get_by_label("Reason").fill("A new version.")
    alert.get_by_role("button", name="Resume automatic answers").click()
    expect(budget.locator(".badge")).to_have_text("In effect")
    assert AnswerPolicy.objects.get().broken_at is None
