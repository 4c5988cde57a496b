"""What a submit asks about, pre-filled forms whose exceptions are visited, and a submit without a connection."""

import re

import pytest
from playwright.sync_api import Page, expect

from labeling.annotation import shortcuts
from labeling.models import Annotation, Document, Gold
from tests.browser.conftest import Open, Watch, until
from tests.browser.labeling import LINES, PREFETCHED, all_saved, complete, control, predict
from tests.labeling.label_desk import Desk

DATED = LINES.replace("Jan 14, 2026", "03/04/2026")
NOTICE = "#notice-text"
ABSENT = {"absent": True}


@pytest.fixture
def dated(desk: Desk, open_label: Open, watch: Watch) -> Page:
    watch.allow("422 POST")
    return open_label(desk.ana, desk.document(DATED))


def left(page: Page) -> None:
    """The document was submitted, and it was the last one."""
    expect(page.get_by_text("No documents to label")).to_be_visible()


@pytest.mark.slow
def test_an_ambiguous_date_is_resolved_by_key_or_mouse(dated: Page) -> None:
    page = dated
    complete(page)
    date = control(page, "Invoice date")
    date.fill("03/04/2026")
    page.keyboard.press("Tab")
    message = page.locator('[data-title="Invoice date"] .sf-message')
    expect(message).to_contain_text("03/04/2026 is ambiguous: April 3, 2026 or March 4, 2026?")
    expect(control(page, "Due date")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(date).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Enter")
    expect(date).to_be_focused()
    assert not Gold.objects.exists()
    page.keyboard.press("Alt+2")
    expect(date).to_have_value("2026-03-04")
    expect(date).to_be_focused()
    expect(message).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(date).to_have_value("03/04/2026")
    page.keyboard.press("Tab")
    message.get_by_role("button", name="April 3, 2026").click()
    expect(date).to_have_value("2026-04-03")
    expect(control(page, "Due date")).to_be_focused()
    page.keyboard.press("Control+Enter")
    left(page)
    assert Gold.objects.get().revision.value["date"] == "2026-04-03"


def test_unanswered_fields_are_asked_about_once(dated: Page) -> None:
    page = dated
    for title, value in (("Invoice number", "A-1029"), ("Vendor", "ACME SUPPLIES"), ("Total amount", "1,100.00")):
        control(page, title).fill(value)
    control(page, "Invoice date").fill("2026-04-03")
    page.locator('[data-title="Line items"] [data-null]').click()
    expect(control(page, "Due date")).to_have_attribute("placeholder", "")
    page.keyboard.press("Control+Enter")
    expect(page.locator(NOTICE)).to_contain_text("Not filled in: Due date, Currency, Payment terms, Subtotal, Tax.")
    expect(control(page, "Due date")).to_be_focused()
    assert not Gold.objects.exists()
    page.keyboard.press("Alt+0")
    expect(control(page, "Due date")).to_have_attribute("placeholder", "not in the document")
    page.keyboard.press("Control+z")
    expect(control(page, "Due date")).to_have_attribute("placeholder", "")
    page.keyboard.press("Alt+Shift+Digit0")
    left(page)
    revision = Gold.objects.get().revision
    assert [revision.evidence[path] for path in ("due_date", "subtotal", "tax")] == [ABSENT] * 3
    assert (revision.value["currency"], "tax" in revision.value) == (None, False)


@pytest.mark.slow
def test_a_second_submit_leaves_fields_unanswered(dated: Page) -> None:
    page = dated
    complete(page)
    control(page, "Invoice date").fill("2026-04-03")
    control(page, "Tax").fill("1")
    control(page, "Tax").fill("")
    expect(control(page, "Tax")).to_have_attribute("placeholder", "")
    page.keyboard.press("Alt+j")
    page.keyboard.press("Alt+j")
    expect(control(page, "Subtotal")).to_have_attribute("placeholder", "not in the document")
    all_saved(page)
    page.reload()
    expect(control(page, "Subtotal")).to_have_attribute("placeholder", "not in the document")
    expect(control(page, "Tax")).to_have_attribute("placeholder", "")
    page.keyboard.press("Control+Enter")
    expect(page.locator(NOTICE)).to_contain_text("Not filled in: Tax.")
    expect(page.locator("#announcer")).to_contain_text("1 field is not filled in: Tax.")
    expect(page.get_by_role("button", name=re.compile("^Not in the document"))).to_be_visible()
    page.keyboard.press("Control+Enter")
    left(page)
    evidence = Annotation.objects.get().evidence
    assert (evidence["subtotal"], "tax" in evidence) == (ABSENT, False)


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
    with page.expect_response("**/me/exceptions-only/"):
        page.keyboard.press("Alt+a")  # visits all
    control(page, "Invoice number").focus()
    page.keyboard.press("Tab")
    expect(date).to_be_focused()
    assert not shortcuts.for_user(desk.ana).exceptions_only
    page.reload()
    expect(page.locator("#prefill-toggle-words")).to_have_text("Visit only fields to review")
    page.locator("#prefill-toggle").click()
    expect(page.locator("#form")).to_have_attribute("data-exceptions", "")
    date.focus()
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


@pytest.mark.slow
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


@pytest.fixture
def documents(desk: Desk) -> list[Document]:
    return [desk.document(LINES), desk.document(LINES)]


@pytest.fixture
def unsent(desk: Desk, documents: list[Document], open_label: Open) -> Page:
    """A complete label, submitted without a connection."""
    page = open_label(desk.ana, documents[0])
    complete(page)
    until(page, PREFETCHED)
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#saved[data-state=unsubmitted]")).to_be_visible()
    expect(page.locator("#notice[data-tone=warning]")).to_be_visible()
    return page


def test_it_is_sent_with_the_connection_unless_a_change_withdraws_it(unsent: Page, documents: list[Document]) -> None:
    page = unsent
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    page.context.set_offline(False)
    all_saved(page)
    expect(page.locator("#notice[data-tone=warning]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(documents[0].external_id)
    assert not Gold.objects.exists()
    assert Annotation.objects.get().value["vendor"] == "ACME"
    control(page, "Vendor").fill("ACME SUPPLIES")
    all_saved(page)
    page.context.set_offline(True)
    page.locator("#notice button", has_text="Submit").click()
    expect(page.locator("#saved[data-state=unsubmitted]")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    assert Gold.objects.get().document == documents[0]
    assert page.evaluate("Object.keys(localStorage).join()") == ""


@pytest.mark.slow
def test_an_open_dialog_keeps_the_document(unsent: Page, documents: list[Document]) -> None:
    page = unsent
    page.keyboard.press("Alt+x")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.context.set_offline(False)
    all_saved(page)
    assert Gold.objects.get().document == documents[0]
    expect(page.locator("#document-name")).to_have_text(documents[0].external_id)
    page.keyboard.press("Escape")
    page.locator("#notice-actions button").click()
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)


@pytest.mark.slow
def test_leaving_without_the_connection_submits_later(unsent: Page, documents: list[Document]) -> None:
    page = unsent
    page.evaluate("window.confirm = () => true")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    expect(page.locator("#leftovers")).to_contain_text("not submitted")
    page.context.set_offline(False)
    expect(page.locator("#leftovers")).to_have_count(0)
    assert Gold.objects.get().document == documents[0]
