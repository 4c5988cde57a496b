"""The check of pages finds what it should."""

import pytest
from playwright.sync_api import Page

from tests.browser.accessibility import check

PAGE = "<html lang=en><title>Invoices</title><main><h1>Invoices</h1>{}</main></html>"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("<button></button>", "button-name"),
        ("<p style='color: #bbb; background: #fff'>pale</p>", "color-contrast"),
        ("<style>[data-bs-theme=dark] p { color: #333; background: #111 }</style><p>dark</p>", "color-contrast"),
        ("<p style='width: 200vw'>wide</p>", "too wide"),
    ],
)
def test_broken_pages_are_found(page: Page, content: str, rule: str) -> None:
    page.set_content(PAGE.format("<button>Save</button>"))
    check(page, "whole")
    page.set_content(PAGE.format(content))
    with pytest.raises(AssertionError, match=rule):
        check(page, "broken")
