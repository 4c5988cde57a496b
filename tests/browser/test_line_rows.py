"""Rows of a grid from lines of the document: their columns, their places in it, and how a user corrects them."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from labeling.models import Annotation
from tests.browser.accessibility import check
from tests.browser.conftest import Open
from tests.browser.forms import use_schema
from tests.browser.labeling import all_saved, paged, reads_lines, saved, select
from tests.browser.test_form_parts import value_of
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk

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
    assert items(page) == [
        ("PM-1", "Ramette A4", 40, "ram"),
        ("PM-2", "Stylo bille bleu, ram de 5", 200, "pce"),
        ("PM-3", "Classeur 40 mm", 12, "pce"),
    ]
    evidence = Annotation.objects.get().evidence
    for row, line in enumerate(document.text.split("\n")[2:5]):
        offset = document.text.index(line)
        for name in NAMES:
            place = evidence[f"items[{row}].{name}"]
            start = offset + line.rindex(str(items(page)[row][NAMES.index(name)]))
            assert (place["start"], place["end"]) == (start, start + len(str(items(page)[row][NAMES.index(name)])))


#: which of the texts is the article number cannot be known
UNCLEAR = "Note {0}\n\nRed   Apple   3   kg\nGreen   Pear   5   kg\nBlue   Plum   {0}   kg\n"


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


def test_a_tab_selects_the_text_of_a_cell(notes: Desk, open_label: Open) -> None:
    page = open_label(notes.ana, notes.document(PAPER))
    select(page, "PM-1", "200 pce")
    page.keyboard.press("Alt+r")
    page.keyboard.type("PM-7")
    page.keyboard.press("Tab")
    page.keyboard.type("Ramette")
    page.keyboard.press("Control+d")
    page.keyboard.type("Classeur")
    assert items(page)[:2] == [("PM-7", "Ramette", 40, "ram"), ("PM-7", "Classeur", 40, "ram")]


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


def test_lines_from_right_to_left_are_taken_as_a_whole(notes: Desk, open_label: Open) -> None:
    lines = ["إذن تسليم", "HE-1   مفك براغي   3   قطعة", "HE-2   شريط لاصق   12   لفة", "HE-3   مسامير   500   علبة"]
    page = open_label(notes.ana, notes.document("\n".join(lines)))
    page.evaluate(
        """() => {
            const [, first, , last] = document.querySelectorAll("#document .line");
            getSelection().setBaseAndExtent(first.firstChild, 12, last.firstChild, 8);
            last.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
        }"""
    )
    expect(page.locator("#focus-words")).to_have_text("3 lines selected")
    reads_lines(page)
    page.keyboard.press("Alt+r")
    assert items(page) == [
        ("HE-1", "مفك براغي", 3, "قطعة"),
        ("HE-2", "شريط لاصق", 12, "لفة"),
        ("HE-3", "مسامير", 500, "علبة"),
    ]


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
