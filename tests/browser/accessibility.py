"""The rules of WCAG 2.2 AA that axe-core checks, and the width of a page.

The colors of the two themes differ, their markup does not: in the dark theme only the rules of colors are checked.
"""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Error, Page

from tests.browser.conftest import PHONE, until

STANDARD = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
#: nothing is wider than the window, and the page ends with its content
FITS = """() => { const { scrollWidth, clientWidth, scrollHeight, clientHeight } = document.documentElement;
    const end = document.body.getBoundingClientRect().bottom + scrollY;
    return scrollWidth <= clientWidth && scrollHeight <= Math.max(clientHeight, end + 1) }"""


@functools.cache
def _axe() -> str:
    return (settings.BASE_DIR / "node_modules/axe-core/axe.min.js").read_text()


def _violations(page: Page, rules: list[str]) -> list[tuple[str, list[str]]]:
    """The rules that the page breaks, each with the HTML of the elements."""
    # Without resultTypes it describes every element that passes, which takes three times as long as the checks.
    broken: Any = page.evaluate(
        "runOnly => axe.run(document, { runOnly, resultTypes: ['violations'] }).then((result) => result.violations)",
        rules,
    )
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in broken]


def _picture(page: Page, name: str) -> None:
    """With PICTURES, a picture of the page is kept in that folder."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def check(page: Page, name: str) -> None:
    """No rule is broken in light and in dark, and the page has the size of its content, also on a phone."""
    page.wait_for_load_state()  # a click on a link returns when the new page's headers are there
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{_axe()}; true")
    page.evaluate("scrollTo(0, 0)")  # what is partly below the bar of the page is a smaller target
    for theme, rules in (("light", STANDARD), ("dark", COLOR_RULES)):
        _show(page, theme)
        _picture(page, f"{name}-{theme}")
        broken = _violations(page, rules)
        assert not broken, (name, theme, broken)
    _show(page, "light")
    size = page.viewport_size
    assert size
    for width in {size["width"], PHONE["width"]}:
        page.set_viewport_size({"width": width, "height": size["height"]})
        _picture(page, f"{name}-{width}")
        try:
            until(page, FITS, seconds=5)
        except Error:
            pytest.fail(f"{name} is wider than {width} pixels, or longer than its content")
    page.set_viewport_size(size)


def _show(page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
