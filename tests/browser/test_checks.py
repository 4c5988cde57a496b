"""The checks that the other browser tests rely on find what they should: errors of pages, accessibility, width."""

import pytest
from playwright.sync_api import Page

from tests.browser.accessibility import check
from tests.browser.conftest import Watch

pytestmark = pytest.mark.slow

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


def test_page_errors_are_detected(page: Page, watch: Watch) -> None:
    page.goto("/")
    assert watch.left() == []
    page.evaluate(INLINE_SCRIPT)
    page.evaluate("() => console.error('oh no')")
    page.evaluate("() => { setTimeout(() => { throw new Error('thrown') }) }")
    page.goto("/static/no-such-file.css")
    complaints = ("Content Security Policy", "oh no", "thrown", "404 GET /static/no-such-file.css")
    for _ in range(300):
        missing = [text for text in complaints if not any(text in complaint for complaint in watch.left())]
        if not missing:
            break
        page.wait_for_timeout(100)
    assert missing == [], watch.complaints
    assert page.evaluate("() => window.hacked") is None
    for text in complaints:
        watch.allow(text)
    assert watch.left() == []


def test_a_request_that_is_aborted_is_no_error(page: Page, watch: Watch) -> None:
    page.goto("/")
    page.route("**/slow/", lambda route: None)  # never answered
    page.evaluate("""() => {
        const ended = new Promise((done) => document.addEventListener("htmx:sendAbort", done));
        htmx.ajax("GET", "/slow/", { source: document.body }).catch(() => {});
        htmx.trigger(document.body, "htmx:abort");
        return ended.then(() => null);
    }""")
    assert watch.complaints == []
    page.unroute_all()
