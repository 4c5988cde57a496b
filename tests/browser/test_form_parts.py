"""Forms of any schema: long choices, alternative forms, maps, groups, JSON; grids, and their rows from lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from labeling.models import Annotation
from tests.browser.accessibility import check
from tests.browser.conftest import PHONE, Open
from tests.browser.forms import CLASSES, EVERYTHING, GRID, INTENTS, use_schema
from tests.browser.labeling import all_saved, control, paged, reads_lines, saved, select
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk


def value_of(page: Page) -> Any:
    """What is saved, once everything is."""
    page.keyboard.press("Control+s")
    all_saved(page)
    return Annotation.objects.get().value


def settled(page: Page) -> None:
    """Nothing that was typed is left unsaved: a save after the test would be a row of the next one."""
    expect(page.locator("#saved")).to_have_attribute("data-state", re.compile("^(saved|empty)$"))


def part(page: Page, title: str) -> Locator:
    return page.locator(f'#form [data-title="{title}"]').first


@pytest.fixture
def classes(desk: Desk, open_label: Open) -> Iterator[Page]:
    use_schema(desk, CLASSES)
    page = open_label(desk.ana, desk.document("Please stop the transfer I made."))
    yield page
    settled(page)


@pytest.fixture
def everything(desk: Desk, open_label: Open) -> Iterator[Page]:
    use_schema(desk, EVERYTHING)
    page = open_label(desk.ana, desk.document("Paid by card 4711, tags red and blue."))
    yield page
    settled(page)


@pytest.mark.slow
def test_a_long_choice_by_keys_and_mouse(classes: Page) -> None:
    box = control(classes, "Intent")
    expect(box).to_be_focused()
    expect(box).to_have_attribute("role", "combobox")
    classes.keyboard.press("ArrowDown")
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(classes.locator("#combo-list [role=option]")).to_have_count(len(INTENTS))
    classes.keyboard.press("ArrowDown")
    classes.keyboard.press("Tab")
    expect(box).to_have_value(INTENTS[1])
    expect(box).not_to_be_focused()
    box.fill("refund")
    classes.keyboard.press("Escape")
    expect(box).to_have_value(INTENTS[1])
    expect(box).to_have_attribute("aria-expanded", "false")
    box.fill("stop the transfer")
    expect(classes.locator("#combo-list")).to_contain_text("No matching choice")
    classes.locator("#flag-button").focus()
    expect(part(classes, "Intent").locator(".sf-message-problem")).to_contain_text("must be one of")
    expect(box).to_have_value("stop the transfer")
    box.fill("")
    classes.locator("#flag-button").focus()
    assert value_of(classes) == {}
    box.focus()
    classes.keyboard.type("transfer can")
    options = classes.locator("#combo-list [role=option]")
    expect(options).to_have_count(1)
    expect(options.first).to_have_attribute("aria-selected", "true")
    expect(options.first).to_contain_text("They want to cancel a transfer.")
    expect(box).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "")
    classes.keyboard.press("Enter")
    expect(box).to_have_value("cancel a transfer")
    expect(classes.locator("#combo-list")).to_be_hidden()
    assert value_of(classes) == {"intent": "cancel a transfer"}
    control(classes, "Intent").click()
    classes.locator("#combo-list [role=option]").nth(4).click()
    expect(control(classes, "Intent")).to_have_value(INTENTS[4])
    expect(control(classes, "Intent")).to_be_focused()


@pytest.mark.slow
def test_forms_tuples_and_groups(everything: Page) -> None:
    page = everything
    paid = part(page, "Paid")
    paid.locator('[data-title="Number"] [data-control]').fill("4711")
    paid.locator('[data-title="Note"] [data-control]').fill("twice")
    assert value_of(page)["paid"] == {"by": "card", "number": "4711", "note": "twice"}
    paid.locator(".sf-switch", has_text="bank").click()
    expect(paid.locator('[data-title="Iban"]')).to_be_visible()
    expect(paid.locator('[data-title="Note"] [data-control]')).to_have_value("twice")
    assert value_of(page)["paid"] == {"by": "bank", "note": "twice"}
    page.keyboard.press("Control+z")
    expect(paid.locator('[data-title="Number"] [data-control]')).to_have_value("4711")
    expect(paid.locator(".sf-switch input").first).to_be_checked()
    assert value_of(page)["paid"] == {"by": "card", "number": "4711", "note": "twice"}
    amount = part(page, "Amount")
    amount.locator(".sf-switch", has_text="Text").click()
    amount.locator("[data-branch] [data-control]").fill("12.50")
    parts = part(page, "Parts")
    parts.locator("[data-add-row]").click()
    parts.locator(".sf-switch", has_text="bank").click()
    parts.locator('[data-title="Iban"] [data-control]').fill("DE1")
    value = value_of(page)
    assert (value["amount"], value["parts"]) == ("12.50", [{"by": "bank", "iban": "DE1"}])
    amount.locator(".sf-switch", has_text="Number").click()
    assert str(value_of(page)["amount"]) == "12.50"
    page.reload()
    expect(part(page, "Amount").locator("[data-branch] [data-control]")).to_have_value("12.50")
    expect(part(page, "Parts").locator(".sf-switch input").nth(1)).to_be_checked()
    place = part(page, "Place")
    place.locator('[data-title="Item 2"] [data-control]').fill("8.5")
    page.keyboard.press("Tab")
    expect(place.locator('[data-title="Item 1"] .sf-message-problem')).to_contain_text("is empty")
    place.locator('[data-title="Item 1"] [data-control]').fill("47.25")
    buyer = part(page, "Buyer")
    buyer.locator('[data-title="Name"] [data-control]').first.fill("Acme")
    buyer.locator('[data-title="More"] [data-add-row]').click()
    page.keyboard.type("city")
    page.keyboard.press("Tab")
    page.keyboard.type("Ulm")
    value = value_of(page)
    assert [str(number) for number in value["place"]] == ["47.25", "8.5"]
    assert value["buyer"] == {"name": "Acme", "kind": "company", "city": "Ulm"}
    buyer = part(page, "Buyer")
    button = buyer.locator("> legend [data-null]")
    buyer.locator('[data-title="Name"] [data-control]').first.fill("Acme")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert value_of(page)["buyer"] is None
    page.keyboard.press("Control+z")
    expect(buyer.locator('[data-title="Name"] [data-control]').first).to_have_value("Acme")
    expect(button).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
def test_maps_and_json_are_edited(everything: Page) -> None:
    page = everything
    tags = part(page, "Tags")
    tags.locator("[data-add-row]").click()
    page.keyboard.type("red")
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    assert value_of(page)["tags"] == {"red": 3}
    tags.locator("[data-add-row]").click()
    page.keyboard.type("red")
    page.keyboard.press("Tab")
    page.keyboard.type("x")
    page.keyboard.press("Tab")
    expect(tags.locator(".sf-message-problem").first).to_contain_text("another row is already named red")
    assert value_of(page)["tags"] == {"red": 3, "red (2)": "x"}
    tags.locator("[data-key=key] [data-control]").nth(1).fill("blue sky")
    page.keyboard.press("Tab")
    expect(tags.locator('[data-key="value"] .sf-message-problem')).to_contain_text("must be a whole number")
    tags.locator("[data-delete-row]").nth(1).click()
    assert value_of(page)["tags"] == {"red": 3}
    anything = part(page, "Anything")
    expect(anything).to_contain_text("Edited as JSON: it can have any type.")
    anything.locator("textarea").fill('{"price": 1248.50, "id": 12345678901234567890}')
    anything.locator("[data-editor]").click()
    frame = page.frame_locator(".editor-frame")
    expect(frame.locator(".jse-tree-mode")).to_be_visible(timeout=30_000)
    expect(frame.locator("#editor")).to_contain_text("1248.50")
    expect(frame.locator("#editor")).to_contain_text("12345678901234567890")
    frame.locator(".jse-key", has_text="price").dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("cost")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Apply").click()
    expect(anything.locator("textarea")).to_have_value('{\n  "cost": 1248.50,\n  "id": 12345678901234567890\n}')
    value = value_of(page)["anything"]
    assert (str(value["cost"]), value["id"]) == ("1248.50", 12345678901234567890)
    for title in ("Parts", "Grid"):
        part(page, title).locator("[data-add-row]").click()
    check(page, "form-parts")


@pytest.mark.slow
def test_arrows_in_a_grid_choice_move_between_cells(desk: Desk, open_label: Open) -> None:
    row = object_schema({"name": {"type": "string", "maxLength": 9}, "intent": {"enum": INTENTS}})
    use_schema(desk, object_schema({"rows": {"type": "array", "items": row}}))
    page = open_label(desk.ana, desk.document("Cancel it."))
    page.locator("#form [data-add-row]").click()
    page.locator("#form [data-add-row]").click()
    boxes = page.locator("#form td [data-combo]")
    boxes.nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(boxes.nth(1)).to_be_focused()
    page.keyboard.type("refund cash")
    page.keyboard.press("Enter")
    expect(boxes.nth(1)).to_have_value("refund cash")
    expect(boxes.nth(1)).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("#combo-list")).to_be_visible()
    page.keyboard.press("Escape")
    assert value_of(page)["rows"][1] == {"intent": "refund cash"}


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"Row {n}", "note": f"a note {n}", "count": n, "price": n + 0.5, "day": "2026-01-14", "kind": "a"}
        for n in range(count)
    ]


@pytest.fixture
def grid(desk: Desk, open_label: Open) -> Iterator[Page]:
    use_schema(desk, GRID)
    document = desk.document("Rows:\n" + "\n".join(f"Row {n}  a note {n}" for n in range(30)))
    page = open_label(desk.ana, document)
    expect(page.locator("#form [data-add-row]").first).to_be_visible()
    yield page
    settled(page)


def cell(page: Page, row: int, column: int) -> Any:
    return page.locator(f"#form tbody tr:nth-child({row + 1}) td:nth-child({column + 2}) [data-control]")


def paste(page: Page, text: str) -> bool:
    """Whether the grid took it; else the browser puts it into the cell."""
    took: bool = page.evaluate(
        """text => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
            return !document.activeElement.dispatchEvent(event);
        }""",
        text,
    )
    return took


def copied(page: Page) -> str:
    text: str = page.evaluate(
        """() => {
            const data = new DataTransfer();
            const event = new ClipboardEvent("copy", { clipboardData: data, bubbles: true, cancelable: true });
            document.activeElement.dispatchEvent(event);
            return data.getData("text/plain");
        }"""
    )
    return text


@pytest.mark.slow
def test_a_block_of_a_spreadsheet_is_pasted_and_copied(grid: Page) -> None:
    grid.locator("#form [data-add-row]").first.click()
    grid.keyboard.type("first")
    cell(grid, 0, 1).focus()
    paste(grid, 'one\t1\t1.5\t2026-02-01\tb\n"two\nlines ""quoted"""\t2\t2.5\t\tC\n')
    expect(grid.locator("#form tbody tr")).to_have_count(2)
    value = value_of(grid)["rows"]
    assert [str(row.get("price")) for row in value] == ["1.5", "2.5"]
    assert value[0] == {**value[0], "name": "first", "note": "one", "count": 1, "day": "2026-02-01", "kind": "b"}
    assert (value[1]["note"], value[1]["kind"]) == ('two\nlines "quoted"', "c")
    grid.keyboard.press("Control+z")
    expect(grid.locator("#form tbody tr")).to_have_count(1)
    cell(grid, 0, 0).focus()
    paste(grid, 'a\t"x\ny"\t1\nb\tz\t2\nc\tf')
    for key, row, column in (
        ("ArrowDown", 1, 0), ("Tab", 1, 1), ("Enter", 2, 1), ("Enter", 3, 1), ("Shift+Enter", 2, 1), ("ArrowUp", 1, 1),
    ):  # fmt: skip
        grid.keyboard.press(key)
        expect(cell(grid, row, column)).to_be_focused()
    cell(grid, 0, 0).focus()
    grid.keyboard.press("Shift+ArrowDown")
    expect(grid.locator("#form tbody tr.sf-picked")).to_have_count(2)
    assert copied(grid) == 'a\t"x\ny"\t1\t\t\t\nb\tz\t2\t\t\t'
    grid.keyboard.press("ArrowDown")
    expect(grid.locator("#form tbody tr.sf-picked")).to_have_count(0)


@pytest.mark.slow
def test_the_layout_of_a_grid(grid: Page) -> None:
    """Long texts get most of the width; on a phone, the buttons of rows are in sight."""
    page = grid
    for count in (45, 3):
        page.keyboard.press("Alt+j")
        texts = [{**row, "note": "a note that is a good deal longer"} for row in rows(count)]
        page.locator("#raw-text").fill(json.dumps({"rows": texts, "total": 1}))
        page.keyboard.press("Alt+j")
        expect(page.locator("#form tbody tr")).to_have_count(count)
        widths = [cell(page, 0, column).evaluate("control => control.offsetWidth") for column in range(3)]
        assert widths[1] > 1.5 * max(widths[0], widths[2])
    page.set_viewport_size(PHONE)
    button = page.locator("#form tbody [data-delete-row]").first
    box = button.bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 40
    assert box["x"] + box["width"] <= PHONE["width"]
    wrap = page.locator(".sf-grid-wrap")
    assert wrap.evaluate("wrap => wrap.scrollWidth > wrap.clientWidth && wrap.scrollLeft === 0")
    button.click()
    expect(page.locator("#form tbody tr")).to_have_count(2)


NOTE = object_schema(
    {
        "number": {"type": "string", "maxLength": 40},
        "items": {
            "type": "array",
            "title": "Items",
            "items": object_schema(
                {
                    "sku": {"type": "string", "title": "SKU", "maxLength": 40},
                    "description": {"type": "string"},
                    "quantity": {"type": "integer"},
                    "unit": {"type": "string", "maxLength": 20},
                },
                required=["sku", "quantity"],
            ),
        },
    }
)
PAPER = """Bon de livraison 4711

PM-1  Ramette A4   40 ram
PM-2  Stylo bille bleu, ram de 5   200 pce
PM-3  Classeur 40 mm   12 pce
"""
NAMES = ("sku", "description", "quantity", "unit")


@pytest.fixture
def notes(desk: Desk) -> Desk:
    use_schema(desk, NOTE)
    return desk


def items(page: Page) -> list[tuple[Any, ...]]:
    """The saved rows."""
    return [tuple(row.get(name) for name in NAMES) for row in value_of(page)["items"]]


def column(page: Page, number: int) -> Locator:
    return page.locator(".sf-columns select").nth(number)


def test_lines_become_rows_with_their_places(notes: Desk, open_label: Open) -> None:
    document = notes.document(PAPER)
    page = open_label(notes.ana, document)
    select(page, "Ramette", "12 pce")  # from the middle of the first line
    expect(page.locator("#focus-words")).to_have_text("3 lines selected")
    page.keyboard.press("Alt+r")
    expect(page.locator("[data-body] tr")).to_have_count(3)
    expect(page.locator("[data-body] tr:first-child [data-control]").first).to_be_focused()
    saved_items = items(page)
    assert saved_items == [
        ("PM-1", "Ramette A4", 40, "ram"),
        ("PM-2", "Stylo bille bleu, ram de 5", 200, "pce"),
        ("PM-3", "Classeur 40 mm", 12, "pce"),
    ]
    evidence = Annotation.objects.get().evidence
    for row, line in enumerate(document.text.split("\n")[2:5]):
        offset = document.text.index(line)
        for name in NAMES:
            place = evidence[f"items[{row}].{name}"]
            text = str(saved_items[row][NAMES.index(name)])
            start = offset + line.rindex(text)
            assert (place["start"], place["end"]) == (start, start + len(text))
    # Tab selects the text of a cell.
    page.keyboard.type("PM-7")
    page.keyboard.press("Tab")
    page.keyboard.type("Ramette")
    page.keyboard.press("Control+d")
    page.keyboard.type("Classeur")
    assert items(page)[:2] == [("PM-7", "Ramette", 40, "ram"), ("PM-7", "Classeur", 40, "ram")]


#: which of the texts is the article number cannot be known
UNCLEAR = "Note {0}\n\nRed   Apple   3   kg\nGreen   Pear   5   kg\nBlue   Plum   {0}   kg\n"


@pytest.mark.slow
def test_a_changed_column_counts_for_all_rows_and_for_the_next_document(notes: Desk, open_label: Open) -> None:
    first, second = (notes.document(UNCLEAR.format(number), source="acme.zip") for number in (8, 9))
    other = notes.document(UNCLEAR.format(7), source="globex.zip")
    page = open_label(notes.ana, first)
    select(page, "Red", "8   kg")
    page.keyboard.press("Alt+r")
    assert items(page) == [("Red", "Apple", 3, "kg"), ("Green", "Pear", 5, "kg"), ("Blue", "Plum", 8, "kg")]
    # What was typed since stays.
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("4")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Alt+m")
    expect(column(page, 0)).to_be_focused()
    check(page, "columns")
    page.keyboard.type("Desc")
    expect(column(page, 1)).to_have_value("sku")
    page.keyboard.press("Escape")
    expect(page.locator("[data-body] tr:first-child [data-control]").first).to_be_focused()
    expect(page.locator(".sf-columns")).to_have_count(0)
    assert items(page) == [("Apple", "Red", 4, "kg"), ("Pear", "Green", 5, "kg"), ("Plum", "Blue", 8, "kg")]
    evidence = Annotation.objects.get().evidence
    place = evidence["items[2].description"]
    assert first.text[place["start"] : place["end"]] == "Blue"
    for document, sku in ((second, "Apple"), (other, "Red")):
        page.goto(f"/p/desk/label/{document.pk}/")
        select(page, "Red", f"{document.text.split()[1]}   kg")
        page.keyboard.press("Alt+r")
        expect(page.locator("[data-body] tr:first-child [data-control]").first).to_have_value(sku)
        page.keyboard.press("Control+s")
        all_saved(page)


@pytest.mark.slow
def test_an_undo_takes_the_rows_and_their_columns_away(notes: Desk, open_label: Open) -> None:
    page = open_label(notes.ana, notes.document(UNCLEAR.format(8)))
    select(page, "Red", "8   kg")
    page.keyboard.press("Alt+r")
    expect(page.locator("[data-body] tr")).to_have_count(3)
    column(page, 0).select_option("")
    expect(page.locator("[data-body] tr:first-child [data-control]").first).to_have_value("")
    column(page, 1).select_option("$join")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(page.locator("[data-body] tr:first-child [data-control]").first).to_have_value("Red")
    expect(page.locator(".sf-columns")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.locator("[data-body] tr")).to_have_count(0)
    page.keyboard.press("Control+s")
    all_saved(page)


@pytest.mark.slow
def test_cells_are_completed_from_the_line_of_their_row(notes: Desk, open_label: Open) -> None:
    page = open_label(notes.ana, notes.document("A-1   Tape, brown   2   rolls\nA-2   Tape, clear   5   rolled\n"))
    page.locator('#form [data-title="Items"] [data-add-row]').click()
    page.keyboard.type("A-2")
    page.keyboard.press("Tab")
    saved(page, 1)
    page.keyboard.type("Ta")
    expect(page.locator(".sf-hint-rest")).to_have_text("pe, clear")
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.type("5")
    page.keyboard.press("ArrowRight")
    page.keyboard.type("rol")
    expect(page.locator(".sf-hint-rest")).to_have_text("led")
    hint, grid = page.locator(".sf-hint").bounding_box(), page.locator(".sf-rows-table").bounding_box()
    assert hint
    assert grid
    assert grid["x"] <= hint["x"] <= grid["x"] + grid["width"] - hint["width"] + 1
    cell = page.locator("[data-control]:focus").bounding_box()
    assert cell
    assert cell["y"] <= hint["y"] <= cell["y"] + cell["height"]
    page.keyboard.press("ArrowRight")
    assert items(page) == [("A-2", "Tape, clear", 5, "rolled")]


@pytest.mark.slow
def test_rows_from_the_boxes_of_a_page(notes: Desk, open_label: Open) -> None:
    document = notes.document(PAPER)
    paged(document, per_page=20)
    page = open_label(notes.ana, document)
    boxes = page.locator(".page-lines rect")
    first, last = boxes.nth(1).bounding_box(), boxes.nth(3).bounding_box()
    assert first
    assert last
    page.mouse.move(first["x"] + 2, first["y"] + 2)
    page.mouse.down()
    page.mouse.move(last["x"] + last["width"] - 2, last["y"] + last["height"] - 2, steps=4)
    page.mouse.up()
    reads_lines(page)
    page.keyboard.press("Alt+r")
    assert items(page)[1] == ("PM-2", "Stylo bille bleu, ram de 5", 200, "pce")
    place = Annotation.objects.get().evidence["items[1].unit"]
    assert place["start"] == document.text.index("pce")
