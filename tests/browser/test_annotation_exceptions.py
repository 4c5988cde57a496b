"""Pre-filled forms: only fields that fail a check are visited."""

from playwright.sync_api import expect

from labeling.annotation import preferences
from labeling.models import Annotation, Gold
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, control, predict
from tests.labeling.label_desk import Desk

LOOK = "#form [data-look]"


def test_tab_visits_only_exceptions(desk: Desk, open_label: Open) -> None:
    document, following = desk.document(LINES), desk.document(LINES)
    predict(document, {"date": 0.4, "line_items[1].quantity": 0.3, "invoice_id": 0.99})
    page = open_label(desk.ana, document)
    expect(page.locator("#prefill-model")).to_have_text("tuned-7")
    expect(page.locator("#prefill-count")).to_have_text("3 of 17 to review")
    expect(page.locator(LOOK)).to_have_count(3)
    date, vendor = control(page, "Invoice date"), control(page, "Vendor")
    expect(date).to_be_focused()
    expect(page.locator('[data-title="Invoice date"]')).to_contain_text("the model is 40% confident")
    page.keyboard.press("Tab")
    expect(vendor).to_be_focused()
    page.keyboard.press("Tab")
    quantity = page.locator('[data-body] tr:nth-child(2) [data-title="Quantity"] [data-control]')
    expect(quantity).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#submit-button")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#prefill-toggle")).to_be_focused()
    page.keyboard.press("Tab")
    expect(date).to_be_focused()
    page.keyboard.press("Alt+y")
    expect(page.locator("#prefill-count")).to_have_text("2 of 17 to review")
    expect(vendor).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("ACME SUPPLIES")
    page.keyboard.press("Tab")
    expect(quantity).to_be_focused()
    expect(page.locator("#prefill-count")).to_have_text("1 of 17 to review")
    page.keyboard.press("Alt+y")
    expect(page.locator("#prefill-count")).to_have_text("all 17 fields pass")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#document-name")).to_have_text(following.external_id)
    expect(page.locator("#prefill")).to_be_hidden()
    gold = Gold.objects.get()
    assert (gold.origin, gold.revision.value["vendor"]) == ("prelabelled", "ACME SUPPLIES")
    assert gold.revision.evidence["date"]["seen"] == '"2026-01-14"'
    annotation = Annotation.objects.get()
    assert annotation.prediction is not None
    assert (annotation.changed_fields, annotation.prediction.model) == (1, "tuned-7")
    assert set(annotation.field_seconds) >= {"vendor"}


def test_a_value_not_in_the_document_is_confirmed_by_key(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    predict(document, {})
    page = open_label(desk.ana, document)
    expect(page.locator("#prefill-count")).to_have_text("1 of 17 to review")
    expect(control(page, "Vendor")).to_be_focused()
    page.keyboard.press("Alt+y")
    expect(page.locator("#submit-button")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("No documents to label")).to_be_visible()
    assert Gold.objects.get().revision.evidence["vendor"] == {"confirmed": True, "of": '"Globex"', "seen": '"Globex"'}


def test_a_violated_sum_is_an_exception_in_all_its_fields(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES.replace("Total  ", "Subtotal 1,000.00\nTotal  "))
    predict(document, {}, vendor="ACME SUPPLIES", subtotal=1000)
    page = open_label(desk.ana, document)
    expect(control(page, "Subtotal")).to_be_visible()
    expect(page.locator('[data-title="Subtotal"]')).to_have_attribute("data-look", "")
    expect(page.locator("#form td[data-look]")).to_have_count(2)
    control(page, "Subtotal").fill("")
    control(page, "Vendor").focus()
    expect(page.locator("#prefill-count")).to_have_text("all 17 fields pass")
    page.keyboard.press("Control+z")
    expect(page.locator('[data-title="Subtotal"]')).to_have_attribute("data-look", "")


def test_visiting_all_fields_is_remembered(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    predict(document, {})
    page = open_label(desk.ana, document)
    with page.expect_response("**/me/exceptions-only/"):
        page.keyboard.press("Alt+a")
    expect(page.locator("#prefill-toggle")).to_have_text("Visit only fields to review Alt A")
    control(page, "Invoice number").focus()
    page.keyboard.press("Tab")
    expect(control(page, "Invoice date")).to_be_focused()
    assert not preferences.of(desk.ana).exceptions_only
    page.reload()
    expect(page.locator("#prefill-toggle-words")).to_have_text("Visit only fields to review")
    page.locator("#prefill-toggle").click()
    expect(page.locator("#form")).to_have_attribute("data-exceptions", "")


def test_started_documents_are_not_prefilled(desk: Desk, open_label: Open, watch: Watch) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved-words")).to_contain_text("· v1")
    predict(document, {})
    page.reload()
    expect(control(page, "Vendor")).to_have_value("ACME")
    expect(page.locator("#prefill")).to_be_hidden()
