"""The labeling screen in a browser: keys, evidence, forms."""

from playwright.sync_api import expect

from labeling.models import Gold
from tests.browser.accessibility import check
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, all_saved, control, fill_required, select
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
    gold = Gold.objects.get().revision
    assert gold.annotation.document == first
    assert [row["description"] for row in gold.value["line_items"]] == ["Widget, blue", "Hydraulic pump"]
    assert (gold.value["currency"], str(gold.value["total_amount"])) == ("USD", "1100.00")
    place = gold.evidence["date"]
    # Characters, not UTF-16 units: the smiley before it is one.
    assert LINES[place["start"] : place["end"]] == "Jan 14, 2026"


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
    page.wait_for_timeout(500)
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    assert Gold.objects.get().document == first


def test_markup_in_a_document_stays_text(desk: Desk, open_label: Open) -> None:
    page = open_label(
        desk.ana, desk.document(f"{LINES}<img src=/nowhere onerror=alert(1)></script><script>alert(2)</script>")
    )
    expect(page.locator("#document")).to_contain_text("<b>LTD</b>")
    assert page.locator("#document b, #document img, #document script").count() == 0


def test_a_rejected_submit_focuses_the_first_problem(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    fill_required(page)
    control(page, "Invoice date").fill("soon")
    page.keyboard.press("Control+Enter")
    expect(control(page, "Invoice date")).to_be_focused()
    expect(control(page, "Invoice date")).to_have_attribute("aria-invalid", "true")
    expect(page.locator('[data-title="Invoice date"] .sf-message')).to_contain_text(
        "must be a date written as YYYY-MM-DD"
    )
    expect(page.locator("#verdict-words")).to_have_text("1 problem · 1 to fill")
    assert not Gold.objects.exists()


def test_values_not_in_the_document_are_confirmed(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    fill_required(page)
    control(page, "Vendor").fill("Globex")
    box = page.locator('[data-confirm="vendor"]')
    page.locator('[data-title="Line items"] [data-null]').click()
    expect(box).to_be_visible()
    expect(box).to_have_attribute("tabindex", "-1")
    page.keyboard.press("Control+Enter")
    expect(control(page, "Vendor")).to_be_focused()
    box.click()
    expect(box).to_be_checked()
    expect(control(page, "Vendor")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("No documents to label")).to_be_visible()
    assert Gold.objects.get().revision.evidence["vendor"] == {"confirmed": True, "of": '"Globex"'}


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


def test_previous_goes_back_repeatedly(desk: Desk, open_label: Open) -> None:
    documents = [desk.document(LINES) for _ in range(4)]
    page = open_label(desk.ana, documents[1])
    name = page.locator("#document-name")
    for document in documents[2:]:
        page.keyboard.press("Alt+n")
        expect(name).to_have_text(document.external_id)
    for document in reversed(documents[:3]):
        page.keyboard.press("Alt+p")
        expect(name).to_have_text(document.external_id)


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
    page = open_label(desk.ana, desk.document(LINES))
    fill_required(page)
    control(page, "Vendor").fill("Globex")
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.keyboard.press("Tab")
    page.keyboard.type("two")
    expect(page.locator('[data-confirm="vendor"]')).to_be_visible()
    check(page, "label")


def test_messages_appear_while_typing_in_another_field(desk: Desk, open_label: Open) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Invoice date").focus()
    page.keyboard.type("soon")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(control(page, "Vendor")).to_be_focused()
    page.evaluate(
        """() => {
            const node = document.querySelector('[data-title="Invoice date"] [data-messages]');
            window.cameAfter = node.childElementCount ? 0 : null; // it may be there already
            const typed = () => (window.cameAfter ??= document.activeElement.value.length);
            new MutationObserver(typed).observe(node, { childList: true });
        }"""
    )
    # Never a pause in which a save would find the form at rest.
    page.keyboard.type("ACME SUPPLIES and many more words " * 2, delay=60)
    assert page.evaluate("window.cameAfter") is not None, "no message before the typing ended"
    expect(page.locator('[data-title="Invoice date"] .sf-message')).to_contain_text("must be a date")
    expect(control(page, "Vendor")).to_have_value("ACME SUPPLIES and many more words " * 2)
