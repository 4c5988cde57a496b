"""Completion: typed text is continued from the document and accepted with a key."""

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Document
from tests.browser.conftest import Open
from tests.browser.labeling import all_saved, control
from tests.labeling.label_desk import Desk

TEXT = """SYARIKAT GIN KEE (81109-A)
NO 290, JALAN AIR PANAS
SETAPAK  53200
GIN KEE TRADING
Invoice A-1029, Total 1,100.00
"""


def hint(page: Page) -> str:
    return page.locator(".sf-hint").inner_text().split("\n")[0]


def test_completion_continues_with_the_next_line(desk: Desk, open_label: Open) -> None:
    document, other = desk.document(TEXT), desk.document("Another text")
    page = open_label(desk.ana, document)
    vendor = control(page, "Vendor")
    vendor.focus()
    page.keyboard.type("syar")
    assert hint(page) == "IKAT GIN KEE (81109-A)"
    page.keyboard.press("ArrowRight")
    expect(vendor).to_have_value("SYARIKAT GIN KEE (81109-A)")
    assert hint(page) == " NO 290, JALAN AIR PANAS"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # to the end of the column, not of the line
    expect(vendor).to_have_value("SYARIKAT GIN KEE (81109-A) NO 290, JALAN AIR PANAS SETAPAK")
    page.keyboard.press("Tab")
    expect(page.locator(".sf-hint")).to_have_count(0)
    expect(page.locator("#document .mark").first).to_contain_text("SYARIKAT GIN KEE (81109-A)")
    all_saved(page)
    value = Document.objects.get(pk=document.pk).annotations.get().value
    assert value["vendor"] == "SYARIKAT GIN KEE (81109-A) NO 290, JALAN AIR PANAS SETAPAK"
    control(page, "Invoice number").focus()
    page.keyboard.type("A-10")
    expect(page.locator(".sf-hint")).to_be_visible()
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(other.external_id)
    expect(page.locator(".sf-hint")).to_have_count(0)


@pytest.mark.slow
def test_another_suggestion_can_be_chosen(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(TEXT))
    vendor = control(page, "Vendor")
    vendor.focus()
    page.keyboard.type("gin")
    assert hint(page) == " KEE (81109-A)"
    page.keyboard.press("ArrowDown")
    assert hint(page) == " KEE TRADING"
    page.keyboard.press("Escape")
    expect(page.locator(".sf-hint")).to_have_count(0)
    expect(vendor).to_have_value("gin")
    page.keyboard.type(" kee")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(vendor).to_have_value("GIN KEE TRADING")
    page.keyboard.press("Control+a")
    page.keyboard.type("gin kee trading")  # nothing is left of the line: on with the next
    assert hint(page) == " Invoice A-1029, Total 1,100.00"
    page.keyboard.press("Control+a")
    page.keyboard.type("syar")
    page.keyboard.press("Control+ArrowRight")
    expect(vendor).to_have_value("SYARIKAT")
    page.keyboard.press("Control+ArrowRight")
    expect(vendor).to_have_value("SYARIKAT GIN")
    page.keyboard.press("ArrowRight")
    expect(vendor).to_have_value("SYARIKAT GIN KEE (81109-A)")
    # Without a hint the keys are those of any field.
    page.keyboard.press("Escape")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.type("x")
    expect(vendor).to_have_value("SxYARIKAT GIN KEE (81109-A)")
    # It comes back with undo, and is taken with the mouse as well.
    page.keyboard.press("Control+a")
    page.keyboard.type("syar")
    page.keyboard.press("End")
    page.keyboard.press("Control+z")
    expect(vendor).to_have_value("syar")
    assert hint(page) == "IKAT GIN KEE (81109-A)"
    page.keyboard.press("Control+a")
    page.keyboard.type("gin")
    page.locator(".sf-hint-more").click()  # the next suggestion
    assert hint(page) == " KEE TRADING"
    page.locator(".sf-hint").click(position={"x": 5, "y": 5})
    expect(vendor).to_have_value("GIN KEE TRADING")
    expect(vendor).to_be_focused()


DATES = """LIVRAISON
Date: 14 Jan 2026 Acme
Delivered January 20, 2026 by van
Due 3. Februar 2026
Printed 03/04/2026
Acme, Room 7 m wide
Livret de famille
liv 12 pieces
Sum 1 248,50 EUR
"""


@pytest.mark.slow
def test_completions_fit_the_kind_of_the_field(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(DATES))
    date, total, vendor = control(page, "Invoice date"), control(page, "Total amount"), control(page, "Vendor")
    for typed, shown, taken in [
        ("14", " Jan 2026", "14 Jan 2026"),
        ("janu", "ary 20, 2026", "January 20, 2026"),
        ("3. F", "ebruar 2026", "3. Februar 2026"),
        ("03/", "04/2026", "03/04/2026"),
    ]:
        date.fill("")
        page.keyboard.type(typed)
        assert hint(page) == shown
        page.keyboard.press("End")
        expect(date).to_have_value(taken)
        expect(page.locator(".sf-hint")).to_have_count(0)  # nothing follows a date
    date.fill("")
    page.keyboard.type("7 m")
    expect(page.locator(".sf-hint")).to_have_count(0)
    total.focus()
    page.keyboard.type("1 2")
    page.keyboard.press("End")
    expect(total).to_have_value("1 248,50")
    expect(page.locator(".sf-hint")).to_have_count(0)  # EUR is no part of it
    for typed, rest in [("liv", " 12 pieces"), ("Liv", "ret de famille"), ("LIV", "RAISON")]:  # its case comes first
        vendor.fill("")
        page.keyboard.type(typed)
        assert hint(page) == rest
