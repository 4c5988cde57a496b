"""Page images next to the form: clicks and drags on lines, zoom, and the keyboard."""

import base64

from django.core.files.base import ContentFile
from playwright.sync_api import Page, Route, expect

from labeling.models import Annotation
from labeling.models import Page as DocumentPage
from slmstudio.storage import artifacts
from tests.browser.conftest import Open, until
from tests.browser.labeling import LINES, control, paged, reads_lines
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


def evidence(page: Page, version: int, path: str) -> str:
    expect(page.locator("#saved-words")).to_contain_text(f"· v{version}")
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
    assert evidence(page, 1, "vendor") == "ACME SUPPLIES"
    expect(page.locator('.page-marks [data-path="vendor"].mark-strong')).to_have_count(1)
    # A whole line by a click; of a line with words and figures the number at the pointer, for a number.
    control(page, "Total amount").focus()
    page.locator("#page-on").click()
    expect(page.locator("#page-number")).to_have_text("2 / 2")
    page.mouse.click(*at(page, LINE.format(1, 1), 0.95))
    expect(control(page, "Total amount")).to_have_value("1,100.00")
    assert evidence(page, 2, "total_amount") == "1,100.00"


def test_a_drag_over_lines_makes_rows(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES.replace("\n\nWidget", "\nWidget"))
    paged(document)
    page = open_label(desk.ana, document)
    start, end = at(page, LINE.format(0, 2), 0), at(page, LINE.format(0, 3), 1)
    page.mouse.move(start[0] - 8, start[1] - 8)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    expect(page.locator(".page-lines .chosen")).to_have_count(2)
    page.mouse.up()
    expect(page.locator("#focus-words")).to_have_text("2 lines selected")
    reads_lines(page)
    page.keyboard.press("Alt+r")
    expect(page.locator("[data-body] tr")).to_have_count(2)
    expect(page.locator("[data-body] tr:nth-child(2) textarea")).to_have_value("Hydraulic pump")


def test_the_page_by_keyboard(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    page = open_label(desk.ana, document)
    control(page, "Vendor").focus()
    page.keyboard.press("Alt+d")
    expect(page.locator("#page-scroll")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#announcer")).to_contain_text("ACME SUPPLIES")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#announcer")).to_contain_text("Hydraulic pump")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(control(page, "Vendor")).to_be_focused()
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES <b>LTD</b> 🙂")
    page.keyboard.press("Alt+v")
    expect(page.locator("#document-scroll")).to_be_visible()
    expect(page.locator("#page-scroll")).to_be_visible()
    page.keyboard.press("Alt+v")
    expect(page.locator("#page-scroll")).to_be_hidden()
    page.reload()
    expect(page.locator("#page-scroll")).to_be_hidden()


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


def test_the_image_that_was_stored_is_shown(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    key = artifacts.store().save("pages/test.png", ContentFile(PIXEL))
    DocumentPage.objects.filter(document=document).update(image_key=key)
    page = open_label(desk.ana, document)
    image = page.get_by_role("img", name="Page 1")
    expect(image).to_be_visible()
    until(page, "() => document.querySelector('.page-paper img').naturalWidth === 1")
    expect(page.locator(".page-texts text")).to_have_count(0)


def test_a_text_document_has_no_page_view(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    expect(page.locator("#page-tools")).to_be_hidden()
    expect(page.locator("#document-scroll")).to_be_visible()
    page.keyboard.press("Alt+v")
    expect(page.locator("#messages")).to_contain_text("no page images")
