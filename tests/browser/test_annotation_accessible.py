"""The labeling screen and the shortcuts page meet WCAG in light and dark, with all dialogs open."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from labeling.annotation import services as annotation_services
from labeling.comments import services as comment_services
from labeling.models import Document, DocumentState
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


def test_every_control_is_named_by_its_field(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    for title in ("Invoice number", "Vendor", "Total amount"):
        expect(control(page, title)).to_have_accessible_name(title)
        expect(control(page, title)).to_have_attribute("aria-required", "true")
    expect(control(page, "Due date")).not_to_have_attribute("aria-required", "true")
    expect(page.get_by_role("radiogroup", name="Currency", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Line items: add row")).to_be_visible()
    expect(page.get_by_role("button", name="Line items: none")).to_be_visible()
    control(page, "Vendor").fill("Nowhere")
    control(page, "Total amount").focus()
    expect(page.get_by_role("checkbox", name="Confirm value: Vendor")).to_be_visible()


def test_an_approved_label_is_said_to_be_approved(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    label = {"invoice_id": "A-1029", "date": "2026-01-14", "vendor": "ACME", "line_items": [], "total_amount": 1100}
    saved = annotation_services.submit(document=document, user=desk.ana, value=label, evidence={}, base_version=0)
    assert saved.submitted
    Document.objects.filter(pk=document.pk).update(state=DocumentState.APPROVED)
    page = open_label(desk.ana, document)
    expect(page.locator("#notice-text")).to_contain_text("Approved")
    expect(page.locator("#notice-text")).not_to_contain_text("Submitted by")
