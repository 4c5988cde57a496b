"""The labeling screen and the shortcuts page meet WCAG in light and dark, with all dialogs open."""

from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse
from playwright.sync_api import Page, expect

from labeling.comments import services as comment_services
from tests.browser.conftest import Open
from tests.browser.labeling import LINES, control, paged, predict
from tests.labeling.label_desk import Desk


def violations(page: Page) -> list[Any]:
    axe = (settings.BASE_DIR / "node_modules/axe-core/axe.min.js").read_text()
    found = page.evaluate(axe + "; axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    return [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_are_accessible(desk: Desk, open_label: Open, scheme: Any) -> None:
    document = desk.document(LINES)
    paged(document)
    predict(document, {"date": 0.4, "line_items[1].quantity": 0.3})
    comment_services.add(document=document, user=desk.ben, text="Is this @ana-desk the vendor?", path="vendor")
    settled = comment_services.add(document=document, user=desk.ben, text="The scan is poor.")
    comment_services.resolve(comment=settled, user=desk.ben)
    page = open_label(desk.ana, document)
    page.emulate_media(color_scheme=scheme)
    page.locator("[data-document-view=both]").click()
    expect(page.locator(".sf-message-look")).to_have_count(2)
    assert violations(page) == []
    control(page, "Vendor").fill("ACME SUPPLIES")
    expect(page.locator("#saved-words")).to_contain_text("saved ")
    page.keyboard.press("Alt+c")
    expect(page.locator(".comment")).to_have_count(2)
    page.keyboard.type("@b")
    expect(page.locator(".mention")).to_have_count(1)
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+h")
    expect(page.locator(".history")).to_be_visible()
    assert violations(page) == []
    page.goto(reverse("my_keys"))
    page.locator("#change-skip").click()
    assert violations(page) == []
