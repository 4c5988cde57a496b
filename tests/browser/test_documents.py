"""Document list, document and progress pages: keys, selection, URL, light and dark."""

import pytest
from playwright.sync_api import Page, expect

from labeling.annotation import services as annotation_services
from labeling.documents.list import search
from labeling.jobs import run_bulk_edit
from labeling.models import BulkEdit, Document
from tests.browser.accessibility import check
from tests.browser.conftest import As, Open
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    made = make_desk()
    bring_in(made.project, [invoice(number, gold=number % 2 == 0) for number in range(45)])
    document = Document.objects.get(external_id="inv-0001")
    annotation_services.submit(
        document=document,
        user=made.people["annotator"],
        value=invoice(1)["gold"],
        evidence={},
        base_version=0,
        seconds=12,
        field_seconds={"vendor": 4},
    )
    return made


@pytest.fixture
def open_page(logged_in: As, desk: Desk) -> Open:
    """A page below the project, as a role."""

    def opened(role: str, path: str) -> Page:
        page = logged_in(desk.people[role])
        page.goto(desk.url(path))
        return page

    return opened


@pytest.mark.slow
def test_filters_are_part_of_the_url(open_page: Open, desk: Desk) -> None:
    page = open_page("annotator", "documents/")
    page.keyboard.press("/")
    page.keyboard.type("F-1")
    expect(page.locator("tr[data-row]")).to_have_count(11)
    page.get_by_label("State").select_option("new")
    expect(page.locator("tr[data-row]")).to_have_count(5)
    assert page.url.endswith("/documents/?q=F-1&state=new")
    page.reload()
    expect(page.locator("#q")).to_have_value("F-1")
    expect(page.locator("tr[data-row]")).to_have_count(5)
    page.go_back()
    expect(page.locator("tr[data-row]")).to_have_count(11)
    expect(page.get_by_label("State")).to_have_value("")
    page.locator(".chip").click()
    expect(page.locator("tr[data-row]")).to_have_count(30)


@pytest.mark.slow
def test_a_long_search_continues_automatically(open_page: Open, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # No time at first, so that ten documents are looked at and the rest is left to the next request.
    for name, value in (("SCAN_ROWS", 10), ("BUDGET_MS", -1_000.0), ("INDEX_BUDGET_MS", 1_000.0), ("MAX_RARE", -1)):
        monkeypatch.setattr(search, name, value)
    page = open_page("annotator", "documents/?state=new")
    page.locator("#q").fill("Total 43")
    expect(page.locator("tr[data-row]")).to_have_count(1)
    expect(page.locator("tr[data-row]")).to_contain_text("inv-0043")
    assert "after=" in page.url
    page.go_back()
    expect(page.locator("#q")).to_have_value("")
    assert page.url.endswith("documents/?state=new")


def test_rows_are_selected_by_keys_and_bulk_edited(open_page: Open, desk: Desk) -> None:
    page = open_page("engineer", "documents/?state=new")
    expect(page.locator("[data-value]:visible")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.locator("[data-ticked]")).to_have_text("3")
    page.get_by_label("Change to make").select_option("tag")
    page.get_by_label("Tag to add or remove").select_option("ocr_noise")
    expect(page.locator("[data-value]:visible")).to_have_count(1)
    check(page, "documents-keys")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#progress")).to_contain_text("Queued")
    run_bulk_edit(BulkEdit.objects.get().pk)
    expect(page.locator("#progress")).to_contain_text("Back to documents")
    assert Document.objects.filter(tags=["ocr_noise"]).count() == 3
    page.get_by_role("link", name="Documents", exact=True).last.click()
    page.wait_for_load_state()
    page.locator("[data-tick-all]").check()
    expect(page.locator("[data-ticked]")).to_have_text("30")


@pytest.mark.slow
def test_a_document_and_progress(open_page: Open, desk: Desk) -> None:
    page = open_page("owner", f"documents/{Document.objects.get(external_id='inv-0001').pk}/")
    expect(page.locator("mark").first).to_be_visible()
    check(page, "document")
    page.goto(desk.url("progress/"))
    expect(page.locator(".progress-plot canvas")).to_be_visible()
    expect(page.locator("[data-keys]")).to_contain_text("1 label by 1 person")
    page.get_by_text("As a table").click()
    expect(page.locator("[data-days-table] td.num")).to_have_text(["1", "1"])
    expect(page.get_by_text("Loading review quality")).to_have_count(0)
    check(page, "progress")
