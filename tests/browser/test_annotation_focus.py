"""Nothing that appears, disappears or arrives moves the focus, joins the Tab order or takes a key."""

import json
import re
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Document, Project
from tests.browser.conftest import Open
from tests.browser.forms import use_schema
from tests.browser.labeling import LINES, all_saved, complete, control, predict, saved, select
from tests.browser.test_annotation_saving import held, hold_answers, let_all_go, let_go
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk

STOPS = """() => [...document.querySelectorAll("#main a, #main button, #main input, #main textarea, #main [tabindex]")]
    .filter((element) => element.tabIndex >= 0 && element.checkVisibility()).length"""
ROWS = '[data-title="Line items"] [data-body] tr'


def test_messages_are_not_tab_stops(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    others(desk, document, {"vendor": "ACME SUPPLIES"})
    hold_answers(page)  # an answer would bring the other value before this one is typed
    page.locator(f"{ROWS}, [data-title='Line items'] [data-add-row]").first.click()
    page.keyboard.type("Nowhere")
    before = page.evaluate(STOPS)
    control(page, "Vendor").focus()
    page.keyboard.type("Globex")
    control(page, "Invoice date").focus()
    page.keyboard.type("soon")
    control(page, "Total amount").focus()
    page.keyboard.type("12")
    control(page, "Invoice number").focus()
    let_all_go(page)
    for words in ("ben-desk wrote", "is not in the document", "must be a date", "Row 1, Description"):
        expect(page.locator("#form .sf-message", has_text=words).first).to_be_visible()
    expect(page.locator("#notice button").first).to_be_visible()
    assert page.evaluate(STOPS) == before
    expect(control(page, "Invoice number")).to_be_focused()
    # They are reached by a key, one after another, and left by it.
    control(page, "Vendor").focus()
    page.keyboard.press("Alt+m")
    expect(page.get_by_role("button", name="Use theirs")).to_be_focused()
    page.keyboard.press("Enter")
    expect(control(page, "Vendor")).to_be_focused()
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    all_saved(page)  # the response draws the messages again
    control(page, "Total amount").focus()
    page.keyboard.press("Alt+m")
    expect(page.locator('[data-confirm="total_amount"]')).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator('[data-confirm="total_amount"]')).to_be_checked()
    for _ in range(1 + page.locator("#notice button:visible").count()):
        page.keyboard.press("Alt+m")
    expect(control(page, "Total amount")).to_be_focused()


def others(desk: Desk, document: Document, value: dict[str, Any]) -> None:
    """Ben saves a draft of the document, over whatever stands there."""
    document = Document.objects.get(pk=document.pk)
    version = annotation_services.open_document(document=document, user=desk.ben).version
    annotation_services.save_draft(document=document, user=desk.ben, value=value, evidence={}, base_version=version)


def test_checks_wait_until_the_field_is_left(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    date, due = control(page, "Invoice date"), control(page, "Due date")
    date.focus()
    page.keyboard.type("Jan 1")
    saved(page, 1)
    expect(page.locator('[data-title="Invoice date"] .sf-message')).to_have_count(0)
    page.keyboard.type("5, 2026")
    saved(page, 2)
    # How it is understood is shown all the same.
    expect(page.locator('[data-title="Invoice date"] [data-shown]')).to_have_text("= 2026-01-15")
    page.keyboard.press("Tab")
    expect(due).to_be_focused()
    expect(page.locator('[data-confirm="date"]')).to_be_visible()
    # A message goes as soon as its field is corrected, and comes only when the field is left.
    date.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("Jan 14, 2026")
    expect(page.locator('[data-confirm="date"]')).to_have_count(0)
    expect(page.locator("#verdict-words")).not_to_contain_text("to confirm")
    page.keyboard.type("9")
    all_saved(page)
    expect(page.locator('[data-title="Invoice date"] .sf-message')).to_have_count(0)
    expect(date).to_be_focused()
    # The frame of an empty field goes once it is filled.
    vendor, field = control(page, "Vendor"), page.locator('#form [data-title="Vendor"]')
    vendor.focus()
    page.keyboard.press("Tab")
    expect(field).to_have_class(re.compile("has-problem"))
    vendor.focus()
    page.keyboard.type("ACME")
    expect(field).not_to_have_class(re.compile("has-problem"))
    expect(vendor).not_to_have_attribute("aria-invalid", "true")
    expect(vendor).to_be_focused()


def test_checks_of_a_field_left_during_its_save_are_shown(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    hold_answers(page)
    control(page, "Invoice date").focus()
    page.keyboard.type("Jan 15, 2026")
    held(page)
    page.keyboard.press("Tab")
    expect(control(page, "Due date")).to_be_focused()
    let_go(page)
    expect(page.locator('[data-confirm="date"]')).to_be_visible()


@pytest.mark.slow
def test_a_message_goes_while_another_field_repairs_it(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES.replace("Jan 14, 2026", "2026-04-03 2026-03-04 2026-05-06")))
    control(page, "Invoice date").fill("2026-04-03")
    control(page, "Due date").fill("2026-03-04")
    control(page, "Vendor").focus()
    expect(page.locator('[data-confirm="due_date"]')).to_be_visible()
    expect(page.locator("#verdict-words")).to_contain_text("1 to confirm")
    date = control(page, "Invoice date")
    date.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("2026-03-04")
    expect(page.locator('[data-confirm="due_date"]')).to_have_count(0)
    expect(page.locator("#verdict-words")).not_to_contain_text("to confirm")
    page.keyboard.press("Control+a")
    page.keyboard.type("2026-05-06")
    all_saved(page)
    expect(page.locator('[data-confirm="due_date"]')).to_have_count(0)  # what is broken now waits
    page.keyboard.press("Tab")
    expect(page.locator('[data-confirm="due_date"]')).to_be_visible()


def version_with(page: Page, desk: Desk, rows: list[dict[str, Any]]) -> int:
    """The version of Ana's annotation once it has these line items: the number of saves depends on the machine."""
    for _ in range(300):
        annotation = Annotation.objects.filter(user=desk.ana).first()
        if annotation is not None and annotation.value.get("line_items") == rows:
            return annotation.version
        page.wait_for_timeout(100)
    raise AssertionError(annotation and annotation.value)


@pytest.mark.slow
def test_incoming_rows_do_not_move_the_focused_row(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.keyboard.press("Alt+r")
    page.keyboard.type("Hydraulic")
    mine = [{"description": "Widget, blue"}, {"description": "Hydraulic"}]
    saved(page, version_with(page, desk, mine))
    others(desk, document, {"vendor": "ACME", "line_items": [{"description": "First"}, *mine]})
    page.keyboard.type(" pu")
    expect(page.locator(ROWS)).to_have_count(3)
    expect(control(page, "Vendor")).to_have_value("ACME")
    page.keyboard.type("mp")
    page.keyboard.press("Tab")
    page.keyboard.type("1")
    page.keyboard.press("Control+s")
    all_saved(page)
    texts = [row.locator("[data-control]").first.input_value() for row in page.locator(ROWS).all()]
    assert texts == ["First", "Widget, blue", "Hydraulic pump"]
    value = Annotation.objects.filter(user=desk.ana).latest("updated_at").value
    assert value["line_items"] == [
        {"description": "First"},
        {"description": "Widget, blue"},
        {"description": "Hydraulic pump", "quantity": 1},
    ]


@pytest.mark.slow
def test_confirmations_during_a_save_are_kept(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Vendor").fill("Globex")
    page.keyboard.press("Tab")
    box = page.locator('[data-confirm="vendor"]')
    expect(box).to_be_visible()
    hold_answers(page)
    control(page, "Total amount").focus()
    page.keyboard.type("1")
    expect(page.locator("body")).to_have_attribute("data-answers", "1")
    box.click()
    expect(control(page, "Total amount")).to_be_focused()
    page.keyboard.type("2")
    page.keyboard.press("Alt+y")  # before the value is checked
    page.keyboard.press("Tab")
    let_all_go(page)
    expect(page.locator('[data-confirm="total_amount"]')).to_be_checked()
    all_saved(page)
    expect(box).to_be_checked()
    evidence = Annotation.objects.get().evidence
    assert {path: evidence[path]["of"] for path in ("vendor", "total_amount")} == {
        "vendor": '"Globex"', "total_amount": "12",
    }  # fmt: skip


@pytest.mark.slow
def test_tab_order_is_stable_while_a_field_has_the_focus(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    predict(document, {"line_items[1].quantity": 0.3})
    page = open_label(desk.ana, document)
    vendor = control(page, "Vendor")
    expect(vendor).to_be_focused()
    hold_answers(page)
    page.locator(f"{ROWS}:nth-child(1) [data-title=Quantity] [data-control]").fill("7")
    vendor.focus()
    let_go(page)
    expect(page.locator(f"{ROWS}:nth-child(1) [data-look]").first).to_be_attached()
    page.keyboard.press("Tab")
    expect(page.locator(f"{ROWS}:nth-child(2) [data-title=Quantity] [data-control]")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('tr').rowIndex") == 1


@pytest.mark.slow
def test_json_shows_and_keeps_unsaved_changes(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Invoice number").fill("A-1")
    hold_answers(page)
    page.keyboard.press("Alt+j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    page.keyboard.type('"vendor": "ACME", ')  # the answers do not replace the text
    let_all_go(page)
    all_saved(page)
    page.keyboard.press("Alt+j")
    page.context.set_offline(True)
    control(page, "Invoice number").fill("A-1029")
    control(page, "Total amount").fill("1,100.00")
    control(page, "Invoice date").fill("Jan 14, 2026")
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.keyboard.press("Tab")
    page.keyboard.type("2")
    page.keyboard.press("Alt+j")
    text = page.locator("#raw-text")
    expect(text).to_be_focused()
    now = text.input_value()
    for part in ('"A-1029"', '"ACME"', '"1,100.00"', '"Jan 14, 2026"', '"quantity": 2'):
        assert part in now, now
    # Back without a change: the form has what it had.
    page.keyboard.press("Alt+j")
    expect(control(page, "Total amount")).to_have_value("1,100.00")
    page.keyboard.press("Alt+j")
    text.fill(now.replace('"ACME"', '"ACME SUPPLIES"'))
    page.keyboard.press("Alt+j")
    expect(text).to_be_visible()
    page.context.set_offline(False)
    all_saved(page)
    page.keyboard.press("Alt+j")
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(control(page, "Invoice number")).to_have_value("A-1029")
    value = Annotation.objects.get().value
    assert (value["invoice_id"], value["vendor"], value["date"]) == ("A-1029", "ACME SUPPLIES", "2026-01-14")
    assert str(value["total_amount"]) == "1100.00"
    assert value["line_items"] == [{"description": "Widget, blue", "quantity": 2}]


@pytest.mark.slow
def test_a_choice_search_survives_a_merge_and_is_taken_on_leaving(desk: Desk, open_label: Open) -> None:
    names = [f"Place {letter}" for letter in "ABCDEFGHIJKL"]
    text = {"type": "string"}
    use_schema(desk, object_schema({"place": {"enum": names}, "vendor": text, "note": text}))
    documents = [desk.document(LINES), desk.document(LINES)]
    page = open_label(desk.ana, documents[0])
    others(desk, documents[0], {"vendor": "ACME SUPPLIES"})
    control(page, "Note").fill("x")
    place = control(page, "Place")
    place.focus()
    page.keyboard.type("place k")
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(place).to_have_value("place k")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(documents[1].external_id)
    expect(page.locator("#combo-list")).to_be_hidden()
    expect(place).to_have_value("")
    assert Annotation.objects.get(user=desk.ana).value["place"] == "Place K"
    page.keyboard.type("place c")
    page.go_back()
    expect(page.locator("#document-name")).to_have_text(documents[0].external_id)
    expect(place).to_have_value("Place K")
    expect(page.locator("#combo-list")).to_be_hidden()
    assert Annotation.objects.get(document=documents[1]).value == {"place": "Place C"}


def test_typing_while_the_next_document_opens(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    complete(page)
    control(page, "Vendor").focus()
    hold_answers(page)
    page.keyboard.press("Control+Enter")
    page.keyboard.type("A-10299")
    page.keyboard.press("Backspace")
    page.keyboard.press("Tab")
    page.keyboard.type("Jan 14")
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    let_go(page)
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    page.keyboard.type(", 2026")
    let_all_go(page)
    all_saved(page)
    expect(control(page, "Invoice number")).to_have_value("A-1029")
    expect(control(page, "Invoice date")).to_have_value("Jan 14, 2026")
    assert Annotation.objects.get(document=second).value == {"invoice_id": "A-1029", "date": "2026-01-14"}
    assert Annotation.objects.get(document=first).value["vendor"] == "ACME SUPPLIES"


@pytest.mark.slow
def test_undo_reverts_user_changes_only(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))

    def echo(route: Route) -> None:
        """Answers as after a merge that changed nothing: with the whole entry as it was sent."""
        answer = route.fetch()
        sent = json.loads(route.request.post_data or "")["entry"]
        route.fulfill(response=answer, json={**answer.json(), "entry": sent, "read": sent})

    page.route(re.compile(r"/save/$"), echo)
    vendor = control(page, "Vendor")
    vendor.focus()
    page.keyboard.type("AC")
    page.keyboard.press("End")
    completed = vendor.input_value()
    assert completed.startswith("ACME SUPPLIES")
    all_saved(page)
    page.keyboard.press("Control+z")
    assert vendor.input_value() != completed  # at once, without an answer


@pytest.mark.slow
def test_the_first_field_takes_completions_and_selections(desk: Desk, open_label: Open) -> None:
    """However the document was opened: in the queue, as the next, again, after a submit, for a fix."""
    documents = [desk.document(LINES, name=f"doc-{number}") for number in range(3)]
    page = open_label(desk.ana)
    fill_first_field(page, documents[0])
    page.keyboard.press("Alt+n")
    fill_first_field(page, documents[1])
    page.go_back()
    fill_first_field(page, documents[0])
    complete(page)
    control(page, "Invoice number").focus()
    page.keyboard.press("Control+Enter")
    fill_first_field(page, documents[1])
    Project.objects.filter(pk=desk.project.pk).update(review_required=True)
    label = {"invoice_id": "A-1029", "date": "2026-01-14", "vendor": "ACME", "line_items": [], "total_amount": 1100}
    annotation_services.submit(document=documents[2], user=desk.ana, value=label, evidence={}, base_version=0)
    page = open_label(desk.owner, documents[1])
    page.goto(reverse("review_document", args=["desk", documents[2].pk]))
    page.keyboard.press("f")
    fill_first_field(page, documents[2])


def fill_first_field(page: Page, document: Document) -> None:
    """Fills the first field, which has the focus, by a completion and with the mouse."""
    expect(page.locator("#document-name")).to_have_text(document.external_id)
    first = control(page, "Invoice number")
    expect(first).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("A-")
    page.keyboard.press("End")
    expect(first).to_have_value("A-1029")
    expect(page.locator("#focus-words strong")).to_have_text("Invoice number")
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
