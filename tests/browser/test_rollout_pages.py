"""A rollout on the page of a deployment: evidence refreshes itself, and an abort takes the candidate off the page."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from serving.models import RolloutPlan
from serving.rollouts.watch import check_all
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.rollouts.rows import requests, with_candidate

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_watch_a_canary_until_it_is_aborted(world: World, logged_in: As) -> None:
    deployment = with_candidate(world, share=0.25)
    now = timezone.now()
    requests(deployment, 60, candidate=True, at=now)
    requests(deployment, 180, candidate=False, failed=1, at=now)
    check_all(now + timedelta(seconds=1))
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    section = erik.locator("#rollout")
    expect(section.get_by_role("heading", name="Rollout")).to_be_visible()
    expect(section.get_by_role("row", name="canary 25%").first).to_contain_text("60")
    check(erik, "rollout-waiting")

    section.get_by_text("Plan", exact=True).click()
    section.get_by_label("Maximum p95 latency (ms)").fill("900")
    section.get_by_role("button", name="Save plan").click()
    expect(section.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert RolloutPlan.objects.get().p95_ms == 900
    check(erik, "rollout-plan")

    requests(deployment, 20, candidate=True, failed=20, at=timezone.now(), key="")
    check_all(timezone.now() + timedelta(seconds=9))
    expect(section.locator(".badge").first).to_have_text("Aborted")  # the page asks by itself
    expect(erik.locator(".release")).to_have_count(1)
