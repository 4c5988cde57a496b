"""Page images next to the form: clicks and drags on lines, zoom, the keyboard; and a whole label by touch."""

import base64
import re
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Annotation, Gold
from labeling.models import Page as DocumentPage
from tests.browser.conftest import PHONE, Open, UnderWay, Watch, until
from tests.browser.labeling import LINES, all_saved, control, paged
from tests.labeling.label_desk import Desk

LINE = ".page-paper[data-index='{}'] .page-lines rect >> nth={}"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


def at(page: Page, line: str, share: float) -> tuple[float, float]:
    """A place in a line's box, so far from its left side."""
    box = page.locator(line).bounding_box()
    assert box is not None
    return box["x"] + box["width"] * share, box["y"] + box["height"] / 2


def evidence(page: Page, path: str) -> str:
    all_saved(page)
    annotation = Annotation.objects.get()
    place = annotation.evidence[path]
    return str(annotation.document.text[place["start"] : place["end"]])


def test_a_click_on_a_line_fills_the_field_and_is_its_evidence(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    page = open_label(desk.ana, document)
    expect(page.locator("#page-number")).to_have_text("1 / 2")
    expect(page.locator("#document-scroll")).to_be_hidden()
    expect(page.locator(".page-texts text").first).to_have_text("ACME SUPPLIES <b>LTD</b> 🙂")
    control(page, "Vendor").focus()
    # The words that the drag covers, in a line that holds more.
    start, end = at(page, LINE.format(0, 0), 0.02), at(page, LINE.format(0, 0), 0.5)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(control(page, "Vendor")).to_be_focused()
    assert evidence(page, "vendor") == "ACME SUPPLIES"
    expect(page.locator('.page-marks [data-path="vendor"].mark-strong')).to_have_count(1)
    control(page, "Invoice number").focus()
    page.keyboard.press("Alt+d")
    expect(page.locator("#page-scroll")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#announcer")).to_contain_text("ACME SUPPLIES")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#announcer")).to_contain_text("Invoice A-1029")
    page.keyboard.press("Enter")
    expect(control(page, "Invoice number")).to_be_focused()
    expect(control(page, "Invoice number")).to_have_value(re.compile("^Invoice A-1029"))
    # A whole line by a click; of a line with words and figures the number at the pointer, for a number.
    control(page, "Total amount").focus()
    page.locator("#page-on").click()
    expect(page.locator("#page-number")).to_have_text("2 / 2")
    page.mouse.click(*at(page, LINE.format(1, 1), 0.95))
    expect(control(page, "Total amount")).to_have_value("1,100.00")
    assert evidence(page, "total_amount") == "1,100.00"
    page.keyboard.press("Alt+v")
    expect(page.locator("#document-scroll")).to_be_visible()
    expect(page.locator("#page-scroll")).to_be_visible()
    page.keyboard.press("Alt+v")
    expect(page.locator("#page-scroll")).to_be_hidden()
    page.reload()
    expect(page.locator("#page-scroll")).to_be_hidden()


@pytest.mark.slow
def test_zoom_and_pan(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    page = open_label(desk.ana, document)
    paper = page.locator(".page-paper").first
    before = paper.bounding_box()
    page.locator("#zoom-in").click()
    page.locator("#zoom-in").click()
    expect(page.locator("#zoom-fit")).to_have_text("150%")
    after = paper.bounding_box()
    assert before
    assert after
    assert abs(after["width"] / before["width"] - 1.5) < 0.01
    page.locator("#page-scroll").evaluate("element => element.scrollTo(0, 0)")
    # What is under the pointer stays there while Ctrl and the wheel zoom.
    spot = at(page, LINE.format(0, 1), 0.3)
    page.mouse.move(*spot)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(page.locator("#zoom-fit")).not_to_have_text("150%")
    moved = at(page, LINE.format(0, 1), 0.3)
    assert abs(moved[0] - spot[0]) < 12
    assert abs(moved[1] - spot[1]) < 12
    # Space and the pointer move the page.
    page.locator("#page-scroll").focus()
    held = page.evaluate("document.getElementById('page-scroll').scrollLeft")
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(spot[0] - 60, spot[1] - 30, steps=3)
    page.mouse.up()
    page.keyboard.up("Space")
    assert page.evaluate("document.getElementById('page-scroll').scrollLeft") > held
    expect(control(page, "Invoice number")).to_have_value("")
    page.locator("#zoom-fit").click()
    expect(page.locator("#zoom-fit")).to_have_text("100%")


@pytest.mark.slow
def test_page_images_load_lazily_with_a_fallback(desk: Desk, open_label: Open) -> None:
    document = desk.document("\n".join(f"line {number}" for number in range(80)))
    paged(document)
    asked: set[str] = set()

    def answer(route: Route) -> None:
        asked.add(route.request.url)
        route.fulfill(body=PIXEL if "/pages/1/" in route.request.url else b"broken", content_type="image/png")

    page = open_label(desk.ana)
    DocumentPage.objects.filter(document=document).update(image_key="pages/any.png")
    page.route("**/pages/*/image", answer)
    page.reload()
    expect(page.locator(".page-paper img")).to_have_count(1)
    expect(page.locator(".page-paper[data-index='1'] .page-texts text").first).to_have_text("line 4")
    assert 2 <= len(asked) < 5
    page.locator("#page-scroll").evaluate("element => element.scrollTo(0, element.scrollHeight)")
    expect(page.locator(".page-paper[data-index='19'] .page-texts text").first).to_have_text("line 76")
    assert len(asked) < 15


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
    context = browser.new_context(base_url=live_server.url, viewport=PHONE, has_touch=True, is_mobile=True)

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


@pytest.mark.slow
def test_rows_and_the_tools_of_a_page_by_touch(desk: Desk, phone: Callable[[str], Page]) -> None:
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
    document = desk.document(f"{LINES}.", name="a-document-with-a-rather-long-name-2026-01-14.pdf")
    paged(document)
    page.goto(reverse("label_document", args=["desk", document.pk]))
    expect(page.locator("#page-tools")).to_be_visible()
    assert page.evaluate(OUT_OF_REACH) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    control(page, "Invoice number").tap()
    page.locator("#page-sheet .page-lines rect").first.tap()
    expect(control(page, "Invoice number")).to_have_value(LINES.splitlines()[0])
    until(page, "() => !getSelection().toString()")
