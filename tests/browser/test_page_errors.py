"""The page error check that every browser test relies on detects errors."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Watch

INLINE_SCRIPT = """() => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = true";
    document.head.append(script);
}"""


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
