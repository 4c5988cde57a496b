"""The labeling screen: a label by keys, what a submit leads to, undo, shortcuts, layout, accessibility."""

import json
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from labeling.comments import services as comment_services
from labeling.models import Gold
from tests.browser.accessibility import check
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, all_saved, control, fill_required, paged, predict, select
from tests.browser.test_annotation_saving import hold_answers, let_all_go
from tests.labeling.label_desk import Desk


def test_a_label_by_keyboard_and_selection(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana)
    page.keyboard.type("A-1029")
    page.keyboard.press("Tab")
    page.keyboard.type("Jan 14, 2026")
    control(page, "Vendor").focus()
    select(page, "ACME", "SUPPLIES")
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(control(page, "Vendor")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("2")
    control(page, "Invoice number").focus()
    select(page, "Widget, blue", "1,080.00")
    page.keyboard.press("Alt+r")
    expect(page.locator("[data-body] tr")).to_have_count(2)
    control(page, "Total amount").focus()
    page.keyboard.type("USD 1,100.00")
    expect(page.locator('[data-title="Total amount"] [data-shown]')).to_have_text("= 1100.00")
    expect(page.locator('[data-title="Invoice date"] [data-side]')).to_have_text("in text")
    page.keyboard.press("Alt+Shift+Digit0")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    assert page.url.endswith(f"/label/{second.pk}/")
    expect(page.locator("#document")).to_contain_text("<b>LTD</b>")  # markup in a document stays text
    assert page.locator("#document b").count() == 0
    gold = Gold.objects.get().revision
    assert gold.annotation.document == first
    assert [row["description"] for row in gold.value["line_items"]] == ["Widget, blue", "Hydraulic pump"]
    assert (gold.value["currency"], str(gold.value["total_amount"])) == ("USD", "1100.00")
    place = gold.evidence["date"]
    # Characters, not UTF-16 units: the smiley before it is one.
    assert LINES[place["start"] : place["end"]] == "Jan 14, 2026"


@pytest.mark.slow
def test_a_key_at_mouse_release_applies_to_the_selection(desk: Desk, open_label: Open) -> None:
    desk.document(LINES)
    page = open_label(desk.ana)
    control(page, "Invoice number").focus()
    # In one task, as on a browser that is busy: no timer runs between the two.
    page.evaluate(
        """() => {
            const lines = [...document.querySelectorAll("#document .line")];
            const [first, last] = ["Widget, blue", "Hydraulic pump"].map((words) =>
                lines.find((line) => line.textContent.includes(words)));
            getSelection().setBaseAndExtent(first, 0, last, last.childNodes.length);
            first.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
            const key = { key: "r", code: "KeyR", altKey: true, bubbles: true, cancelable: true };
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", key));
        }"""
    )
    expect(page.locator("[data-body] tr")).to_have_count(2)


@pytest.mark.slow
def test_a_double_submit_skips_no_document(desk: Desk, open_label: Open) -> None:
    first, second, _ = (desk.document(LINES) for _ in range(3))
    page = open_label(desk.ana, first)
    fill_required(page)
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.locator("[data-body] tr input").last.fill("20.00")
    page.keyboard.press("Alt+Shift+Digit0")
    hold_answers(page)
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")
    let_all_go(page)
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    page.wait_for_load_state("networkidle")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    assert Gold.objects.get().document == first


def test_a_rejected_submit_leads_to_what_is_wrong(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    fill_required(page)
    date, vendor = control(page, "Invoice date"), control(page, "Vendor")
    date.fill("soon")
    page.keyboard.press("Control+Enter")
    expect(date).to_be_focused()
    expect(date).to_have_attribute("aria-invalid", "true")
    message = page.locator('[data-title="Invoice date"] .sf-message')
    expect(message).to_contain_text("must be a date written as YYYY-MM-DD")
    expect(page.locator("#verdict-words")).to_have_text("1 problem · 1 to fill")
    assert not Gold.objects.exists()
    date.fill("Jan 14, 2026")
    vendor.fill("Globex")
    box = page.locator('[data-confirm="vendor"]')
    page.locator('[data-title="Line items"] [data-null]').click()
    expect(box).to_be_visible()
    expect(box).to_have_attribute("tabindex", "-1")
    page.keyboard.press("Control+Enter")
    expect(vendor).to_be_focused()
    page.keyboard.press("Alt+y")
    expect(box).to_be_checked()
    page.keyboard.press("Control+z")
    expect(box).not_to_be_checked()
    box.click()
    expect(vendor).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("No documents to label")).to_be_visible()
    assert Gold.objects.get().revision.evidence["vendor"] == {"confirmed": True, "of": '"Globex"'}


@pytest.mark.slow
def test_undo_and_redo_of_the_whole_form(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Vendor").fill("ACME")
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.keyboard.press("Control+d")
    expect(page.locator("[data-body] tr")).to_have_count(2)
    page.keyboard.press("Control+Shift+Backspace")
    expect(page.locator("[data-body] tr")).to_have_count(1)
    for rows, vendor in ((2, "ACME"), (1, "ACME"), (1, "ACME"), (0, "ACME"), (0, "")):
        page.keyboard.press("Control+z")
        expect(page.locator("[data-body] tr")).to_have_count(rows)
        expect(control(page, "Vendor")).to_have_value(vendor)
    for _ in range(5):
        page.keyboard.press("Control+Shift+z")
    expect(page.locator("[data-body] tr textarea")).to_have_value("Widget, blue")
    all_saved(page)


@pytest.mark.slow
def test_the_json_view_round_trips(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Total amount").fill("1,100.00")
    page.keyboard.press("Alt+j")
    expect(page.locator("#raw-text")).to_have_value('{\n  "total_amount": 1100.00\n}')
    page.locator("#raw-text").fill('{"total_amount": 1100.000, "vendor": "AC')
    expect(page.locator("#raw-message")).to_contain_text("This is not valid JSON")
    page.keyboard.press("Alt+j")
    expect(page.locator("#raw-text")).to_be_visible()
    page.locator("#raw-text").fill('{"total_amount": 1100.000, "vendor": "ACME", "stray": 1}')
    page.keyboard.press("Alt+j")
    expect(control(page, "Total amount")).to_have_value("1100.000")
    expect(page.get_by_text("stray: is not a field of this schema")).to_be_visible()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("stray: is not a field of this schema")).to_have_count(0)


@pytest.mark.slow
def test_skip_flag_next_and_previous(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    first, second, third = (desk.document(LINES) for _ in range(3))
    page = open_label(desk.ana, first)
    name = page.locator("#document-name")
    page.keyboard.press("Alt+f")
    page.get_by_label("OCR noise").check()
    page.get_by_role("button", name="Set tags").click()
    expect(page.locator("#flags")).to_have_text("OCR noise")
    page.keyboard.press("Alt+n")
    expect(name).to_have_text(second.external_id)
    page.keyboard.press("Alt+x")
    page.get_by_role("button", name="Skip document").click()
    expect(page.locator("#skip-error")).to_have_text("Enter a reason for skipping this document.")
    page.get_by_label("Unreadable", exact=True).check()
    page.keyboard.press("Enter")
    expect(name).to_have_text(third.external_id)
    page.keyboard.press("Alt+p")
    expect(name).to_have_text(second.external_id)
    expect(page.locator("#notice-text")).to_have_text("This document was skipped: Unreadable")
    page.go_back()
    expect(name).to_have_text(third.external_id)


def test_the_screen_is_accessible(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    paged(document)
    predict(document, {"date": 0.4, "line_items[1].quantity": 0.3})
    comment_services.add(document=document, user=desk.ben, text="Is this @ana-desk the vendor?", path="vendor")
    settled = comment_services.add(document=document, user=desk.ben, text="The scan is poor.")
    comment_services.resolve(comment=settled, user=desk.ben)
    page = open_label(desk.ana, document)
    page.locator("[data-document-view=both]").click()
    expect(page.locator(".sf-message-look")).to_have_count(2)
    control(page, "Vendor").fill("Globex")
    control(page, "Due date").fill("soon")
    page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox", name="Confirm value: Vendor")).to_be_visible()
    for title in ("Invoice number", "Total amount"):
        expect(control(page, title)).to_have_accessible_name(title)
        expect(control(page, title)).to_have_attribute("aria-required", "true")
    expect(control(page, "Due date")).not_to_have_attribute("aria-required", "true")
    expect(page.get_by_role("radiogroup", name="Currency", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Line items: add row")).to_be_visible()
    check(page, "label")
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


@pytest.mark.slow
def test_messages_appear_while_typing_in_another_field(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Invoice date").focus()
    page.keyboard.type("soon")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(control(page, "Vendor")).to_be_focused()
    message, typed = page.locator('[data-title="Invoice date"] .sf-message'), ""
    # Never a pause in which a save would find the form at rest.
    while not message.count() and len(typed) < 600:
        page.keyboard.type("words ", delay=60)
        typed += "words "
    assert message.count(), "no message before the typing ended"
    expect(message).to_contain_text("must be a date")
    expect(control(page, "Vendor")).to_have_value(typed)


@pytest.mark.slow
def test_a_shortcut_can_be_changed(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST /me/keys/")
    document, other = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, document)
    page.get_by_role("button", name=desk.ana.username).click()
    page.get_by_role("link", name="Keyboard shortcuts").click()
    page.wait_for_url("**/me/keys/")  # its script has loaded, too
    page.locator("#change-skip").click()
    expect(page.locator(".keys-waiting")).to_be_visible()
    check(page, "shortcuts")
    page.keyboard.press("Escape")
    expect(page.locator(".keys-waiting")).to_have_count(0)
    page.locator("#change-skip").click()
    page.keyboard.press("Alt+n")
    expect(page.locator("#my-keys")).to_contain_text("Alt+N is in use: next document without submitting.")
    expect(page.locator("#change-skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Shift+k")
    expect(page.locator('[data-action="skip"] .tag')).to_have_text("Custom")
    page.locator("#change-next").click()
    page.keyboard.press("Shift+J")
    expect(page.locator('[data-action="next"] .tag')).to_have_text("Custom")
    page.goto(reverse("label_document", args=["desk", document.pk]))
    expect(page.locator("#skip-button kbd")).to_have_text("Ctrl Shift K")
    control(page, "Vendor").focus()
    page.keyboard.press("Alt+x")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    page.keyboard.press("Control+Shift+k")
    expect(page.locator("#skip-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    # Without Ctrl or Alt it is typed where something is typed, and else it does what it is for.
    control(page, "Vendor").focus()
    page.keyboard.press("Shift+J")
    expect(control(page, "Vendor")).to_have_value("J")
    page.locator("#document-scroll").focus()
    page.keyboard.press("Shift+J")
    expect(page.locator("#document-name")).to_have_text(other.external_id)


WIDTHS = ((390, 844), (768, 1024), (1280, 800), (1920, 1080))

# The controls that stand under something fixed once they have the focus, and whether the page is wider than its window.
COVERED = """() => {
    const titles = [];
    for (const control of document.querySelectorAll("#form [data-control]")) {
        control.focus();
        control.scrollIntoView({ block: "nearest" });
        const box = control.getBoundingClientRect();
        if (!box.width || !box.height) continue;
        const y = box.top + box.height / 2;
        for (const x of [box.left + 4, box.left + box.width / 2, box.right - 4]) {
            if (x < 0 || x > innerWidth) continue;
            const on = document.elementFromPoint(x, y);
            if (on?.closest("#messages, #notice, .bar")) titles.push(control.closest("[data-node]").dataset.title);
        }
    }
    return [...new Set(titles)];
}"""
BUTTONS = ".bar button, .topbar button, .pane-head button, #leftovers a, #leftovers button"
CUT_OFF = """(selector) => [...document.querySelectorAll(selector)].filter((button) => {
    const { left, right } = button.getBoundingClientRect();
    return button.checkVisibility() && (left < 0 || right > innerWidth + 0.5);
}).map((button) => button.id || button.textContent)"""
# Pairs of parts of the bar that cover each other by more than a pixel.
OVERLAPPING = """() => {
    const parts = [...document.querySelectorAll("#saved, .bar button")].filter((part) => part.checkVisibility());
    const boxes = parts.map((part) => part.getBoundingClientRect());
    const apart = (a, b) => a.right <= b.left + 1 || a.bottom <= b.top + 1;
    const cover = (i, j) => i < j && !apart(boxes[i], boxes[j]) && !apart(boxes[j], boxes[i]);
    return parts.flatMap((part, i) => parts.filter((_, j) => cover(i, j)).map(({ id }) => [part.id, id]));
}"""


@pytest.mark.slow
def test_nothing_is_covered_or_cut_off(desk: Desk, open_label: Open) -> None:
    document, other = desk.document(LINES), desk.document("Another document.")
    page = open_label(desk.ana, document)
    left: dict[str, Any] = {"entry": {"vendor": "Acme"}, "evidence": {}, "base_version": 7, "schema": 1, "seconds": 1}
    left |= {"at": "2026-01-01T00:00:00Z", "name": other.external_id, "url": f"/p/desk/label/{other.pk}/"}
    page.evaluate(
        "([key, text]) => localStorage.setItem(key, text)", [f"label-{desk.ana.pk}-{other.pk}", json.dumps(left)]
    )
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("#leftovers")).to_contain_text(other.external_id)
    for width, height in WIDTHS:
        page.set_viewport_size({"width": width, "height": height})
        page.keyboard.press("Alt+y")  # a short message stands there, too
        expect(page.locator("#messages")).to_contain_text("nothing to confirm")
        assert page.evaluate(COVERED) == []
        assert page.evaluate(CUT_OFF, BUTTONS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.locator("#submit-button")).to_be_in_viewport(ratio=1)
    # A long message about saving covers no button.
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved[data-state=offline]")).to_be_visible()
    for width, height in ((1024, 768), (1366, 768), *WIDTHS):
        page.set_viewport_size({"width": width, "height": height})
        assert (width, page.evaluate(OVERLAPPING)) == (width, [])
        assert page.evaluate(CUT_OFF, BUTTONS) == []
    expect(page.locator("#saved")).to_have_attribute("title", page.locator("#saved-words").inner_text())
