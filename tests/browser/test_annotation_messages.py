"""Messages next to fields, below a grid and for its cells, and their keys."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Annotation
from tests.browser.conftest import Open, Watch
from tests.browser.forms import use_schema
from tests.browser.labeling import LINES, all_saved, control, saved, select
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk

pytestmark = pytest.mark.slow

ITEM = object_schema({"name": {"type": "string"}, "count": {"type": "integer"}})
ITEMS = object_schema({"items": {"type": "array", "title": "Items", "items": ITEM}})
ANNOUNCED = """box => {
  window.announced = [];
  new MutationObserver((list) => list.forEach((change) => window.announced.push(...change.addedNodes)))
    .observe(box, { childList: true });
}"""
LINE = '[data-title="Items"] > [data-messages] > p'


def cell(page: Page, row: int, title: str) -> Any:
    return page.locator(f"[data-body] tr:nth-child({row}) [data-title={title}] [data-control]")


def test_messages_of_a_grid(desk: Desk, open_label: Open) -> None:
    """A grid of 200 rows, each with a name that stands nowhere and a count that is none."""
    use_schema(desk, ITEMS)
    page = open_label(desk.ana, desk.document(LINES))
    page.keyboard.press("Alt+j")
    rows = [{"name": f"Nowhere {number}", "count": "many"} for number in range(200)]
    page.locator("#raw-text").fill(json.dumps({"items": rows}))
    page.keyboard.press("Alt+j")
    expect(page.locator("[data-body] tr")).to_have_count(200)
    expect(page.locator(LINE)).to_have_count(21)
    # Unchanged messages are not announced again.
    kept = page.locator(LINE).nth(1).element_handle()
    assert kept
    page.evaluate(ANNOUNCED, page.locator('[data-title="Items"] > [data-messages]').element_handle())
    cell(page, 1, "Count").fill("1")
    cell(page, 2, "Name").focus()
    expect(page.locator(LINE).first).to_contain_text("Row 2, Count: must be a whole number")
    assert kept.evaluate("line => line === document.querySelector(" + json.dumps(LINE) + ")")
    assert page.evaluate("window.announced.length") == 1
    # The error of a cell is described where it has the focus.
    count = cell(page, 2, "Count")
    count.focus()
    expect(page.locator("#focus-words")).to_contain_text("Count must be a whole number")
    described = count.get_attribute("aria-describedby") or ""
    expect(page.locator(f"#{described}")).to_contain_text("Row 2, Count: must be a whole number")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#focus-words")).not_to_contain_text("must be")
    expect(count).not_to_have_attribute("aria-describedby", described)
    # More messages come by a button, and each leads to its cell.
    page.get_by_role("button", name=re.compile(r"^\d+ more")).click()
    expect(page.locator(LINE)).to_have_count(121)
    page.keyboard.press("Enter")
    expect(page.locator("[data-body] [data-control]:focus")).to_have_count(1)
    # Undo shows the row that it brings back.
    cell(page, 150, "Count").focus()
    page.keyboard.press("Control+Shift+Backspace")
    expect(page.locator("[data-body] tr")).to_have_count(199)
    cell(page, 3, "Count").focus()
    page.keyboard.press("Control+z")
    expect(page.locator("[data-body] tr")).to_have_count(200)
    expect(cell(page, 150, "Name")).to_be_focused()
    expect(cell(page, 150, "Name")).to_have_value("Nowhere 149")
    expect(cell(page, 150, "Name")).to_be_in_viewport()


def test_lines_used_as_evidence_can_become_rows(desk: Desk, open_label: Open) -> None:
    schema = object_schema({"address": {"type": "string"}, "items": ITEMS["properties"]["items"]})
    use_schema(desk, schema)
    page = open_label(desk.ana, desk.document("Main Street 1\nSpringfield\n\nWidget   2\nPump   1\n"))
    address = control(page, "Address")
    address.focus()
    select(page, "Main", "Springfield")
    expect(address).to_have_value("Main Street 1 Springfield")
    saved(page, 1)
    select(page, "Widget", "Pump   1")
    expect(address).to_have_value("Widget 2 Pump 1")
    saved(page, 2)
    expect(page.locator("#focus-line")).to_contain_text("2 lines selected")
    page.keyboard.press("Alt+r")
    expect(page.locator("[data-body] tr")).to_have_count(2)
    expect(address).to_have_value("Main Street 1 Springfield")
    saved(page, 3)
    value = Annotation.objects.get().value
    assert value == {
        "address": "Main Street 1 Springfield",
        "items": [{"name": "Widget", "count": 2}, {"name": "Pump", "count": 1}],
    }


def test_an_empty_row_and_a_missing_group_are_named(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    buyer = object_schema({"city": {"type": "string", "maxLength": 20}}, required=["city"])
    use_schema(desk, object_schema({"buyer": {**buyer, "title": "Buyer"}, **ITEMS["properties"]}, required=["buyer"]))
    page = open_label(desk.ana, desk.document(LINES))
    page.locator('[data-title="Items"] [data-add-row]').click()
    page.keyboard.type("Widget")
    page.keyboard.press("Alt+r")
    page.keyboard.press("Control+s")
    all_saved(page)
    expect(page.locator("#verdict")).to_have_attribute("data-tone", "warning")
    # A row that was just added is no news until it is left.
    page.keyboard.press("Tab")
    expect(page.locator(LINE)).to_have_count(0)
    page.keyboard.press("ArrowUp")
    expect(page.locator(LINE).first).to_have_text("Row 2: this row is empty: fill it or remove it")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#focus-words")).to_contain_text("this row is empty")
    page.keyboard.press("Control+Enter")
    expect(page.locator('[data-title="Buyer"] > [data-messages]')).to_have_text("Buyer is required")


def test_the_instruction_and_the_shortcuts_are_opened_by_keys(desk: Desk, open_label: Open) -> None:
    desk.project.contract.instruction = "Extract the invoice. " * 40 + "The last word."
    desk.project.contract.save(update_fields=["instruction"])
    page = open_label(desk.ana, desk.document(LINES))
    instruction = page.get_by_role("button", name="Extract the invoice.")
    assert instruction.evaluate("button => button.scrollWidth > button.clientWidth")
    instruction.press("Enter")
    expect(instruction).to_have_attribute("aria-expanded", "true")
    assert instruction.evaluate("button => button.scrollWidth <= button.clientWidth && button.clientHeight > 60")
    vendor = control(page, "Vendor")
    vendor.focus()
    page.keyboard.press("Alt+k")
    expect(page.locator("#keys tr", has_text="redo").locator("kbd")).to_have_text(["Ctrl Z", "Ctrl Shift Z"])
    page.keyboard.press("Escape")
    expect(vendor).to_be_focused()
    expect(vendor).to_have_value("")


DIRECTIONS = (("المورد: شركة النور للتجارة", "rtl"), ('ספק: אור תעשיות בע"מ', "rtl"), ("発行者：株式会社アクメ", "ltr"))


def test_text_direction_follows_the_script(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document("\n".join(line for line, _ in DIRECTIONS)))
    vendor = control(page, "Vendor")
    for number, (line, direction) in enumerate(DIRECTIONS):
        shown = page.locator("#document .line").nth(number)
        assert shown.evaluate("line => getComputedStyle(line).direction") == direction
        text = line.replace("：", ": ").split(": ")[1]
        vendor.fill(text)
        expect(page.locator('[data-title="Vendor"] [data-side]')).to_have_text("in text")
        assert vendor.evaluate("field => getComputedStyle(field).direction") == direction
        expect(page.locator(".mark-strong")).to_have_text(text)
