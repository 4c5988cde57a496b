"""A whole label by touch, on a phone."""

from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Gold
from tests.browser.conftest import UnderWay, Watch, until
from tests.browser.labeling import LINES, all_saved, control, paged
from tests.labeling.label_desk import Desk

SELECT = """([first, last]) => {
    const placeOf = (words) => {
        const walker = document.createTreeWalker(document.getElementById("document"), NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(words);
            if (at >= 0) return [node, at];
        }
    };
    const [[node, at], [end, endAt]] = [placeOf(first), placeOf(last)];
    getSelection().setBaseAndExtent(node, at, end, endAt + last.length);
}"""
OUT_OF_REACH = """() => [...document.querySelectorAll(".pane-head :is(h1, a, button)")].filter((part) => {
    const { left, right, width } = part.getBoundingClientRect();
    return part.checkVisibility() && (left < 0 || right > innerWidth + 0.5 || width < 24);
}).map((part) => part.id || part.textContent)"""


@pytest.fixture
def phone(
    browser: Browser, live_server: LiveServer, under_way: UnderWay, watch: Watch, desk: Desk
) -> Iterator[Callable[[str], Page]]:
    """Opens an address as Ana on a phone."""
    context = browser.new_context(
        base_url=live_server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )

    def opened(path: str) -> Page:
        client = Client()
        client.force_login(desk.ana)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = context.new_page()
        watch.attach(page)
        page.goto(path)
        return page

    yield opened
    context.close()


def complete(page: Page, title: str, typed: str, taken: str) -> None:
    """Types the beginning of a value and taps its suggestion."""
    control(page, title).tap()
    page.keyboard.type(typed)
    suggestion = page.locator(".sf-hint")
    box = suggestion.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    suggestion.tap(position={"x": 10, "y": 10})
    expect(control(page, title)).to_have_value(taken)
    expect(control(page, title)).to_be_focused()


def test_a_label_by_touch(desk: Desk, phone: Callable[[str], Page], watch: Watch) -> None:
    watch.allow("422 POST")
    document = desk.document(LINES)
    page = phone(reverse("label_document", args=["desk", document.pk]))
    complete(page, "Invoice number", "A-", "A-1029")
    complete(page, "Invoice date", "Jan", "Jan 14, 2026")
    complete(page, "Total amount", "1,1", "1,100.00")
    control(page, "Vendor").tap()
    page.locator("#document .line").first.tap()
    page.evaluate(SELECT, ["ACME", "SUPPLIES"])
    page.locator("#take-selection").tap()
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(page.locator("#take-selection")).to_be_hidden()
    currency = page.locator('[data-title="Currency"]')
    currency.locator("label", has_text="EUR").tap()
    expect(currency.get_by_role("radio", name="EUR")).to_be_checked()
    page.locator('[data-title="Line items"] [data-null]').tap()
    all_saved(page)
    page.locator("#submit-button").tap()
    page.locator("#notice-actions button").tap()  # all others are not in the document
    expect(page.get_by_text("No documents to label")).to_be_visible()
    value = Gold.objects.get().revision.value
    assert (value["invoice_id"], value["date"], value["vendor"]) == ("A-1029", "2026-01-14", "ACME SUPPLIES")
    assert (value["currency"], value["total_amount"]) == ("EUR", 1100)


def test_rows_by_touch(desk: Desk, phone: Callable[[str], Page]) -> None:
    page = phone(reverse("label_document", args=["desk", desk.document(LINES).pk]))
    control(page, "Invoice number").tap()
    page.locator("#document .line").first.tap()
    page.evaluate(SELECT, ["Widget, blue", "1,080.00"])
    page.locator("#take-selection").tap()
    rows = page.locator("[data-body] tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#take-selection")).to_be_hidden()
    expect(control(page, "Invoice number")).to_have_value("")
    page.locator("[data-add-row]").tap()
    cell = rows.nth(2).locator("[data-control]").first
    cell.tap()
    page.keyboard.insert_text("Delivery")
    expect(cell).to_have_value("Delivery")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_tools_of_a_page_fit_a_phone(desk: Desk, phone: Callable[[str], Page]) -> None:
    document = desk.document(LINES, name="a-document-with-a-rather-long-name-2026-01-14.pdf")
    paged(document)
    page = phone(reverse("label_document", args=["desk", document.pk]))
    expect(page.locator("#page-tools")).to_be_visible()
    assert page.evaluate(OUT_OF_REACH) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    control(page, "Invoice number").tap()
    page.locator("#page-sheet .page-lines rect").first.tap()
    expect(control(page, "Invoice number")).to_have_value(LINES.splitlines()[0])
    until(page, "() => !getSelection().toString()")
