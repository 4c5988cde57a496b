"""Comments, mentions, history, restored revisions, and the reason of a rejection."""

import pytest
from playwright.sync_api import expect

from labeling.models import Annotation, Comment, Mention
from tests.browser.conftest import Open
from tests.browser.labeling import LINES, control, saved
from tests.browser.typist import slow_network
from tests.labeling.label_desk import Desk


@pytest.mark.slow
def test_a_field_comment_mentions_a_member_and_is_resolved(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    control(page, "Vendor").focus()
    page.keyboard.press("Alt+c")
    expect(page.locator("#comments-list")).to_contain_text("No comments yet.")
    expect(page.locator("#comment-about")).to_have_value("vendor")
    page.keyboard.type("Who is this, @be")
    expect(page.locator(".mention")).to_have_text("ben-desk")
    page.keyboard.press("Enter")
    page.keyboard.type("<b>?</b>")
    expect(page.locator("#comment-text")).to_have_value("Who is this, @ben-desk <b>?</b>")
    page.keyboard.type(" @be")
    expect(page.locator("#mention-list")).to_be_visible()
    page.keyboard.press("Control+Enter")  # sending takes the offered name
    expect(page.locator(".comment-text")).to_have_text("Who is this, @ben-desk <b>?</b> @ben-desk")
    expect(page.locator("#comment-text")).to_have_value("")
    expect(page.locator("#comment-text")).to_be_focused()
    comment = Comment.objects.get()
    assert (comment.path, comment.document, Mention.objects.get().user) == ("vendor", document, desk.ben)
    page.keyboard.press("Escape")
    expect(control(page, "Vendor")).to_be_focused()
    expect(page.locator("#comment-count")).to_have_text("1")
    expect(page.locator('[data-title="Vendor"]')).to_have_attribute("data-commented", "1")

    ben = open_label(desk.ben, document)
    ben.locator("#comment-button").click()
    ben.locator(".comment-path").click()
    expect(control(ben, "Vendor")).to_be_focused()
    assert Mention.objects.get().read_at is not None
    ben.locator("#comment-button").click()
    ben.get_by_role("button", name="Resolve").click()
    expect(ben.locator("#comments-list")).to_contain_text("resolved by ben-desk")
    ben.keyboard.press("Escape")
    expect(ben.locator("#comment-count")).to_be_hidden()
    expect(ben.locator('[data-title="Vendor"]')).not_to_have_attribute("data-commented", "1")


@pytest.mark.slow
def test_an_unsent_comment_is_kept(desk: Desk, open_label: Open) -> None:
    document, other = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, document)
    page.keyboard.press("Alt+c")
    expect(page.locator("#comments-list")).to_contain_text("No comments yet.")
    page.context.set_offline(True)
    page.keyboard.type("Too dark")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#comment-error")).to_contain_text("The server does not respond")
    page.context.set_offline(False)
    for key, shown, text in (("Alt+n", other, ""), ("Alt+p", document, "Too dark")):
        page.keyboard.press("Escape")
        page.keyboard.press(key)
        expect(page.locator("#document-name")).to_have_text(shown.external_id)
        page.keyboard.press("Alt+c")
        expect(page.locator("#comment-text")).to_have_value(text)
    slow_network(page, seed=1)
    page.keyboard.press("Control+Enter")
    page.keyboard.type("Second")  # while the first one is sent
    expect(page.locator(".comment-text")).to_have_text("Too dark")
    expect(page.locator("#comment-text")).to_have_value("Second")


@pytest.mark.slow
def test_restoring_a_revision_can_be_undone(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    ben = open_label(desk.ben, document)
    control(ben, "Vendor").fill("ACME")
    saved(ben, 1)
    page = open_label(desk.ana, document)
    control(page, "Vendor").fill("ACME SUPPLIES")
    saved(page, 2)
    control(page, "Invoice number").fill("A-1029")
    page.keyboard.press("Alt+h")
    steps = page.locator(".history > li")
    expect(steps).to_have_count(2)
    expect(steps.first).to_contain_text("invoice_id A-1029")
    expect(steps.first).to_contain_text("vendor ACME")
    page.get_by_role("button", name="Restore").click()
    expect(control(page, "Vendor")).to_have_value("ACME")
    expect(control(page, "Invoice number")).to_have_value("")
    saved(page, 4)
    assert Annotation.objects.get(user=desk.ana).value == {"vendor": "ACME"}
    control(page, "Vendor").focus()
    page.keyboard.press("Control+z")
    expect(control(page, "Invoice number")).to_have_value("A-1029")
    saved(page, 5)
    assert Annotation.objects.get(user=desk.ana).value == {"invoice_id": "A-1029", "vendor": "ACME SUPPLIES"}
