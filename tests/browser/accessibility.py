"""The rules of WCAG 2.2 AA that axe-core checks, and the width of a page.

The colors of the two themes differ, their markup does not: in the second theme only the rules of colors are checked.
"""

import functools
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from playwright.sync_api import Page

STANDARD = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]


@functools.cache
def _axe() -> str:
    return (settings.BASE_DIR / "node_modules/axe-core/axe.min.js").read_text()


def violations(page: Page, *, colors: bool = False) -> list[tuple[str, list[str]]]:
    """The rules that the page breaks, each with the HTML of the elements; with ``colors`` only those of colors."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{_axe()}; true")
    # Without resultTypes it describes every element that passes, which takes three times as long as the checks.
    found: Any = page.evaluate(
        "runOnly => axe.run(document, { runOnly, resultTypes: ['violations'] }).then((result) => result.violations)",
        COLOR_RULES if colors else STANDARD,
    )
    return [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found]


def check(page: Page, name: str, *, known: tuple[str, ...] = ()) -> None:
    """No rule but ``known`` is broken in light and in dark, and nothing is wider than the window.

    With PICTURES, a picture of each theme is kept in that folder.
    """
    page.wait_for_load_state()  # a click on a link returns when the new page's headers are there
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
        if folder := os.environ.get("PICTURES"):
            page.screenshot(path=Path(folder) / f"{name}-{theme}.png", full_page=True)
        broken = [one for one in violations(page, colors=theme == "dark") if one[0] not in known]
        assert not broken, (name, theme, broken)
    page.emulate_media(color_scheme="light")
    page.evaluate("document.documentElement.setAttribute('data-bs-theme', 'light')")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name} is {wide} pixels too wide"
