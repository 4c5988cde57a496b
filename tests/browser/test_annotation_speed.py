"""The size of the labeling screen, and the time until a key is shown."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Response, expect

from labeling.projects.services import save_contract
from tests.browser.conftest import Open, until
from tests.browser.labeling import LINES, PREFETCHED, all_saved, control, fill_required, paged
from tests.labeling.label_desk import Desk

pytestmark = pytest.mark.slow

MOST_KB = 150
#: what makes rows of lines is loaded when the screen is idle
AFTER_THE_SCREEN = tuple(
    f"/static/js/annotation/{name}" for name in ("line_rows", "column_strip", "kept_columns", "tables/")
)
MOST_KB_AFTER = 25
MOST_MS = 50


def weighed(page: Page, address: str) -> dict[str, int]:
    """Bytes of everything a first visit loads, headers included, as they cross the wire."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(address)
    expect(page.locator("#strip")).to_contain_text("left for you")
    page.wait_for_timeout(1000)
    sizes: dict[str, int] = {}
    for answer in answers:
        if answer.status == 200:
            sent = answer.request.sizes()
            path = urlsplit(answer.url).path
            sizes[path] = max(sizes.get(path, 0), sent["responseBodySize"] + sent["responseHeadersSize"])
    return sizes


def test_the_screen_weighs_less_than_150_kb(desk: Desk, open_label: Open, new_page: Callable[[], Page]) -> None:
    first, _ = desk.document(LINES), desk.document(LINES)
    cookies = open_label(desk.ana, first).context.cookies()
    # A browser of its own: what another page loaded would come out of its memory.
    page = new_page()
    page.context.add_cookies([{key: cookie[key] for key in ("name", "value", "domain", "path")} for cookie in cookies])  # type: ignore[misc]
    sizes = weighed(page, reverse("label_document", args=["desk", first.pk]))
    assert {"/static/css/icons.css", "/static/js/annotation/page_view.js"} <= set(sizes)
    after = {path: sizes.pop(path) for path in [*sizes] if path.startswith(AFTER_THE_SCREEN)}
    assert sum(after.values()) < MOST_KB_AFTER * 1024, after
    listing = "\n".join(f"{size:>7} {path}" for path, size in sorted(sizes.items(), key=lambda item: -item[1]))
    print(f"{sum(sizes.values())} bytes\n{listing}")
    assert sum(sizes.values()) < MOST_KB * 1024, listing


def schema_of_thirty() -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"field_{number}": {"type": "string", "maxLength": 60, "x-slm": {"kind": "text", "evidence": "expected"}}
        for number in range(30)
    }
    return {"type": "object", "additionalProperties": False, "properties": fields}


SLOWEST = """() => {
    window.slowest = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.name !== "keydown") continue;
            window.slowest.push([entry.duration, entry.processingEnd - entry.processingStart]);
        }
    }).observe({ type: "event", durationThreshold: 16, buffered: true });
}"""


@pytest.mark.parametrize("pages", [False, True], ids=["text", "page and text"])
def test_a_key_is_shown_within_50_ms_with_1000_lines(desk: Desk, open_label: Open, pages: bool) -> None:
    schema_text = json.dumps(schema_of_thirty())
    save_contract(project=desk.project, user=desk.owner, instruction="x", schema_text=schema_text, constraints={})
    lines = "\n".join(
        f"{number:04} Article {number} of the list     {number}.50     {number * 3}.00" for number in range(1000)
    )
    document = desk.document(lines)
    if pages:
        paged(document, per_page=100)
    page = open_label(desk.ana, document)
    if pages:
        page.locator("[data-document-view=both]").click()
    for number in range(30):
        page.locator(f'#form [data-key="field_{number}"] [data-control]').fill(f"Article {number * 30}")
    all_saved(page)
    page.evaluate(SLOWEST)
    typed = "Article 907 of the list"
    page.locator('#form [data-key="field_3"] [data-control]').fill("")
    # As fast as one types, over several saves and their answers.
    page.keyboard.type(typed * 3, delay=45)
    page.wait_for_timeout(500)
    entries = page.evaluate("window.slowest")
    # Keys below the threshold of 16 ms are not reported.
    quick = [(0.0, 0.0)] * (len(typed) * 3 - len(entries))
    seen, handled = (sorted(values) for values in zip(*quick, *entries, strict=True))
    middle, most = seen[len(seen) // 2], seen[int(len(seen) * 0.95)]
    print(f"{len(seen)} keys, seen after {middle} ms (p95 {most} ms), handled in {handled[-1]:.1f} ms at most")
    assert middle < MOST_MS
    # Of that our own part; the rest is the wait for the next frame and for whatever else runs on the machine.
    assert handled[int(len(handled) * 0.95)] < MOST_MS / 4


def test_the_next_document_is_prefetched(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    desk.document(LINES)
    page = open_label(desk.ana, first)
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    all_saved(page)
    until(page, PREFETCHED)
    # Between the answer of the submit and the next document the server is not asked for that document.
    page.evaluate(
        """() => {
            const { fetch } = window;
            const name = document.getElementById("document-name");
            const shown = new Promise((done) => {
                new MutationObserver(() => done(performance.now())).observe(name, { childList: true });
            });
            window.asked = [];
            let open = true;
            shown.then(() => (open = false));
            window.fetch = async (url, options) => {
                if (open) window.asked.push(String(url));
                const response = await fetch(url, options);
                if (String(url).endsWith("/save/")) {
                    const body = await response.clone().json();
                    const at = performance.now();
                    shown.then((then) => (document.body.dataset.took = then - at));
                }
                return response;
            };
        }"""
    )
    page.keyboard.press("Control+Enter")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    expect(page.locator("body")).to_have_attribute("data-took", re.compile(r"\d"))
    took = float(page.locator("body").get_attribute("data-took") or "nan")
    print(f"{took:.1f} ms from the answer to the next document")
    asked = page.evaluate("window.asked.map((url) => url.split('/').at(-2))")
    assert "save" in asked
    assert not {"next", "state"} & set(asked), asked
    # Alone on a machine it is some 15 ms; this only tells a wait for the server from none.
    assert took < 200
    expect(control(page, "Invoice number")).to_be_focused()
