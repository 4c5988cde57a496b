"""The review queue by keys, live accuracy and the versions, in light, dark and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from labeling.models import Document
from serving.models import Judgment, ReviewItem, SamplePlan
from serving.review.sampling import draw
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.review.rows import deployed, logged

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.mark.slow
def test_review_by_keys(world: World, logged_in: As) -> None:
    deployment = deployed(world)
    SamplePlan.objects.create(deployment=deployment, share=1.0)
    for number in (36, 37, 38, 39):
        logged(deployment, number, days=1 / 24)
    logged(deployment, 35, days=1 / 24, status=502, code="invalid_output", valid=False, detail="total must be a number")
    draw(deployment.pk, timezone.now())
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/review/")
    items = erik.locator("[data-item]")
    expect(items).to_have_count(5)
    check(erik, "review-queue")

    erik.keyboard.press("j")
    expect(items.first).to_be_focused()
    erik.keyboard.press("t")
    erik.keyboard.press("Escape")
    erik.locator("#queue-tag").select_option("ambiguous")
    items.first.focus()
    erik.keyboard.press("w")  # the failed one
    expect(items).to_have_count(4)
    expect(items.first).to_be_focused()
    assert Document.objects.get(source="requests").tags == ["ambiguous"]

    erik.keyboard.press("j")
    erik.keyboard.press("x")
    erik.keyboard.press("j")
    erik.keyboard.press("x")
    erik.keyboard.press("r")
    expect(items).to_have_count(2)
    assert Judgment.objects.filter(right=True).count() == 2
    erik.keyboard.press("g")
    erik.keyboard.press("d")  # opens a section and dismisses nothing
    erik.goto("/p/invoices/deploy/review/")
    expect(items).to_have_count(2)
    erik.keyboard.press("j")
    erik.keyboard.press("d")
    expect(items).to_have_count(1)
    assert ReviewItem.objects.filter(status=ReviewItem.Status.DISMISSED).count() == 1

    expect(erik.get_by_role("heading", name="Live accuracy, 28 days")).to_be_visible()
    erik.set_viewport_size({"width": 390, "height": 844})
    check(erik, "review-narrow")
    erik.set_viewport_size({"width": 1280, "height": 900})
    erik.goto("/p/invoices/deploy/versions/")
    expect(erik.get_by_role("region", name="Versions")).to_be_visible()
    check(erik, "versions")
