"""Shared helpers of the labeling screen tests: a document, and the actions of a user."""

import json
import re
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from labeling.models import Document

LINES = """ACME SUPPLIES <b>LTD</b> 🙂
Invoice A-1029              Jan 14, 2026

Widget, blue        2      10.00      20.00
Hydraulic pump      1   1,080.00   1,080.00

Total                              1,100.00
"""


def control(page: Page, title: str) -> Locator:
    return page.locator(f'#form [data-node=leaf][data-title="{title}"] [data-control]').first


def reads_lines(page: Page) -> None:
    """Waits for the scripts that make rows of lines: they follow the screen, sooner than a person selects lines."""
    page.evaluate("import('/static/js/annotation/line_rows.js').then(() => null)")


def select(page: Page, first: str, last: str) -> None:
    """Selects from the start of one text to the end of another with the mouse."""
    reads_lines(page)
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


def all_saved(page: Page) -> None:
    """Waits until the label is saved as it is on the screen."""
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")


#: the next document has been fetched ahead
PREFETCHED = "() => performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/label/next/'))"


def saved(page: Page, version: int) -> None:
    """Waits until this version (below ten), or a later one where a pause split what was typed, is saved."""
    expect(page.locator("#saved-words")).to_contain_text(re.compile(rf"· v([{version}-9]|\d\d)"))
    all_saved(page)


def fill_required(page: Page) -> None:
    """Fills what the schema requires, and says that nothing else is in the document."""
    control(page, "Invoice number").fill("A-1029")
    control(page, "Invoice date").fill("Jan 14, 2026")
    control(page, "Vendor").fill("ACME SUPPLIES")
    control(page, "Total amount").fill("1,100.00")
    page.keyboard.press("Alt+Shift+Digit0")


def complete(page: Page) -> None:
    """Fills what a submit needs, line items included, and waits until it is saved."""
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    all_saved(page)


PREDICTED = {
    "invoice_id": "A-1029",
    "date": "2026-01-14",
    "vendor": "Globex",
    "currency": "USD",
    "line_items": [
        {"description": "Widget, blue", "quantity": 2, "unit_price": 10, "amount": 20},
        {"description": "Hydraulic pump", "quantity": 1, "unit_price": 1080, "amount": 1080},
    ],
    "total_amount": 1100,
}


def predict(document: "Document", confidence: dict[str, float], **changes: Any) -> None:
    """A model fills the form of a document; with ``changes``, other than ``PREDICTED``."""
    from labeling.annotation import predictions
    from labeling.models import Project

    Project.objects.filter(pk=document.project_id).update(withheld_share=0)
    project = Project.objects.get(pk=document.project_id)
    predictions.record(
        project=project,
        schema_version=project.schema_version,
        proposals=[predictions.PredictionInput(document.pk, json.dumps({**PREDICTED, **changes}), confidence)],
        model="tuned-7",
        source="test",
    )


WIDTH, HEIGHT, LINE = 800, 1000, 24


def paged(document: "Document", per_page: int = 4) -> None:
    """Gives a document pages of boxes without images: every few lines of its text are one page."""
    from labeling.models import Page as DocumentPage

    offset, number = 0, 0
    lines: list[list[float]] = []
    texts = document.text.split("\n")
    for index, text in enumerate(texts):
        if text:
            top = 40 + len(lines) * (HEIGHT - 80) / max(per_page, 23)
            lines.append([offset, offset + len(text), 40, top, 40 + 12 * len(text), top + min(LINE, 900 / per_page)])
        offset += len(text) + 1
        if lines and (index % per_page == per_page - 1 or index == len(texts) - 1):
            number += 1
            DocumentPage.objects.create(
                document=document,
                number=number,
                width=WIDTH,
                height=HEIGHT,
                start=lines[0][0],
                end=lines[-1][1],
                lines=lines,
            )
            lines = []
    document.page_count = number
    document.save(update_fields=["page_count"])
