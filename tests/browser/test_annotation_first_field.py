"""The first field of a document takes completions and selections, however the document was opened."""

from django.urls import reverse
from playwright.sync_api import Page, expect

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Document, Project
from tests.browser.conftest import Open
from tests.browser.labeling import LINES, all_saved, control, fill_required, select
from tests.labeling.label_desk import Desk

FIRST = "Invoice number"


def test_the_first_field_takes_completions_and_selections(desk: Desk, open_label: Open) -> None:
    documents = [desk.document(LINES, name=f"doc-{number}") for number in range(4)]
    page = open_label(desk.ana)  # the queue
    fill_from_the_document(page, documents[0])
    page.keyboard.press("Alt+n")
    fill_from_the_document(page, documents[1])
    page.keyboard.press("Alt+p")
    fill_from_the_document(page, documents[0])
    page.go_back()
    fill_from_the_document(page, documents[1])
    page.go_forward()
    fill_from_the_document(page, documents[0])
    page.reload()
    fill_from_the_document(page, documents[0])
    fill_required(page)
    page.locator("[data-title='Line items'] [data-null]").click()
    control(page, FIRST).focus()
    page.keyboard.press("Control+Enter")
    fill_from_the_document(page, documents[1])
    page.locator("#next-button").click()
    fill_from_the_document(page, documents[2])
    page.goto(reverse("label_document", args=["desk", documents[3].pk]))
    fill_from_the_document(page, documents[3])


def test_the_first_field_of_a_fix_takes_completions_and_selections(desk: Desk, open_label: Open) -> None:
    Project.objects.filter(pk=desk.project.pk).update(review_required=True)
    document = desk.document(LINES)
    label = {"invoice_id": "A-1029", "date": "2026-01-14", "vendor": "ACME", "line_items": [], "total_amount": 1100}
    annotation_services.submit(document=document, user=desk.ana, value=label, evidence={}, base_version=0)
    page = open_label(desk.owner, document)
    page.goto(reverse("review_document", args=["desk", document.pk]))
    page.keyboard.press("f")
    fill_from_the_document(page, document)


def fill_from_the_document(page: Page, document: Document) -> None:
    """Fills the first field, which has the focus, by a completion and with the mouse."""
    expect(page.locator("#document-name")).to_have_text(document.external_id)
    first = control(page, FIRST)
    expect(first).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("A-")
    page.keyboard.press("End")
    expect(first).to_have_value("A-1029")
    expect(page.locator("#focus-words strong")).to_have_text(FIRST)
    page.keyboard.press("Control+a")
    page.keyboard.type("x")
    select(page, "Total", "Total")
    expect(first).to_have_value("Total")
    expect(first).to_be_focused()
    all_saved(page)
    # The time is counted for the field, although it had the focus before the document was opened.
    newest = Annotation.objects.filter(document=document).latest("updated_at")
    assert "invoice_id" in newest.field_seconds
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
