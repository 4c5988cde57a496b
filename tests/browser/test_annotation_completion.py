"""Completion: typed text is continued from the document and accepted with a key."""

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
    document = desk.document(TEXT)
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


def test_a_number_is_completed(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(TEXT))
    number, total = control(page, "Invoice number"), control(page, "Total amount")
    number.focus()
    page.keyboard.type("A-")
    assert hint(page) == "1029, Total 1,100.00"  # a text: to the end of its column
    total.focus()
    page.keyboard.type("1,")
    assert hint(page) == "100.00"
    page.keyboard.press("End")
    expect(total).to_have_value("1,100.00")
    page.keyboard.press("Control+z")
    expect(total).not_to_have_value("1,100.00")


def test_suggestions_are_cleared_for_the_next_document(desk: Desk, open_label: Open) -> None:
    document, other = desk.document(TEXT), desk.document("Another text")
    page = open_label(desk.ana, document)
    control(page, "Invoice number").focus()
    page.keyboard.type("A-10")
    expect(page.locator(".sf-hint")).to_be_visible()
    page.keyboard.press("Control+z")
    expect(page.locator(".sf-hint")).to_have_count(0)
    page.keyboard.type("A-10")
    expect(page.locator(".sf-hint")).to_be_visible()
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(other.external_id)
    expect(page.locator(".sf-hint")).to_have_count(0)
