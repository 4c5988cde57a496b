"""Saving with two users, without a connection, and after a crashed tab."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Gold
from tests.browser.conftest import Open, until
from tests.browser.labeling import LINES, PREFETCHED, all_saved, complete, control, fill_required, saved
from tests.labeling.label_desk import Desk


def test_concurrent_edits_are_merged(desk: Desk, open_label: Open) -> None:
    document, _, _ = (desk.document(LINES) for _ in range(3))
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    expect(ben.locator("#others")).to_contain_text(f"{desk.ana.username} also has this document open")
    expect(ben.locator("#strip")).to_contain_text(f"{desk.ana.username} has this document open too")
    control(ana, "Vendor").focus()
    ana.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # or some seconds later
    expect(ana.locator("#others")).to_contain_text(f"{desk.ben.username} also has this document open")
    expect(control(ana, "Vendor")).to_be_focused()
    ben.keyboard.press("Alt+n")
    expect(ben.locator("#document-name")).not_to_have_text(document.external_id)
    expect(ben.locator("#others")).to_be_hidden()
    ana.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(ana.locator("#others")).to_be_hidden()
    ben.goto(reverse("label_document", args=["desk", document.pk]))
    control(ana, "Vendor").fill("ACME")
    saved(ana, 1)
    control(ben, "Invoice number").fill("A-1029")
    expect(control(ben, "Vendor")).to_have_value("ACME")
    saved(ben, 2)
    control(ana, "Due date").fill("2026-02-01")
    expect(control(ana, "Invoice number")).to_have_value("A-1029")


def hold_answers(page: Page) -> None:
    """Saves are answered only when ``let_go`` is called."""
    page.evaluate(
        """() => {
            const { fetch } = window;
            window.waiting = [];
            window.fetch = async (url, options) => {
                const response = await fetch(url, options);
                if (String(url).endsWith("/save/")) {
                    document.body.dataset.answers = window.waiting.length + 1;
                    await new Promise((done) => window.waiting.push(done));
                }
                return response;
            };
        }"""
    )


def refuse_dialogs(page: Page) -> list[str]:
    """Answers no to whatever the page asks; the list fills with what it asked."""
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    return asked


def held(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-answers", "1")


def let_go(page: Page) -> None:
    held(page)
    page.evaluate("delete document.body.dataset.answers; window.waiting.shift()()")


def let_all_go(page: Page) -> None:
    """Answers that are held come, and all after them at once."""
    page.evaluate("for (const done of window.waiting) done(); window.waiting = { push: (done) => done(), length: 0 };")


def test_a_conflict_while_typing_stays_visible(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    control(ben, "Vendor").fill("ACME SUPPLIES")
    saved(ben, 1)
    hold_answers(ana)
    control(ana, "Vendor").fill("Acme")
    held(ana)
    control(ana, "Vendor").fill("Acme Sup")
    clash = ana.get_by_text(f'{desk.ben.username} wrote "ACME SUPPLIES"')
    let_go(ana)
    expect(ana.locator("#notice-text")).to_contain_text(f"You and {desk.ben.username} both changed Vendor")
    let_go(ana)
    saved(ana, 3)
    expect(clash).to_have_count(0)
    ana.keyboard.press("Tab")
    expect(clash).to_be_visible()
    ana.get_by_role("button", name="Use theirs").click()
    expect(control(ana, "Vendor")).to_have_value("ACME SUPPLIES")
    let_go(ana)
    saved(ana, 4)
    expect(clash).to_have_count(0)


@pytest.mark.slow
def test_remote_changes_reach_the_edited_json(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    control(ana, "Vendor").fill("ACME")
    saved(ana, 1)
    ana.locator('[data-view="json"]').click()
    text = ana.locator("#raw-text")
    expect(text).to_have_value(re.compile('"ACME"'))
    control(ben, "Invoice number").fill("A-1029")
    saved(ben, 2)
    text.evaluate("area => area.setSelectionRange(area.value.indexOf('ACME\"') + 4, area.value.indexOf('ACME\"') + 4)")
    ana.keyboard.type(" LTD")
    saved(ana, 3)
    expect(text).to_have_value(re.compile("A-1029"))
    ana.keyboard.type(" & SONS")
    saved(ana, 4)
    value = Annotation.objects.get(user=desk.ana).value
    assert value == {"vendor": "ACME LTD & SONS", "invoice_id": "A-1029"}


@pytest.mark.slow
def test_a_remotely_deleted_row_is_deleted_on_blur(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    ana = open_label(desk.ana, document)
    ana.locator('[data-title="Line items"] [data-add-row]').click()
    ana.keyboard.type("Widget")
    control(ana, "Vendor").fill("ACME")
    ana.keyboard.press("Control+s")
    expect(ana.locator("#announcer")).to_have_text("Saved.")
    ben = open_label(desk.ben, document)
    ben.locator("[data-body] tr [data-delete-row]").click()
    all_saved(ben)
    ben.keyboard.press("Control+s")
    expect(ben.locator("#announcer")).to_have_text("Saved.")
    ana.evaluate("document.querySelector('[data-body] tr [data-control]').focus()")
    hold_answers(ana)
    change = (
        "(element, value) => { element.value = value; element.dispatchEvent(new Event('input', { bubbles: true })) }"
    )
    control(ana, "Payment terms").evaluate(change, "Net 3")
    held(ana)
    control(ana, "Payment terms").evaluate(change, "Net 30")
    let_go(ana)
    let_go(ana)  # it was sent again, with the row
    all_saved(ana)
    expect(ana.locator("[data-body] tr")).to_have_count(1)
    let_all_go(ana)
    control(ana, "Vendor").focus()
    expect(ana.locator("[data-body] tr")).to_have_count(0)
    all_saved(ana)
    value = Annotation.objects.get(user=desk.ana).value
    assert value == {"vendor": "ACME", "payment_terms": "Net 30", "line_items": []}


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "words"), [("Control+Enter", "Not submitted yet"), ("Alt+n", "Another user changed")])
def test_a_conflict_prevents_leaving(desk: Desk, open_label: Open, keys: str, words: str) -> None:
    document, _ = desk.document(LINES), desk.document(LINES)
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    control(ben, "Vendor").fill("ACME")
    saved(ben, 1)
    hold_answers(ana)
    fill_required(ana)
    held(ana)
    ana.keyboard.press(keys)
    let_all_go(ana)
    expect(ana.locator("#announcer")).to_contain_text(words)
    expect(ana.get_by_text(f'{desk.ben.username} wrote "ACME"')).to_be_visible()
    expect(ana.locator("#document-name")).to_have_text(document.external_id)
    assert not Gold.objects.exists()


@pytest.mark.slow
def test_typing_during_a_submit_is_saved(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    complete(page)
    hold_answers(page)
    page.keyboard.press("Control+Enter")
    held(page)
    control(page, "Vendor").fill("ACME")
    let_go(page)
    let_go(page)
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    assert Gold.objects.get().revision.value["vendor"] == "ACME SUPPLIES"
    assert Annotation.objects.get().value["vendor"] == "ACME"
    assert page.evaluate("Object.keys(localStorage).join()") == ""


@pytest.mark.slow
def test_a_failed_next_document_shows_an_error(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    page.route("**/label/next/", lambda route: route.abort())
    page.reload()
    complete(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("The server does not respond")
    assert Gold.objects.get().document == first
    page.unroute("**/label/next/")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)


def test_leaving_an_unsaved_document_asks_and_saves_later(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, second)
    page.goto(reverse("label_document", args=["desk", first.pk]))
    asked = refuse_dialogs(page)
    until(page, PREFETCHED)
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    with page.expect_event("dialog"):  # the page asks once its attempt to save has failed
        page.keyboard.press("Alt+n")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(first.external_id)
    assert len(asked) == 1
    page.evaluate("window.confirm = () => true")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    expect(page.locator("#leftovers a")).to_have_text(first.external_id)
    page.context.set_offline(False)
    expect(page.locator("#leftovers")).to_have_count(0)
    assert Annotation.objects.get().value == {"vendor": "ACME"}
    assert Annotation.objects.get().document == first
    assert page.evaluate("Object.keys(localStorage).join()") == ""


@pytest.mark.slow
def test_browser_back_asks_about_unsaved_changes(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    asked = refuse_dialogs(page)
    with page.expect_event("dialog"):
        page.evaluate("history.back()")
    page.wait_for_url(f"**/label/{second.pk}/")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    expect(control(page, "Vendor")).to_have_value("ACME")
    page.context.set_offline(False)
    saved(page, 1)
    assert len(asked) == 1


def leave_draft(page: Page, desk: Desk, document: Document) -> None:
    """What a crashed tab leaves in the browser."""
    draft = {"entry": {"vendor": "ACME"}, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0}
    draft |= {
        "at": "2020-01-01",
        "name": document.external_id,
        "url": reverse("label_document", args=["desk", document.pk]),
    }
    key = f"label-{desk.ana.pk}-{document.pk}"
    page.evaluate("([key, draft]) => localStorage.setItem(key, JSON.stringify(draft))", [key, draft])


def test_the_draft_of_a_crashed_tab_is_merged(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, second)
    leave_draft(page, desk, second)
    page.reload()
    expect(control(page, "Vendor")).to_have_value("ACME")
    expect(page.locator("#notice-text")).to_contain_text("and restored")
    saved(page, 1)
    # Another user's newer value is not overwritten.
    ben = open_label(desk.ben, first)
    control(ben, "Vendor").fill("ACME SUPPLIES")
    saved(ben, 1)
    leave_draft(page, desk, first)
    page.reload()
    page.locator("#leftovers").get_by_role("link", name=first.external_id).click()
    expect(page.get_by_text(f'{desk.ben.username} wrote "ACME SUPPLIES"')).to_be_visible()
    saved(page, 2)
    leave_draft(page, desk, first)
    page.goto(reverse("label_document", args=["desk", second.pk]))
    page.get_by_role("button", name=f"Discard unsaved changes to {first.external_id}").click()
    expect(page.locator("#leftovers")).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).join()") == ""


@pytest.mark.slow
def test_a_tab_that_is_shown_again_has_what_another_saved(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    older, newer = open_label(desk.ana, document), open_label(desk.ana, document)
    control(older, "Invoice number").fill("A-1029")
    control(older, "Invoice date").fill("Jan 14, 2026")
    all_saved(older)
    shown_again(newer)
    expect(control(newer, "Invoice date")).to_have_value("2026-01-14")
    control(newer, "Vendor").fill("ACME SUPPLIES")
    all_saved(newer)
    count = AnnotationRevision.objects.count()
    shown_again(older)
    expect(control(older, "Vendor")).to_have_value("ACME SUPPLIES")
    # Only what changed is named, and nothing is saved for it.
    expect(older.locator("#notice-text")).to_have_text(re.compile("^You changed Vendor in"))
    assert AnnotationRevision.objects.count() == count
    control(older, "Total amount").fill("1,100.00")
    all_saved(older)
    assert Annotation.objects.get().value == {
        "invoice_id": "A-1029",
        "date": "2026-01-14",
        "vendor": "ACME SUPPLIES",
        "total_amount": 1100,
    }


def shown_again(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.slow
def test_drafts_of_a_closed_tab_are_sent_from_an_empty_queue(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    later = page.context.new_page()
    # What a tab sends as it closes may leave after the emulated network outage ended with it.
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('no network')); }")
    page.close()
    later.context.set_offline(False)
    Document.objects.update(state=DocumentState.SKIPPED)
    later.goto("/me/keys/")
    # As if it was long ago: a tab that failed a moment ago may still be at it.
    later.evaluate(
        """key => {
            const draft = JSON.parse(localStorage.getItem(key));
            localStorage.setItem(key, JSON.stringify({ ...draft, at: "2020-01-01" }));
        }""",
        f"label-{desk.ana.pk}-{document.pk}",
    )
    assert not Annotation.objects.exists()
    later.goto(reverse("label", args=["desk"]))
    expect(later.get_by_text("No documents to label")).to_be_visible()
    until(later, "() => !Object.keys(localStorage).some((key) => key.startsWith('label-') && /\\d$/u.test(key))")
    assert Annotation.objects.get().value == {"vendor": "ACME"}


@pytest.mark.slow
def test_focus_survives_removed_rows_and_messages(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    for text in ("Widget, blue", "Hydraulic pump"):
        page.locator('[data-title="Line items"] [data-add-row]').click()
        page.keyboard.type(text)
    all_saved(page)
    page.locator("[data-body] tr:nth-child(2) [data-delete-row]").click()
    expect(page.locator("[data-body] tr")).to_have_count(1)
    assert page.evaluate("document.activeElement.closest('[data-body] tr') !== null")
    page.locator("[data-body] tr [data-delete-row]").click()
    expect(page.locator("[data-body] tr")).to_have_count(0)
    assert page.evaluate("document.activeElement.matches('[data-add-row]')")
    # The box "Confirm value" stays the same through answers.
    control(page, "Vendor").fill("Globex")
    page.keyboard.press("Tab")
    box = page.locator('[data-confirm="vendor"]')
    box.focus()
    page.keyboard.press("Space")
    all_saved(page)
    expect(box).to_be_focused()


@pytest.mark.slow
def test_time_per_field_excludes_idle_time(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    page.clock.install()
    page.reload()
    expect(page.locator("#strip")).to_contain_text("left for you")
    page.clock.pause_at(timezone.now() + timedelta(minutes=1))  # from here on only the test moves it
    page.mouse.move(10, 10)  # the jump counts as absence; this ends it
    control(page, "Vendor").focus()
    page.clock.run_for(20_000)
    page.keyboard.type("ACME")
    page.clock.run_for(1_000)
    saved(page, 1)
    # No input for ten minutes: one of them counts. A jump starts a periodic request once, not hundreds of times.
    page.clock.run_for(70_000)
    page.clock.fast_forward(530_000)
    control(page, "Payment terms").focus()
    page.keyboard.type("Net 30")
    page.clock.run_for(1_000)
    saved(page, 2)
    annotation = Annotation.objects.get()
    assert annotation.field_seconds["vendor"] == pytest.approx(80, abs=1), annotation.field_seconds
    assert 0 < annotation.field_seconds["payment_terms"] <= 15, annotation.field_seconds
    assert annotation.seconds <= 60 + 80 + 15  # a minute may count before the pause
    page.context.close()  # its clock stands still
