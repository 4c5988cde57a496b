"""The labeling screen and the shortcuts page meet WCAG in light and dark, with all dialogs open."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from labeling.comments import services as comment_services
from tests.browser.accessibility import check
from tests.browser.conftest import Open
from tests.browser.labeling import LINES, all_saved, control, paged, predict
from tests.labeling.label_desk import Desk


@pytest.mark.slow
def test_dialogs_are_accessible(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    predict(document, {"date": 0.4, "line_items[1].quantity": 0.3})
    comment_services.add(document=document, user=desk.ben, text="Is this @ana-desk the vendor?", path="vendor")
    settled = comment_services.add(document=document, user=desk.ben, text="The scan is poor.")
    comment_services.resolve(comment=settled, user=desk.ben)
    page = open_label(desk.ana, document)
    page.locator("[data-document-view=both]").click()
    expect(page.locator(".sf-message-look")).to_have_count(2)
    check(page, "label-messages")
    control(page, "Vendor").fill("ACME SUPPLIES")
    all_saved(page)
    page.keyboard.press("Alt+c")
    expect(page.locator(".comment")).to_have_count(2)
    page.keyboard.type("@b")
    expect(page.locator(".mention")).to_have_count(1)
    check(page, "label-comments")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+h")
    expect(page.locator(".history")).to_be_visible()
    check(page, "label-history")
    page.goto(reverse("my_keys"))
    page.locator("#change-skip").click()
    check(page, "shortcuts")
