"""Custom shortcuts: chosen by pressing them, rejected with a reason, and used on the labeling screen."""

from django.urls import reverse
from playwright.sync_api import expect

from labeling.annotation import preferences
from tests.browser.conftest import Open, Watch
from tests.browser.labeling import LINES, control, fill_required
from tests.labeling.label_desk import Desk


def test_a_shortcut_can_be_changed(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST /me/keys/")
    document, other = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, document)
    page.get_by_role("button", name=desk.ana.username).click()
    page.get_by_role("link", name="Keyboard shortcuts").click()
    page.wait_for_url("**/me/keys/")  # its script has loaded, too
    page.locator("#change-skip").click()
    expect(page.locator(".keys-waiting")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".keys-waiting")).to_have_count(0)
    page.locator("#change-skip").click()
    page.keyboard.press("Alt+n")
    expect(page.locator("#my-keys")).to_contain_text("Alt+N is in use: next document without submitting.")
    expect(page.locator("#change-skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Shift+k")
    expect(page.locator('[data-action="skip"] .tag')).to_have_text("Custom")
    assert preferences.of(desk.ana).keys == {"skip": "Ctrl+Shift+KeyK"}
    page.locator("#change-next").click()
    page.keyboard.press("Control+c")
    expect(page.locator("#my-keys")).to_contain_text("Ctrl+C is reserved: it copies")
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

    page.goto(reverse("my_keys"))
    page.get_by_role("button", name="Reset: skip with a reason").click()
    expect(page.locator('[data-action="skip"] .tag')).to_have_count(0)
    page.get_by_role("button", name="Reset all").click()
    expect(page.locator("#my-keys .tag")).to_have_count(0)
    assert preferences.of(desk.ana).keys == {}


def test_a_rejected_submit_focuses_the_unconfirmed_value(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    fill_required(page)
    control(page, "Invoice number").fill("B-77")
    control(page, "Total amount").focus()
    page.locator("#form [data-title='Line items'] [data-null]").click()
    page.keyboard.press("Control+Enter")
    expect(control(page, "Invoice number")).to_be_focused()
    page.keyboard.press("Alt+y")
    expect(page.get_by_role("checkbox", name="Confirm value")).to_be_checked()
    expect(page.locator("#verdict-words")).not_to_contain_text("to confirm")
