"""Comments, mentions, history, restored revisions, and the reason of a rejection."""

import pytest
from playwright.sync_api import expect

from labeling.comments import services as comment_services
from labeling.models import Annotation, Comment, Document, DocumentState, Mention, Review
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, control, saved
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
    page.keyboard.press("Control+Enter")
    expect(page.locator(".comment-text")).to_have_text("Who is this, @ben-desk <b>?</b>")
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


def test_sending_takes_the_offered_name(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    page.keyboard.press("Alt+c")
    expect(page.locator("#comments-list")).not_to_contain_text("Loading")
    page.locator("#comment-text").press_sequentially("Look at it, @be")
    expect(page.locator("#mention-list")).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#comments-list")).to_contain_text("Look at it, @ben-desk")
    expect(page.locator("#mention-list")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#comments-dialog")).to_be_hidden()


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
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(other.external_id)
    page.keyboard.press("Alt+c")
    expect(page.locator("#comment-text")).to_have_value("")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+p")
    expect(page.locator("#document-name")).to_have_text(document.external_id)
    page.keyboard.press("Alt+c")
    expect(page.locator("#comment-text")).to_have_value("Too dark")


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


def test_the_rejection_reason_is_shown(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    expect(page.locator("#rejection")).to_be_hidden()
    control(page, "Vendor").fill("ACME")
    saved(page, 1)
    annotation = Annotation.objects.get()
    Review.objects.create(
        document=document,
        annotation=annotation,
        revision=annotation.revisions.get(),
        decision=Review.Decision.REJECT,
        reason="The vendor is <b>SUPPLIES</b>",
        reviewer=desk.owner,
    )
    Document.objects.filter(pk=document.pk).update(state=DocumentState.REJECTED)
    page.reload()
    expect(page.locator("#rejection")).to_contain_text("owner-desk rejected this label.")
    expect(page.locator("#rejection-reason")).to_have_text("The vendor is <b>SUPPLIES</b>")


def test_comments_of_removed_members_and_fields(desk: Desk, open_label: Open, watch: Watch) -> None:
    document = desk.document(LINES)
    comment_services.add(document=document, user=desk.ben, text="See row 9", path="line_items[8].amount")
    page = open_label(desk.ana, document)
    expect(page.locator("#comment-count")).to_have_text("1")
    page.keyboard.press("Alt+c")
    expect(page.locator(".comment-path")).to_have_text("line_items 9, Amount")
    page.locator(".comment-path").click()
    expect(page.locator("#comments-dialog")).to_be_hidden()
