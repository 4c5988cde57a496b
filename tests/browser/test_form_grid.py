"""A long grid: spreadsheet keys, pasted and copied blocks, and the time until a key is shown."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.forms import GRID, use_schema
from tests.browser.test_form_parts import settled, value_of
from tests.labeling.label_desk import Desk


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


def test_a_block_of_a_spreadsheet_is_pasted_at_the_cell_and_adds_rows(grid: Page) -> None:
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


def test_keys_and_copies_of_a_spreadsheet(grid: Page) -> None:
    grid.locator("#form [data-add-row]").first.click()
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


def test_long_texts_get_most_of_the_width(grid: Page) -> None:
    page = grid
    for count in (3, 45):
        page.keyboard.press("Alt+j")
        texts = [{**row, "note": "a note that is a good deal longer"} for row in rows(count)]
        page.locator("#raw-text").fill(json.dumps({"rows": texts, "total": 1}))
        page.keyboard.press("Alt+j")
        expect(page.locator("#form tbody tr")).to_have_count(count)
        widths = [cell(page, 0, column).evaluate("control => control.offsetWidth") for column in range(3)]
        assert widths[1] > 1.5 * max(widths[0], widths[2])


def test_row_buttons_are_in_sight_on_a_phone(grid: Page) -> None:
    page = grid
    page.locator("#form [data-add-row]").first.click()
    page.keyboard.type("first")
    page.set_viewport_size({"width": 390, "height": 844})
    button = page.locator("#form tbody [data-delete-row]")
    box = button.bounding_box()
    assert box
    assert min(box["width"], box["height"]) >= 40
    assert box["x"] + box["width"] <= 390
    wrap = page.locator(".sf-grid-wrap")
    assert wrap.evaluate("wrap => wrap.scrollWidth > wrap.clientWidth && wrap.scrollLeft === 0")
    button.click()
    expect(page.locator("#form tbody tr")).to_have_count(0)
