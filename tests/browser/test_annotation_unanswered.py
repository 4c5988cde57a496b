"""Questions of a submit: ambiguous dates, violated invariants, unanswered optional fields."""

import re

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Annotation, Gold
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, all_saved, control, fill_required
from tests.labeling.label_desk import Desk

DATED = LINES.replace("Jan 14, 2026", "03/04/2026")
NOTICE = "#notice-text"
ABSENT = {"absent": True}


@pytest.fixture
def page(desk: Desk, open_label: Open, watch: Watch) -> Page:
    watch.allow("422 POST")
    return open_label(desk.ana, desk.document(DATED))


def left(page: Page) -> None:
    """The document was submitted, and it was the last one."""
    expect(page.get_by_text("No documents to label")).to_be_visible()


def test_an_ambiguous_date_is_resolved_by_key_or_mouse(page: Page) -> None:
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    date = control(page, "Invoice date")
    date.fill("03/04/2026")
    page.keyboard.press("Tab")
    message = page.locator('[data-title="Invoice date"] .sf-message')
    expect(message).to_contain_text("03/04/2026 is ambiguous: April 3, 2026 or March 4, 2026?")
    expect(control(page, "Due date")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(date).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Enter")
    expect(date).to_be_focused()
    assert not Gold.objects.exists()
    page.keyboard.press("Alt+2")
    expect(date).to_have_value("2026-03-04")
    expect(date).to_be_focused()
    expect(message).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(date).to_have_value("03/04/2026")
    page.keyboard.press("Tab")
    message.get_by_role("button", name="April 3, 2026").click()
    expect(date).to_have_value("2026-04-03")
    expect(control(page, "Due date")).to_be_focused()
    page.keyboard.press("Control+Enter")
    left(page)
    assert Gold.objects.get().revision.value["date"] == "2026-04-03"


def test_a_violated_invariant_must_be_confirmed(page: Page) -> None:
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    control(page, "Invoice date").fill("2026-04-03")
    control(page, "Due date").fill("2026-03-04")
    page.keyboard.press("Control+Enter")
    expect(control(page, "Due date")).to_be_focused()
    expect(page.locator("#verdict-words")).to_have_text("1 to confirm")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#announcer")).to_have_text("1 to confirm")
    assert not Gold.objects.exists()
    page.keyboard.press("Alt+y")
    expect(page.get_by_role("checkbox", name="Confirm value")).to_be_checked()
    expect(control(page, "Due date")).to_be_focused()
    page.keyboard.press("Control+Enter")
    left(page)
    assert len(Gold.objects.get().revision.evidence["due_date"]["doubts"]) == 1


def test_unanswered_fields_are_asked_about_once(page: Page) -> None:
    for title, value in (("Invoice number", "A-1029"), ("Vendor", "ACME SUPPLIES"), ("Total amount", "1,100.00")):
        control(page, title).fill(value)
    control(page, "Invoice date").fill("2026-04-03")
    page.locator('[data-title="Line items"] [data-null]').click()
    expect(control(page, "Due date")).to_have_attribute("placeholder", "")
    page.keyboard.press("Control+Enter")
    expect(page.locator(NOTICE)).to_contain_text("Not filled in: Due date, Currency, Payment terms, Subtotal, Tax.")
    expect(control(page, "Due date")).to_be_focused()
    assert not Gold.objects.exists()
    page.keyboard.press("Alt+0")
    expect(control(page, "Due date")).to_have_attribute("placeholder", "not in the document")
    page.keyboard.press("Control+z")
    expect(control(page, "Due date")).to_have_attribute("placeholder", "")
    page.keyboard.press("Alt+Shift+Digit0")
    left(page)
    revision = Gold.objects.get().revision
    assert [revision.evidence[path] for path in ("due_date", "subtotal", "tax")] == [ABSENT] * 3
    assert (revision.value["currency"], "tax" in revision.value) == (None, False)


def test_a_second_submit_leaves_fields_unanswered(page: Page) -> None:
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    control(page, "Invoice date").fill("2026-04-03")
    control(page, "Tax").fill("1")
    control(page, "Tax").fill("")
    expect(control(page, "Tax")).to_have_attribute("placeholder", "")
    page.keyboard.press("Alt+j")
    page.keyboard.press("Alt+j")
    expect(control(page, "Subtotal")).to_have_attribute("placeholder", "not in the document")
    all_saved(page)
    page.reload()
    expect(control(page, "Subtotal")).to_have_attribute("placeholder", "not in the document")
    expect(control(page, "Tax")).to_have_attribute("placeholder", "")
    page.keyboard.press("Control+Enter")
    expect(page.locator(NOTICE)).to_contain_text("Not filled in: Tax.")
    expect(page.locator("#announcer")).to_contain_text("1 field is not filled in: Tax.")
    expect(page.get_by_role("button", name=re.compile("^Not in the document"))).to_be_visible()
    page.keyboard.press("Control+Enter")
    left(page)
    evidence = Annotation.objects.get().evidence
    assert (evidence["subtotal"], "tax" in evidence) == (ABSENT, False)
