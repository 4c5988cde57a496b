"""The labeling screen at phone, tablet, laptop and desktop widths: nothing is clipped or covered."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.labeling import LINES, control
from tests.labeling.label_desk import Desk

WIDTHS = ((390, 844), (768, 1024), (1280, 800), (1920, 1080))

# The controls that stand under something fixed once they have the focus, and whether the page is wider than its window.
COVERED = """() => {
    const found = [];
    for (const control of document.querySelectorAll("#form [data-control]")) {
        control.focus();
        control.scrollIntoView({ block: "nearest" });
        const box = control.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const y = box.top + box.height / 2;
        for (const x of [box.left + 4, box.left + box.width / 2, box.right - 4]) {
            if (x < 0 || x > innerWidth) continue;
            const on = document.elementFromPoint(x, y);
            if (on?.closest("#messages, #notice, .bar")) found.push(control.closest("[data-node]").dataset.title);
        }
    }
    return [...new Set(found)];
}"""
BUTTONS = ".bar button, .topbar button, .pane-head button, #leftovers a, #leftovers button"
CUT_OFF = """(selector) => [...document.querySelectorAll(selector)].filter((button) => {
    const { left, right } = button.getBoundingClientRect();
    return button.checkVisibility() && (left < 0 || right > innerWidth + 0.5);
}).map((button) => button.id || button.textContent)"""
# Pairs of parts of the bar that cover each other by more than a pixel.
OVERLAPPING = """() => {
    const parts = [...document.querySelectorAll("#saved, .bar button")].filter((part) => part.checkVisibility());
    const boxes = parts.map((part) => part.getBoundingClientRect());
    const apart = (a, b) => a.right <= b.left + 1 || a.bottom <= b.top + 1;
    const cover = (one, other) => one < other && !apart(boxes[one], boxes[other]) && !apart(boxes[other], boxes[one]);
    return parts.flatMap((part, one) => parts.filter((_, other) => cover(one, other)).map(({ id }) => [part.id, id]));
}"""


@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_messages_are_fully_visible(desk: Desk, open_label: Open, width: int, height: int) -> None:
    document, other = desk.document(LINES), desk.document("Another document.")
    page = open_label(desk.ana, document)
    page.set_viewport_size({"width": width, "height": height})
    left: dict[str, Any] = {"entry": {"vendor": "Acme"}, "evidence": {}, "base_version": 7, "schema": 1, "seconds": 1}
    left |= {"at": "2026-01-01T00:00:00Z", "name": other.external_id, "url": f"/p/desk/label/{other.pk}/"}
    page.evaluate(
        "([key, text]) => localStorage.setItem(key, text)", [f"label-{desk.ana.pk}-{other.pk}", json.dumps(left)]
    )
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("#leftovers")).to_contain_text(other.external_id)
    page.keyboard.press("Alt+y")  # a short message stands there, too
    expect(page.locator("#messages")).to_contain_text("nothing to confirm")
    assert page.evaluate(COVERED) == []
    assert page.evaluate(CUT_OFF, BUTTONS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.locator("#submit-button")).to_be_in_viewport(ratio=1)


def test_a_long_message_about_saving_covers_no_button(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    for width, height in ((1024, 768), (1366, 768), *WIDTHS):
        page.set_viewport_size({"width": width, "height": height})
        assert (width, page.evaluate(OVERLAPPING)) == (width, [])
        assert page.evaluate(CUT_OFF, BUTTONS) == []
    expect(page.locator("#saved")).to_have_attribute("title", page.locator("#saved-words").inner_text())
