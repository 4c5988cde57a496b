"""A long grid: spreadsheet keys, pasted and copied blocks, and the time until a key is shown."""

import json
import statistics
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from labeling.models import Annotation
from tests.browser.conftest import Open, until
from tests.browser.forms import GRID, use_schema
from tests.browser.test_form_parts import settled, value_of
from tests.labeling.label_desk import Desk

ROWS = 1000
#: ms of computing in the page, a keypress with all that it leads to until it is painted: time that other programs take
#: from this machine does not count
PAINT = 50

# Notes when a keypress was handled and, from the frame after it, when it was painted.
MEASURE = """() => {
    window.paints = [];
    addEventListener("keydown", (event) => {
        const start = event.timeStamp;
        requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => paints.push(performance.now() - start);
            channel.port2.postMessage(null);
        });
    }, { capture: true });
}"""


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


def test_keys_of_a_spreadsheet(grid: Page) -> None:
    grid.locator("#form [data-add-row]").first.click()
    paste(grid, "a\tb\nc\td\ne\tf")
    cell(grid, 0, 0).focus()
    grid.keyboard.press("ArrowDown")
    expect(cell(grid, 1, 0)).to_be_focused()
    grid.keyboard.press("Tab")
    expect(cell(grid, 1, 1)).to_be_focused()
    grid.keyboard.press("Enter")
    expect(cell(grid, 2, 1)).to_be_focused()
    grid.keyboard.press("Enter")
    expect(cell(grid, 3, 1)).to_be_focused()
    grid.keyboard.press("Shift+Enter")
    expect(cell(grid, 2, 1)).to_be_focused()
    grid.keyboard.press("ArrowUp")
    expect(cell(grid, 1, 1)).to_be_focused()


def test_rows_are_copied_as_a_spreadsheet_takes_them(grid: Page) -> None:
    grid.locator("#form [data-add-row]").first.click()
    paste(grid, 'a\t"x\ny"\t1\nb\tz\t2')
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


@pytest.mark.slow
def test_a_keypress_in_a_thousand_rows_is_fast(grid: Page) -> None:
    page = grid
    page.keyboard.press("Alt+j")
    page.locator("#raw-text").fill(json.dumps({"rows": rows(ROWS), "total": 1}))
    page.keyboard.press("Alt+j")
    expect(page.locator("#form tbody tr")).to_have_count(ROWS, timeout=60_000)
    page.wait_for_timeout(1500)
    page.evaluate(MEASURE)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    computed = []

    def press(key: str) -> None:
        before, seen = task_ms(session), page.evaluate("paints.length")
        page.keyboard.press(key)
        until(page, "seen => paints.length > seen", seen)
        computed.append(task_ms(session) - before)
        page.wait_for_timeout(40)

    for row, column in ((500, 0), (500, 1), (10, 3), (990, 1)):
        cell(page, row, column).focus()
        page.keyboard.press("End")
        for key in "abcdefgh" if column < 2 else "12345678":
            press(key)
        for key in ("Tab", "ArrowDown", "Enter"):
            press(key)
    assert len(computed) == 44
    for name, times in (("computed", sorted(computed)), ("on the clock", sorted(page.evaluate("paints")))):
        median, p95 = statistics.median(times), times[int(len(times) * 0.95)]
        print(
            f"keypress to paint over {ROWS} rows, {name}: median {median:.0f} ms, p95 {p95:.0f}, most {times[-1]:.0f}"
        )
    assert statistics.median(computed) < PAINT
    value_of(page)
    assert len(Annotation.objects.get().value["rows"]) == ROWS


def task_ms(session: CDPSession) -> float:
    """Milliseconds that the page's main thread has computed so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))
