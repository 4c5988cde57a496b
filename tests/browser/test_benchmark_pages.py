"""Benchmark pages: the table, a running benchmark, a new one; in light, dark and on a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Contract
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.evaluation.benchmark_desk import another_model, answered, finished, started, wide_world
from tests.evaluation.factories import World, pretend

pytestmark = pytest.mark.slow

ADDRESS = "/p/invoices/benchmark/"


@pytest.fixture
def wide(transactional_db: None, queues: None, tmp_path: Path) -> World:
    found = wide_world(tmp_path)
    limits = {"latency_p95_ms": 800, "hardware_price_per_hour": "3.6", "currency": "EUR"}
    Contract.objects.update(constraints=limits)
    found.project.contract.refresh_from_db()
    return found


@pytest.fixture
def engineer(wide: World, logged_in: Callable[[Any], Page]) -> Page:
    return logged_in(wide.engineer)


def test_benchmark_table_and_comparison(wide: World, engineer: Page, tmp_path: Path) -> None:
    finished(wide, tmp_path, pretend(1, spoil=0.8, invalid=0.3), pretend(3, spoil=0.2), latency_ms=500)
    page = engineer
    page.goto(ADDRESS)
    page.get_by_role("link", name="Small base 10M, Larger base 20M").click()
    expect(page.get_by_role("heading", name="Recommended")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "benchmark")
    page.get_by_role("link", name="Compare Small base 10M, unconstrained").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    page.goto(f"{page.url}&state=broken&field=due_date")
    check(page, "comparison")


def test_progress_updates_keep_the_focus(wide: World, engineer: Page, tmp_path: Path) -> None:
    made = started(wide, wide.base_model, another_model(tmp_path))
    page = engineer
    page.goto(f"{ADDRESS}{made.number}/")
    words = page.locator("#progress-words")
    expect(words).to_contain_text("0 of 40")
    link = page.get_by_role("link", name="Small base 10M")
    link.focus()
    answered(made.runs.order_by("number")[0], pretend(1, spoil=0.5))
    expect(words).to_contain_text("20 of 40")
    expect(page.locator("#progress-bar")).to_have_attribute("aria-valuenow", "50")
    expect(page.locator("#models .interval").first).to_be_visible()
    expect(link).to_be_focused()


def test_a_benchmark_is_started_from_its_form(wide: World, engineer: Page, watch: Watch) -> None:
    watch.allow("422 POST")
    page = engineer
    page.goto(f"{ADDRESS}new/")
    check(page, "benchmark-new")
    page.reload()  # axe leaves empty style attributes behind, which htmx would carry over
    page.get_by_label("Documents", exact=True).fill("31")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("dataset v1 has 30 labeled documents")
    page.get_by_label("Documents", exact=True).fill("20")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(f"**{ADDRESS}1/")
    expect(page.locator("#progress-words")).to_contain_text(re.compile(r"0 of\s+\d+"))
