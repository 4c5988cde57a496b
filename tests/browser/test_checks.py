"""The checks that the other browser tests rely on find what they should: errors of pages, accessibility, width."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.accessibility import check
from tests.browser.conftest import Watch

PAGE = "<html lang=en><title>Invoices</title><main><h1>Invoices</h1>{}</main></html>"
INLINE_SCRIPT = """() => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = true";
    document.head.append(script);
}"""


def test_broken_pages_are_found(page: Page) -> None:
    page.set_content(PAGE.format("<button>Save</button>"))
    check(page, "whole")
    for content, rule in (
        ("<button></button>", "button-name"),
        ("<p style='color: #bbb; background: #fff'>pale</p>", "color-contrast"),
        ("<style>[data-bs-theme=dark] p { color: #333; background: #111 }</style><p>dark</p>", "color-contrast"),
        ("<p style='width: 600px'>wide</p>", "wider than 390"),
    ):
        page.set_content(PAGE.format(content))
        with pytest.raises((AssertionError, pytest.fail.Exception), match=rule):
            check(page, "broken")


@pytest.mark.parametrize(
    ("act", "complaint"),
    [
        (lambda page: page.evaluate(INLINE_SCRIPT), "Content Security Policy"),
        (lambda page: page.evaluate("() => console.error('oh no')"), "oh no"),
        (lambda page: page.evaluate("() => { setTimeout(() => { throw new Error('thrown') }) }"), "thrown"),
        (lambda page: page.goto("/static/no-such-file.css"), "404 GET /static/no-such-file.css"),
    ],
)
def test_page_errors_are_detected(page: Page, watch: Watch, act: Callable[[Page], object], complaint: str) -> None:
    page.goto("/")
    assert watch.left() == []
    act(page)
    for _ in range(300):
        if any(complaint in text for text in watch.left()):
            break
        page.wait_for_timeout(100)
    assert [text for text in watch.left() if complaint in text], watch.complaints
    assert page.evaluate("() => window.hacked") is None
    watch.allow(complaint)
    assert watch.left() == []
