"""A submit that does not reach the server is not forgotten."""

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Annotation, Document, Gold
from tests.browser.conftest import Open, until
from tests.browser.labeling import LINES, PREFETCHED, all_saved, control, fill_required
from tests.labeling.label_desk import Desk


@pytest.fixture
def documents(desk: Desk) -> list[Document]:
    return [desk.document(LINES), desk.document(LINES)]


@pytest.fixture
def page(desk: Desk, documents: list[Document], open_label: Open) -> Page:
    """A complete label, submitted without a connection."""
    page = open_label(desk.ana, documents[0])
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    all_saved(page)
    until(page, PREFETCHED)
    page.context.set_offline(True)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#saved[data-state=unsubmitted]")).to_be_visible()
    expect(page.locator("#notice[data-tone=warning]")).to_be_visible()
    return page


def test_it_is_sent_with_the_connection(page: Page, documents: list[Document]) -> None:
    assert not Gold.objects.exists()
    page.context.set_offline(False)
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    assert Gold.objects.get().document == documents[0]
    assert page.evaluate("Object.keys(localStorage).join()") == ""


def test_a_change_withdraws_it(page: Page, documents: list[Document]) -> None:
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    page.context.set_offline(False)
    all_saved(page)
    expect(page.locator("#notice[data-tone=warning]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(documents[0].external_id)
    assert not Gold.objects.exists()
    assert Annotation.objects.get().value["vendor"] == "ACME"
    page.locator("#notice button", has_text="Submit").click()
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    assert Gold.objects.get().document == documents[0]


def test_an_open_dialog_keeps_the_document(page: Page, documents: list[Document]) -> None:
    page.keyboard.press("Alt+x")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.context.set_offline(False)
    all_saved(page)
    assert Gold.objects.get().document == documents[0]
    expect(page.locator("#document-name")).to_have_text(documents[0].external_id)
    page.keyboard.press("Escape")
    page.locator("#notice-actions button").click()
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)


def test_leaving_with_the_connection_submits(page: Page, documents: list[Document]) -> None:
    page.evaluate("window.addEventListener('online', (event) => event.stopImmediatePropagation(), true)")
    page.context.set_offline(False)
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    assert Gold.objects.get().document == documents[0]


def test_leaving_without_the_connection_submits_later(page: Page, documents: list[Document]) -> None:
    page.evaluate("window.confirm = () => true")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    expect(page.locator("#leftovers")).to_contain_text("not submitted")
    page.context.set_offline(False)
    expect(page.locator("#leftovers")).to_have_count(0)
    assert Gold.objects.get().document == documents[0]
