"""New evaluations of all kinds of models, the permit for hold-out documents, and decoding modes compared."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evaluation.models import EvalRun
from labeling.models import Contract
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.evaluation.factories import World, evaluated, make_world, pretend
from tests.evaluation.runs.test_decoding_modes import exported
from tests.evaluation.runs.test_external_model import endpoint

pytestmark = pytest.mark.slow


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path, settings: Any) -> World:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    found = make_world(tmp_path / "small-base", documents=24, holdout=12)
    limits = {
        "requests_per_second": 5, "latency_p95_ms": 800, "hardware_price_per_hour": "3.6", "currency": "EUR",
    }  # fmt: skip
    Contract.objects.update(constraints=limits)
    return found


@pytest.fixture
def page(world: World, logged_in: Callable[[Any], Page]) -> Page:
    return logged_in(world.owner)


def test_an_external_model_is_permitted_and_evaluated(world: World, page: Page, watch: Watch) -> None:
    watch.allow("422 POST")
    one = endpoint(world, "http://127.0.0.1:9/v1")
    exported(world)
    page.goto("/p/invoices/evaluation/new/")
    page.get_by_label("Model").select_option(label="today (127.0.0.1; no hold-out documents)")
    expect(page.get_by_text("a concurrency of 4")).to_be_visible()
    check(page, "new-evaluation")
    page.reload()  # what looks for faults leaves empty style attributes behind, which htmx would carry over
    page.get_by_label("Model").select_option(label="today (127.0.0.1; no hold-out documents)")
    page.locator("[name=split]").select_option("holdout")
    page.get_by_label("Evaluate on the hold-out").check()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("Hold-out documents would be sent to today")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "new-evaluation-refused")
    page.goto(f"/p/invoices/prelabels/endpoints/{one.pk}/")
    page.get_by_role("button", name="Permit").click()
    expect(page.get_by_text("permitted by olga on")).to_be_visible()
    check(page, "endpoint-permit")
    page.goto("/p/invoices/evaluation/new/")
    page.get_by_label("Model").select_option(label="today (127.0.0.1; including hold-out documents)")
    page.locator("[name=split]").select_option("holdout")
    page.get_by_label("Evaluate on the hold-out").check()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("External model (documents are sent to it)")).to_be_visible()
    assert EvalRun.objects.get().endpoint == one


def test_decoding_modes_are_compared(world: World, page: Page) -> None:
    evaluated(world, pretend(2, spoil=0.5, invalid=0.3), mode="free")
    held = evaluated(world, pretend(3, spoil=0.2))
    page.goto(held.get_absolute_url())
    expect(page.get_by_role("heading", name="Decoding modes")).to_be_visible()
    check(page, "ways")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "ways-phone")
    page.get_by_role("link", name="Unconstrained", exact=True).click()
    expect(page).to_have_url(re.compile(r"/evaluation/1/$"))
