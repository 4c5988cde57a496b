"""What the tests of the labeling screen share: a document, and how a person works on it."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

LINES = """ACME SUPPLIES <b>LTD</b> 🙂
Invoice A-1029              Jan 14, 2026

Widget, blue        2      10.00      20.00
Hydraulic pump      1   1,080.00   1,080.00

Total                              1,100.00
"""
SAVED = "#saved[data-tone=quiet]"

Open = Callable[..., Page]


def control(page: Page, title: str) -> Locator:
    return page.locator(f'#form [data-node=leaf][data-title="{title}"] [data-control]').first


def select(page: Page, first: str, last: str) -> None:
    """Selects from the start of one text to the end of another with the mouse."""
    place = """([text, end]) => {
        const walker = document.createTreeWalker(document.getElementById("document"), NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(text);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + text.length);
            const box = range.getBoundingClientRect();
            return [end ? box.right - 1 : box.left + 1, box.top + box.height / 2];
        }
    }"""
    start, end = page.evaluate(place, [first, False]), page.evaluate(place, [last, True])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def saved(page: Page, version: int) -> None:
    expect(page.locator("#saved-words")).to_contain_text(f"· v{version}")
    expect(page.locator("#saved-words")).to_contain_text("saved ")


def fill_required(page: Page) -> None:
    control(page, "Invoice number").fill("A-1029")
    control(page, "Invoice date").fill("Jan 14, 2026")
    control(page, "Vendor").fill("ACME SUPPLIES")
    control(page, "Total amount").fill("1,100.00")
