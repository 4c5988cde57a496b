"""Review by keys, adjudication, mentions, and accessibility in both themes."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from labeling.annotation import services as annotation_services
from labeling.comments import services as comment_services
from labeling.models import Document, Gold, Review
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from tests.browser.accessibility import check
from tests.browser.conftest import As, Open, Watch
from tests.browser.labeling import control
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import change, fresh, member

TEXT = """ACME SUPPLIES LTD <b>x</b>
Invoice A-1029              Jan 14, 2026
Widget, blue        2      10.00      20.00
Hydraulic pump      1   1,080.00   1,080.00
Total                              1,100.00
"""
ROWS = [
    {"description": "Widget, blue", "quantity": 2, "unit_price": 10, "amount": 20},
    {"description": "Hydraulic pump", "quantity": 1, "unit_price": 1080, "amount": 1080},
]
LABEL: dict[str, Any] = {
    "invoice_id": "A-1029",
    "date": "2026-01-14",
    "vendor": "ACME SUPPLIES LTD",
    "line_items": ROWS,
    "total_amount": 1100,
}


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    from tests.labeling.label_desk import make_desk

    desk = make_desk("invoice-with-lines")
    member(desk, "rita", Role.REVIEWER)
    change(desk, review_required=True)
    return desk


@pytest.fixture
def open_page(logged_in: As) -> Open:
    """A page below the project, as a person."""

    def opened(user: User, path: str) -> Page:
        page = logged_in(user)
        page.goto(f"/p/desk/{path}")
        return page

    return opened


def submit(document: Document, user: User, **changes: Any) -> annotation_services.SaveResult:
    value = {**LABEL, **changes}
    evidence = {name: {"confirmed": True, "of": dumps(inner)} for name, inner in value.items()}
    return annotation_services.submit(
        document=fresh(document), user=user, value=value, evidence=evidence, base_version=0
    )


def dispute(desk: Desk) -> Document:
    document = desk.document(TEXT, overlap=2)
    submit(document, desk.ana)
    other = [{**ROWS[1], "quantity": 2}]
    submit(document, desk.ben, vendor="ACME SUPPLIES", line_items=other, total_amount=20)
    return document


def shows(page: Page, document: Document) -> None:
    """The review of this document is open, and its keys work."""
    expect(page.locator("#review-document-name")).to_have_text(document.external_id)
    page.wait_for_load_state()


def test_labels_are_reviewed_by_keys(desk: Desk, open_page: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    first, second, third = (desk.document(TEXT) for _ in range(3))
    for document in (first, second, third):
        submit(document, desk.ana)
    comment_services.add(document=fresh(first), user=desk.ben, text="Is the total with tax?", path="total_amount")
    page = open_page(desk.rita, "review/")
    check(page, "review-list")
    page.keyboard.press("s")
    shows(page, first)
    page.locator('mark[data-path="vendor"]').hover()
    expect(page.locator("#f-vendor-label").locator("xpath=ancestor::*[@data-node][1]")).to_have_class("sf-field strong")
    page.keyboard.press("a")
    shows(page, second)
    expect(page.locator(".last-decision")).to_contain_text(first.external_id)
    page.keyboard.press("u")
    shows(page, first)
    assert not Gold.objects.exists()
    page.keyboard.press("a")
    shows(page, second)
    page.keyboard.press("r")
    expect(page.locator("#id_reason")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#reason-error")).to_have_text("Enter a reason for the annotator.")
    page.wait_for_load_state()
    page.locator("#id_reason").fill("a total is missing")  # the keys a, r and n are text here
    page.keyboard.press("Control+Enter")
    shows(page, third)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Review")).to_be_visible()
    assert list(Review.objects.order_by("pk").values_list("decision", flat=True)) == ["approve", "reject"]
    expect(open_page(desk.ana, "label/").locator("#rejection")).to_contain_text("a total is missing")
    assert Gold.objects.count() == 1


def test_a_conflict_is_adjudicated_by_keys(desk: Desk, open_page: Open, watch: Watch) -> None:
    watch.allow("422 POST")
    document = dispute(desk)
    page = open_page(desk.rita, "review/?show=disputed")
    page.keyboard.press("s")
    expect(page.locator("[data-question]")).to_have_count(4)
    check(page, "dispute")
    page.keyboard.press("a")
    expect(page.get_by_text("Choose a value.")).to_have_count(4)
    page.wait_for_load_state()
    page.keyboard.press("2")  # vendor: Ben's
    row = page.locator('[data-row="line_items[0]"]')
    row.get_by_text("Remove row").click()
    page.locator('[data-question]:has(code:text-is("line_items[1].quantity"))').get_by_role("textbox").fill("1")
    total = page.locator('[data-question]:has(code:text-is("total_amount"))')
    total.get_by_role("radio").first.check()
    # The server's messages about earlier answers are gone.
    expect(page.locator(".has-problem, [data-question][aria-describedby]")).to_have_count(0)
    expect(page.locator("[data-question] [role=alert]")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("a")
    expect(page.locator(".last-decision")).to_contain_text(document.external_id)
    value = Gold.objects.get().revision.value
    assert (value["vendor"], value["total_amount"]) == ("ACME SUPPLIES", 1100)
    assert value["line_items"] == [{**ROWS[1], "quantity": 1}]


def submit_without_evidence(document: Document, user: User, **changes: Any) -> None:
    annotation_services.submit(
        document=fresh(document), user=user, value={**LABEL, **changes}, evidence={}, base_version=0
    )


@pytest.mark.slow
def test_values_are_reviewed_by_keys(desk: Desk, open_page: Open) -> None:
    document = desk.document(f"🙂 {TEXT}")
    submit_without_evidence(document, desk.ana)
    page = open_page(desk.rita, f"review/{document.pk}/")
    for key, text in (("j", "ACME SUPPLIES LTD"), ("j", "A-1029"), ("k", "ACME SUPPLIES LTD")):
        page.keyboard.press(key)
        expect(page.locator("mark.strong")).to_have_text(text)
    page.keyboard.press("c")
    page.keyboard.type("a or r? @ana-desk knows")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#comments article")).to_contain_text("a or r? @ana-desk knows")
    assert comment_services.unread_count(project=desk.project, user=desk.ana) == 1
    for key in "gagp":  # the sections, and no decision
        page.keyboard.press(key)
    page.wait_for_url("**/progress/")
    assert not Review.objects.exists()


@pytest.mark.slow
def test_a_candidate_is_highlighted_in_the_document(desk: Desk, open_page: Open) -> None:
    document = desk.document(f"🙂 {TEXT}", overlap=2)
    submit_without_evidence(document, desk.ana)
    submit_without_evidence(document, desk.ben, vendor="ACME")
    page = open_page(desk.rita, f"review/{document.pk}/")
    lit = "[...(CSS.highlights.get('pick') ?? [])].map((range) => range.toString())"
    for choice, text in (("ACME SUPPLIES LTD", ["ACME SUPPLIES LTD"]), ("ACME", ["ACME"]), ("Not in the document", [])):
        page.locator(".pick", has=page.get_by_text(choice, exact=True)).get_by_role("radio").focus()
        assert page.evaluate(lit) == text


@pytest.mark.slow
def test_a_fix_approves_and_opens_the_next(desk: Desk, open_page: Open) -> None:
    first, second = desk.document(TEXT), desk.document(TEXT)
    submit(first, desk.ana, vendor="ACME SUPPLIES")
    submit(second, desk.ana)
    page = open_page(desk.rita, f"review/{first.pk}/")
    page.keyboard.press("f")
    expect(page.locator("#document-name")).to_have_text(first.external_id)
    expect(page.locator("#strip")).to_contain_text("left for you")  # the script has filled the form
    control(page, "Vendor").fill("ACME SUPPLIES LTD")
    page.keyboard.press("Control+Enter")
    shows(page, second)
    gold = Gold.objects.get()
    assert (gold.document, gold.approved_by, gold.revision.value["vendor"]) == (first, desk.rita, "ACME SUPPLIES LTD")
    assert Review.objects.get().decision == "fix"
    page.goto(f"/p/desk/label/{first.pk}/")
    expect(page.locator("#notice-text")).to_contain_text("Approved")


@pytest.mark.slow
def test_mentions_and_own_labels(desk: Desk, open_page: Open) -> None:
    document = desk.document(TEXT)
    for text in ("what do you say to this?", "and <b>this</b>?"):
        comment_services.add(document=fresh(document), user=desk.ana, text=f"@{desk.rita} {text}", path="vendor")
    page = open_page(desk.rita, "review/")
    page.get_by_role("link", name="2 unread mentions").click()
    check(page, "mentions")
    submit(document, desk.rita)
    page.goto(f"/p/desk/review/{document.pk}/")
    expect(page.get_by_text("This is your own label.")).to_be_visible()
    page.keyboard.press("a")
    check(page, "review-own")
    assert not Review.objects.exists()
