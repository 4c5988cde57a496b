"""Comparisons of two and of several evaluations, and the regression suite; in light, dark and on a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from evaluation.regression_suite.services import pin, pinned_documents
from labeling.models import Document
from tests.browser.accessibility import check
from tests.evaluation.factories import World, evaluated, make_world, pretend

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    found = make_world(tmp_path / "small-base", documents=24, holdout=12)
    for number, document in enumerate(Document.objects.filter(project=found.project)):
        document.metadata = {"supplier": "ACME" if number % 2 else "Bolt"}
        document.save(update_fields=["metadata"])
    evaluated(found, pretend(1, spoil=0.5, invalid=0.2), tuned=False)
    evaluated(found, pretend(2, spoil=0.2))
    evaluated(found, pretend(3, spoil=0.1))
    return found


@pytest.fixture
def manager(world: World, logged_in: Callable[[Any], Page]) -> Page:
    return logged_in(world.manager)


def test_two_runs_are_compared_and_a_document_pinned(world: World, manager: Page) -> None:
    page = manager
    page.goto("/p/invoices/evaluation/")
    for number in (1, 2):
        page.get_by_label(f"Compare evaluation {number}").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    page.wait_for_load_state()
    page.get_by_label("Error type").select_option(index=1)
    expect(page).to_have_url(re.compile("error="))
    page.get_by_role("link", name="Clear").click()
    expect(page.locator(".case-card")).to_have_count(10)
    first = page.locator(".case-card").first
    first.locator("summary", has_text="Pin").click()
    first.get_by_label("Reason").fill("once paid twice")
    first.get_by_role("button", name="Pin", exact=True).click()
    expect(first.get_by_role("link", name="pinned")).to_be_visible()
    assert len(pinned_documents(world.project)) == 1
    page.reload()
    check(page, "comparison")
    expect(page.get_by_text(re.compile("pinned documents? (correct|wrong)"))).to_be_visible()
    page.set_viewport_size(PHONE)
    check(page, "comparison-phone")


def test_three_runs_make_a_matrix(world: World, manager: Page) -> None:
    page = manager
    page.goto("/p/invoices/evaluation/")
    for number in (1, 2, 3):
        page.get_by_label(f"Compare evaluation {number}").check()
    expect(page.get_by_text("Compares all 3 evaluations.")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparison of 3")).to_be_visible()
    check(page, "matrix")
    page.set_viewport_size(PHONE)
    check(page, "matrix-phone")
    page.locator("a.pair").first.click()
    expect(page.get_by_role("heading", name="Comparison", exact=False)).to_be_visible()


def test_regression_suite_page(world: World, manager: Page) -> None:
    for document in Document.objects.filter(project=world.project, holdout=True)[:6]:
        pin(project=world.project, document=document, user=world.engineer, reason="a customer complained")
    page = manager
    page.goto("/p/invoices/evaluation/suite/")
    expect(page.get_by_role("row")).to_have_count(7)
    check(page, "suite")
    page.set_viewport_size(PHONE)
    check(page, "suite-phone")
    page.get_by_role("button", name="Unpin").first.click()
    expect(page.get_by_role("row")).to_have_count(6)
    page.get_by_role("link", name="Unpinned").click()
    expect(page.get_by_role("row")).to_have_count(2)
