"""The labeling screen in a browser: keys, evidence, saving, two people."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Dialog, Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Annotation, Document, Gold
from tests.browser.conftest import Watch
from tests.labeling.label_desk import Desk, make_desk

LINES = """ACME SUPPLIES <b>LTD</b> 🙂
Invoice A-1029              Jan 14, 2026

Widget, blue        2      10.00      20.00
Hydraulic pump      1   1,080.00   1,080.00

Total                              1,100.00
"""
SAVED = "#saved[data-tone=quiet]"

Open = Callable[..., Page]


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return make_desk("invoice-with-lines")


@pytest.fixture
def open_label(new_page: Callable[[], Page], live_server: LiveServer) -> Open:
    """Opens the queue, or a document, as a person."""

    def opened(user: Any, document: Document | None = None) -> Page:
        client = Client()
        client.force_login(user)
        page = new_page()
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page.goto(
            reverse("label_document", args=["desk", document.pk]) if document else reverse("label", args=["desk"])
        )
        expect(page.locator("#strip")).to_contain_text("left for me")
        return page

    return opened


def control(page: Page, title: str) -> Locator:
    return page.locator(f'#form [data-node=leaf][data-title="{title}"] [data-control]').first


def select(page: Page, first: str, last: str) -> None:
    """Selects from the start of one text to the end of another with the mouse."""
    place = """([text, end]) => {
        const walker = document.createTreeWalker(document.getElementById("document"), NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const at = node.data.indexOf(text);
            if (at < 0) continue;
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + text.length);
            const box = range.getBoundingClientRect();
            return [end ? box.right - 1 : box.left + 1, box.top + box.height / 2];
        }
    }"""
    start, end = page.evaluate(place, [first, False]), page.evaluate(place, [last, True])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def saved(page: Page, version: int) -> None:
    expect(page.locator("#saved-words")).to_contain_text(f"· v{version}")
    expect(page.locator("#saved-words")).to_contain_text("saved ")


def fill_required(page: Page) -> None:
    control(page, "Invoice number").fill("A-1029")
    control(page, "Invoice date").fill("Jan 14, 2026")
    control(page, "Vendor").fill("ACME SUPPLIES")
    control(page, "Total amount").fill("1,100.00")


def test_a_whole_label_by_keys_and_selection(desk: Desk, open_label: Open) -> None:
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


def test_pressing_submit_twice_skips_no_document(desk: Desk, open_label: Open) -> None:
    first, second, _ = (desk.document(LINES) for _ in range(3))
    page = open_label(desk.ana, first)
    fill_required(page)
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.locator("[data-body] tr input").last.fill("20.00")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")
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


def test_a_refused_submit_goes_to_the_first_problem(desk: Desk, open_label: Open, watch: Watch) -> None:
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


def test_what_is_not_in_the_document_is_confirmed(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    fill_required(page)
    control(page, "Vendor").fill("Globex")
    box = page.locator('[data-confirm="vendor"]')
    expect(box).to_be_visible()
    page.locator('[data-title="Line items"] [data-null]').click()
    page.keyboard.press("Control+Enter")
    expect(box).to_be_focused()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Nothing is left to label")).to_be_visible()
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
    expect(page.locator(SAVED)).to_contain_text("saved")


def test_the_json_view_goes_both_ways(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    page = open_label(desk.ana, desk.document(LINES))
    control(page, "Total amount").fill("1,100.00")
    page.keyboard.press("Alt+j")
    expect(page.locator("#raw-text")).to_have_value('{\n  "total_amount": 1100.00\n}')
    page.locator("#raw-text").fill('{"total_amount": 1100.000, "vendor": "AC')
    expect(page.locator("#raw-message")).to_contain_text("This is not JSON yet")
    page.keyboard.press("Alt+j")
    expect(page.locator("#raw-text")).to_be_visible()
    page.locator("#raw-text").fill('{"total_amount": 1100.000, "vendor": "ACME", "stray": 1}')
    page.keyboard.press("Alt+j")
    expect(control(page, "Total amount")).to_have_value("1100.000")
    expect(page.get_by_text("stray: is not a field of this schema")).to_be_visible()
    page.get_by_role("button", name="remove it").click()
    expect(page.get_by_text("stray: is not a field of this schema")).to_have_count(0)


def test_two_people_get_a_merge_and_see_what_clashed(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    expect(ben.locator("#notice-text")).to_contain_text(f"{desk.ana.username} has this document open")
    control(ana, "Vendor").fill("ACME")
    saved(ana, 1)
    control(ben, "Invoice number").fill("A-1029")
    expect(control(ben, "Vendor")).to_have_value("ACME")
    saved(ben, 2)
    control(ben, "Vendor").fill("ACME SUPPLIES")
    saved(ben, 3)
    control(ana, "Vendor").fill("Acme Supplies")
    expect(control(ana, "Invoice number")).to_have_value("A-1029")
    expect(ana.get_by_text(f'{desk.ben.username} wrote "ACME SUPPLIES"')).to_be_visible()
    ana.get_by_role("button", name="take it").click()
    expect(control(ana, "Vendor")).to_have_value("ACME SUPPLIES")
    expect(ana.get_by_text("take it")).to_have_count(0)


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


def test_a_clash_that_comes_while_one_types_is_shown_and_stays(desk: Desk, open_label: Open) -> None:
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
    expect(clash).to_be_visible()
    expect(ana.locator("#notice-text")).to_contain_text(f"You and {desk.ben.username} both changed Vendor")
    let_go(ana)
    saved(ana, 3)
    expect(clash).to_be_visible()
    ana.get_by_role("button", name="take it").click()
    expect(control(ana, "Vendor")).to_have_value("ACME SUPPLIES")
    let_go(ana)
    saved(ana, 4)
    expect(clash).to_have_count(0)


@pytest.mark.parametrize(
    ("keys", "words"), [("Control+Enter", "Not submitted yet"), ("Alt+n", "Look at what somebody")]
)
def test_a_clash_that_comes_with_a_draft_holds_the_way_out(desk: Desk, open_label: Open, keys: str, words: str) -> None:
    document, _ = desk.document(LINES), desk.document(LINES)
    ana, ben = open_label(desk.ana, document), open_label(desk.ben, document)
    control(ben, "Vendor").fill("ACME")
    saved(ben, 1)
    hold_answers(ana)
    fill_required(ana)
    held(ana)
    ana.keyboard.press(keys)
    let_go(ana)
    expect(ana.locator("#announcer")).to_contain_text(words)
    expect(ana.get_by_text(f'{desk.ben.username} wrote "ACME"')).to_be_visible()
    expect(ana.locator("#document-name")).to_have_text(document.external_id)
    assert not Gold.objects.exists()


def test_what_is_typed_while_the_submit_is_under_way_is_saved(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    expect(page.locator("#saved-words")).to_contain_text("saved ")
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


def test_a_next_document_that_does_not_come_is_told(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    page.route("**/label/next/", lambda route: route.abort())
    page.reload()
    fill_required(page)
    page.locator('[data-title="Line items"] [data-null]').click()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("The server does not answer")
    assert Gold.objects.get().document == first
    page.unroute("**/label/next/")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)


def test_a_document_that_is_not_saved_is_left_only_knowingly_and_sent_later(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, second)
    page.goto(reverse("label_document", args=["desk", first.pk]))
    asked = refuse_dialogs(page)
    page.wait_for_timeout(1000)  # the next document has been fetched ahead
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    page.keyboard.press("Alt+n")
    expect(page.locator("#saved[data-tone=bad]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(first.external_id)
    assert "not saved" in asked[0]
    page.evaluate("window.confirm = () => true")
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    expect(page.locator("#leftovers a")).to_have_text(first.external_id)
    page.context.set_offline(False)
    expect(page.locator("#leftovers")).to_have_count(0)
    assert Annotation.objects.get().value == {"vendor": "ACME"}
    assert Annotation.objects.get().document == first
    assert page.evaluate("Object.keys(localStorage).join()") == ""


def test_going_back_in_the_browser_asks_too(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page = open_label(desk.ana, first)
    page.keyboard.press("Alt+n")
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    asked = refuse_dialogs(page)
    page.evaluate("history.back()")
    page.wait_for_url(f"**/label/{second.pk}/")
    expect(page.locator("#saved[data-tone=bad]")).to_be_visible()
    expect(page.locator("#document-name")).to_have_text(second.external_id)
    expect(control(page, "Vendor")).to_have_value("ACME")
    page.context.set_offline(False)
    saved(page, 1)
    assert len(asked) == 1


def test_an_old_leftover_that_others_saved_over_is_told_and_not_sent(desk: Desk, open_label: Open) -> None:
    first, second = desk.document(LINES), desk.document(LINES)
    page, ben = open_label(desk.ana, second), open_label(desk.ben, first)
    control(ben, "Vendor").fill("ACME SUPPLIES")
    saved(ben, 1)
    left = {"entry": {"vendor": "ACME"}, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0}
    left |= {"name": first.external_id, "url": reverse("label_document", args=["desk", first.pk])}
    key = f"label-{desk.ana.pk}-{first.pk}"
    page.evaluate("([key, left]) => localStorage.setItem(key, JSON.stringify(left))", [key, left])
    page.reload()
    page.locator("#leftovers").get_by_role("link", name=first.external_id).click()
    expect(page.get_by_text(f'{desk.ben.username} wrote "ACME SUPPLIES"')).to_be_visible()
    saved(page, 2)
    page.evaluate("([key, left]) => localStorage.setItem(key, JSON.stringify(left))", [key, left])
    page.goto(reverse("label_document", args=["desk", second.pk]))
    page.get_by_role("button", name=f"Discard what was not saved in {first.external_id}").click()
    expect(page.locator("#leftovers")).to_have_count(0)
    assert page.evaluate("Object.keys(localStorage).join()") == ""


def test_previous_leads_further_back_each_time(desk: Desk, open_label: Open) -> None:
    documents = [desk.document(LINES) for _ in range(4)]
    page = open_label(desk.ana, documents[1])
    name = page.locator("#document-name")
    for document in documents[2:]:
        page.keyboard.press("Alt+n")
        expect(name).to_have_text(document.external_id)
    for document in reversed(documents[:3]):
        page.keyboard.press("Alt+p")
        expect(name).to_have_text(document.external_id)


def test_what_cannot_be_saved_is_kept_and_sent_again(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    page.context.set_offline(True)
    control(page, "Vendor").fill("ACME")
    expect(page.locator("#saved-words")).to_contain_text("Not saved: the server does not answer")
    assert not Annotation.objects.exists()
    page.context.set_offline(False)
    saved(page, 1)
    assert Annotation.objects.get().value == {"vendor": "ACME"}


def test_a_crashed_tab_is_restored_and_merged(desk: Desk, open_label: Open) -> None:
    document = desk.document(LINES)
    page = open_label(desk.ana, document)
    left = {"entry": {"vendor": "ACME"}, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0}
    page.evaluate(
        "([key, left]) => localStorage.setItem(key, JSON.stringify(left))", [f"label-{desk.ana.pk}-{document.pk}", left]
    )
    page.reload()
    expect(control(page, "Vendor")).to_have_value("ACME")
    expect(page.locator("#notice-text")).to_contain_text("is put back")
    saved(page, 1)
    assert page.evaluate("Object.keys(localStorage).join()") == ""


def test_skip_flag_next_and_previous(desk: Desk, open_label: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    first, second, third = (desk.document(LINES) for _ in range(3))
    page = open_label(desk.ana, first)
    name = page.locator("#document-name")
    page.keyboard.press("Alt+f")
    page.get_by_label("OCR noise").check()
    page.get_by_role("button", name="Set flags").click()
    expect(page.locator("#flags")).to_have_text("OCR noise")
    page.keyboard.press("Alt+n")
    expect(name).to_have_text(second.external_id)
    page.keyboard.press("Alt+x")
    page.get_by_role("button", name="Skip it").click()
    expect(page.locator("#skip-error")).to_have_text("Say why this document cannot be labelled.")
    page.get_by_label("Cannot be read").check()
    page.keyboard.press("Enter")
    expect(name).to_have_text(third.external_id)
    page.keyboard.press("Alt+p")
    expect(name).to_have_text(second.external_id)
    expect(page.locator("#notice-text")).to_have_text("This document was skipped: Cannot be read")
    page.go_back()
    expect(name).to_have_text(third.external_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_screen_is_accessible(desk: Desk, open_label: Open, scheme: Any) -> None:
    page = open_label(desk.ana, desk.document(LINES))
    page.emulate_media(color_scheme=scheme)
    fill_required(page)
    control(page, "Vendor").fill("Globex")
    page.locator('[data-title="Line items"] [data-add-row]').click()
    page.keyboard.type("Widget, blue")
    page.keyboard.press("Tab")
    page.keyboard.type("two")
    expect(page.locator('[data-confirm="vendor"]')).to_be_visible()
    axe = (settings.BASE_DIR / "node_modules/axe-core/axe.min.js").read_text()
    found = page.evaluate(axe + "; axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found["violations"]] == []
