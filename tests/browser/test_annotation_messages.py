"""Messages next to fields, below a grid and for its cells, and their keys."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Annotation
from tests.browser.conftest import Open, Watch
from tests.browser.forms import EVERYTHING, use_schema
from tests.browser.labeling import LINES, all_saved, control, saved, select
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk

ITEM = object_schema({"name": {"type": "string"}, "count": {"type": "integer"}})
ITEMS = object_schema({"items": {"type": "array", "title": "Items", "items": ITEM}})
ADD_ROW = """(rows, texts) => {
  rows.querySelector("[data-add-row]").click();
  [...rows.querySelector("[data-item]").querySelectorAll("[data-control]")].slice(0, 2).forEach((control, index) => {
    control.focus();
    control.value = texts[index];
    control.dispatchEvent(new InputEvent("input", { bubbles: true }));
  });
}"""
LINE = '[data-title="Items"] > [data-messages] > p'


def cell(page: Page, row: int, title: str) -> Any:
    return page.locator(f"[data-body] tr:nth-child({row}) [data-title={title}] [data-control]")


@pytest.fixture
def broken(desk: Desk, open_label: Open) -> Page:
    """A grid of 200 rows, each with a name that stands nowhere and a count that is none."""
    use_schema(desk, ITEMS)
    page = open_label(desk.ana, desk.document(LINES))
    page.keyboard.press("Alt+j")
    rows = [{"name": f"Nowhere {number}", "count": "many"} for number in range(200)]
    page.locator("#raw-text").fill(json.dumps({"items": rows}))
    page.keyboard.press("Alt+j")
    expect(page.locator("[data-body] tr")).to_have_count(200)
    return page


def test_a_grid_shows_the_first_messages_and_a_count(broken: Page) -> None:
    expect(broken.locator(LINE)).to_have_count(21)
    expect(broken.locator(LINE).first).to_contain_text("Row 1, Count: must be a whole number")
    more = broken.get_by_role("button", name="380 more")
    more.click()
    expect(broken.locator(LINE)).to_have_count(121)
    expect(broken.get_by_role("button", name="280 more")).to_be_visible()
    assert broken.evaluate("document.activeElement.textContent").startswith("Row 21, Count: must be a whole number")
    broken.keyboard.press("Enter")
    expect(cell(broken, 21, "Count")).to_be_focused()


def test_cell_errors_are_visible(broken: Page) -> None:
    count = cell(broken, 2, "Count")
    count.focus()
    expect(broken.locator("#focus-words")).to_contain_text("Count must be a whole number")
    described = count.get_attribute("aria-describedby") or ""
    expect(broken.locator(f"#{described}")).to_contain_text("Row 2, Count: must be a whole number")
    broken.keyboard.press("Control+a")
    broken.keyboard.type("3")
    broken.keyboard.press("Tab")
    broken.keyboard.press("Shift+Tab")
    expect(broken.locator("#focus-words")).not_to_contain_text("must be")
    expect(count).not_to_have_attribute("aria-describedby", described)


def test_unchanged_messages_are_not_announced_again(broken: Page) -> None:
    kept = broken.locator(LINE).nth(1).element_handle()
    broken.evaluate(
        """box => {
            window.announced = [];
            new MutationObserver((list) => list.forEach((change) => window.announced.push(...change.addedNodes)))
                .observe(box, { childList: true });
        }""",
        broken.locator('[data-title="Items"] > [data-messages]').element_handle(),
    )
    cell(broken, 1, "Count").fill("1")
    cell(broken, 2, "Name").focus()
    expect(broken.locator(LINE).first).to_contain_text("Row 2, Count")
    assert kept is not None
    assert kept.evaluate("line => line === document.querySelector(" + json.dumps(LINE) + ")")
    assert broken.evaluate("window.announced.length") == 1


def test_a_value_not_in_the_document_is_confirmed_by_a_key(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Vendor").fill("Globex")
    expect(page.locator("#focus-facts")).to_contain_text("Confirm value")
    page.keyboard.press("Alt+y")
    expect(page.locator('[data-confirm="vendor"]')).to_be_checked()
    saved(page, 2)
    assert Annotation.objects.get().evidence["vendor"] == {"confirmed": True, "of": '"Globex"'}
    page.keyboard.press("Control+z")
    expect(page.locator('[data-confirm="vendor"]')).not_to_be_checked()
    control(page, "Invoice number").focus()
    page.keyboard.press("Alt+y")
    expect(page.locator("#messages")).to_contain_text("nothing to confirm")


def test_undo_focuses_the_changed_field(broken: Page) -> None:
    cell(broken, 150, "Count").focus()
    broken.keyboard.press("Control+Shift+Backspace")
    expect(broken.locator("[data-body] tr")).to_have_count(199)
    cell(broken, 3, "Count").focus()
    broken.keyboard.press("Control+z")
    expect(broken.locator("[data-body] tr")).to_have_count(200)
    expect(cell(broken, 150, "Name")).to_be_focused()
    expect(cell(broken, 150, "Name")).to_have_value("Nowhere 149")
    expect(cell(broken, 150, "Name")).to_be_in_viewport()
    broken.keyboard.press("Control+Shift+z")
    expect(broken.locator("[data-body] tr")).to_have_count(199)


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


def test_a_long_instruction_can_be_expanded(desk: Desk, open_label: Open) -> None:
    desk.project.contract.instruction = "Extract the invoice. " * 40 + "The last word."
    desk.project.contract.save(update_fields=["instruction"])
    page = open_label(desk.ana, desk.document(LINES))
    instruction = page.get_by_role("button", name="Extract the invoice.")
    assert instruction.evaluate("button => button.scrollWidth > button.clientWidth")
    instruction.press("Enter")
    expect(instruction).to_have_attribute("aria-expanded", "true")
    assert instruction.evaluate("button => button.scrollWidth <= button.clientWidth && button.clientHeight > 60")


def test_shortcuts_are_shown_while_typing(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    vendor = control(page, "Vendor")
    vendor.focus()
    page.keyboard.press("Alt+k")
    expect(page.locator("#keys")).to_contain_text("Submit and open the next")
    caps = page.locator("#keys tr", has_text="redo").locator("kbd")
    expect(caps).to_have_text(["Ctrl Z", "Ctrl Shift Z"])
    page.keyboard.press("Escape")
    expect(vendor).to_be_focused()
    expect(vendor).to_have_value("")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tags", "buyer.city"], ids=["in a map", "additional name of a group"])
def test_a_map_conflict_ends_when_the_value_is_edited(desk: Desk, open_label: Open, name: str) -> None:
    use_schema(desk, EVERYTHING)
    document = desk.document("Paid by card 4711, tags red and blue.")
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    title, key = ("More", "city") if "." in name else ("Tags", "red")

    def write(page: Page, value: str) -> None:
        rows = page.locator(f'#form [data-title="{title}"]').first
        if not rows.locator("[data-item]").count():
            # All at once: a value that is typed after a save of the row or the name alone would end the conflict.
            rows.evaluate(ADD_ROW, [key, value])
        else:
            rows.locator('[data-key="value"] [data-control]').first.fill(value)

    write(ben, "7")
    all_saved(ben)
    write(ana, "5")
    ana.keyboard.press("Tab")
    clash = ana.get_by_text(f"{desk.ben.username} wrote")
    expect(clash).to_be_visible()
    ana.wait_for_timeout(900)
    expect(clash).to_be_visible()
    write(ana, "6")
    ana.keyboard.press("Tab")
    expect(clash).to_have_count(0)


@pytest.mark.parametrize(
    ("text", "vendor", "direction"),
    [
        ("فاتورة رقم 1029\nالمورد: شركة النور للتجارة", "شركة النور للتجارة", "rtl"),
        ('חשבונית מס 1029\nספק: אור תעשיות בע"מ', 'אור תעשיות בע"מ', "rtl"),
        ("請求書 A-1029\n発行者：株式会社アクメ", "株式会社アクメ", "ltr"),
    ],
    ids=["Arabic", "Hebrew", "Japanese"],
)
def test_text_direction_follows_the_script(
    desk: Desk, open_label: Open, text: str, vendor: str, direction: str
) -> None:
    page = open_label(desk.ana, desk.document(text))
    line = page.locator("#document .line").nth(1)
    assert line.evaluate("line => getComputedStyle(line).direction") == direction
    control(page, "Vendor").fill(vendor)
    expect(page.locator('[data-title="Vendor"] [data-side]')).to_have_text("in text")
    assert control(page, "Vendor").evaluate("field => getComputedStyle(field).direction") == direction
    expect(page.locator(".mark-strong")).to_have_text(vendor)
