"""The settings of a deployment: an answer policy is set, and a person resumes after its budget was exceeded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from serving.models import AnswerPolicy
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.confidence.rows import deployed, larger, request

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_a_budget_is_set_exceeded_and_resumed(world: World, logged_in: As) -> None:
    deployment = deployed(world)
    larger(world, price_in=1.0, price_out=4.0)
    for _ in range(12):
        request(deployment)
    request(deployment, fallback_reason="confidence", source="fallback", fallback_ms=812.0, cost=0.02)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    erik.get_by_role("link", name="Settings", exact=True).click()
    policy = erik.get_by_role("region", name="Answer policy")
    erik.get_by_label("Threshold (%)").fill("90")
    erik.get_by_label("Error budget: maximum wrong documents").fill("1")
    erik.get_by_label("Out of").fill("50")
    erik.get_by_label("Larger model", exact=True).select_option(label="Big")
    erik.get_by_role("button", name="Save policy").click()
    expect(policy.locator(".badge")).to_have_text("Budget kept")
    expect(policy).to_contain_text("80% automatic")
    assert AnswerPolicy.objects.get().min_confidence == 0.9
    erik.get_by_text("Thresholds", exact=True).click()
    erik.get_by_text("Fields", exact=True).click()
    check(erik, "settings")
    erik.set_viewport_size({"width": 390, "height": 844})
    check(erik, "settings-narrow")
    erik.set_viewport_size({"width": 1280, "height": 900})

    AnswerPolicy.objects.update(broken_at=timezone.now(), broken_reason="12 of 32 judged automatic answers are wrong.")
    erik.reload()
    alert = erik.get_by_role("alert").filter(has_text="The error budget is exceeded")
    expect(alert).to_contain_text("12 of 32")
    check(erik, "settings-exceeded")
    alert.get_by_label("Reason").fill("A new version.")
    alert.get_by_role("button", name="Resume automatic answers").click()
    expect(policy.locator(".badge")).to_have_text("Budget kept")
    assert AnswerPolicy.objects.get().broken_at is None
