"""A manager approves on a phone, prints the report, and sees that a corrected label voids the approval."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from playwright.sync_api import Page, expect

from evaluation.gates.services import create_report
from evaluation.models import GateReport
from labeling.models import Document
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.browser.labeling import all_saved, control
from tests.evaluation.factories import World, evaluated, make_world, pretend, right

PHONE = {"width": 390, "height": 844}
As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.fixture
def report(world: World) -> GateReport:
    """Judged against a base model that was better, so that something got worse and not every gate passes."""
    base = evaluated(world, right, tuned=False)
    return create_report(eval_run=evaluated(world, pretend(2, spoil=0.2)), baseline=base, user=world.engineer)


def words(pdf: bytes) -> str:
    pages = (page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf))
    return " ".join(" ".join(pages).split())


@pytest.mark.slow
def test_approval_on_a_phone_and_void_after_a_correction(
    world: World, report: GateReport, logged_in: As, watch: Watch
) -> None:
    watch.allow("422 POST")  # the refusal that is provoked
    mona = logged_in(world.manager)
    mona.set_viewport_size(PHONE)  # type: ignore[arg-type]
    mona.goto(report.get_absolute_url())
    expect(mona.get_by_text(report.sentence)).to_be_in_viewport()
    check(mona, "report-phone")
    mona.reload()  # axe leaves empty style attributes behind, which htmx would carry over
    mona.get_by_role("link", name="Decide").click()
    expect(mona.get_by_role("heading", name="Decision", exact=True)).to_be_in_viewport()

    decision = mona.locator("#decision")
    mona.get_by_label("Approve").check()
    decision.locator("[name=reason]").fill("Good enough for a pilot.")
    mona.get_by_role("button", name="Decide").click()
    expect(decision.locator(".field-error").first).to_contain_text("Enter a reason for the waiver")
    decision.locator("[name=waiver_reason]").fill("Two people watch the pilot.")
    decision.locator("[name=waiver_owner]").select_option("erik")
    mona.get_by_role("button", name="Decide").click()
    expect(decision).to_contain_text("by mona")
    expect(decision).to_contain_text("owner erik")
    expect(mona.locator(".page-head .badge")).to_have_text("Approved with a waiver")
    check(mona, "report-approved-phone")
    printed = words(mona.pdf(prefer_css_page_size=True))
    for text in (
        report.sentence,
        "Two people watch the pilot.",
        "Good enough for a pilot.",
        "printed by mona",
        *report.manifest.values(),
    ):
        assert text in printed, text

    document = Document.objects.filter(project=world.project, holdout=True).order_by("pk")[0]
    _correct(logged_in(world.annotator), document)

    mona.reload()
    alert = mona.get_by_role("alert")
    expect(alert).to_contain_text("The approval is void.")
    expect(alert).to_contain_text(f"The gold label of 1 hold-out document changed: {document.external_id}.")
    expect(alert.get_by_role("listitem").last).to_contain_text("ana")
    check(mona, "report-void-phone")
    with mona.expect_download() as download:
        mona.get_by_role("link", name="Markdown", exact=True).click()
    assert b"The approval is void." in Path(download.value.path()).read_bytes()
    alert.get_by_role("link", name=document.external_id).click()
    expect(mona.get_by_role("heading", level=1)).to_contain_text(document.external_id)


def _correct(page: Page, document: Document) -> None:
    """Another vendor is typed into the label of a document, and submitted."""
    page.goto(f"/p/invoices/label/{document.pk}/")
    vendor = control(page, "Vendor")
    expect(vendor).not_to_have_value("")
    vendor.fill(document.text.split()[0])
    vendor.press("Tab")
    all_saved(page)
    with page.expect_response(lambda answer: answer.url.endswith("/save/") and answer.ok):  # others are POST as well
        page.keyboard.press("Control+Enter")
    expect(page).not_to_have_url(re.compile(f"/label/{document.pk}/"))


@pytest.mark.slow
def test_report_and_audit_log_on_a_desktop(world: World, report: GateReport, logged_in: As) -> None:
    page = logged_in(world.manager)
    page.goto(report.get_absolute_url())
    expect(page.get_by_role("heading", name="Regressions")).to_be_visible()
    expect(page.get_by_role("link", name="Decide")).to_be_hidden()
    check(page, "report")
    page.reload()
    page.evaluate("window.print = () => (document.title = 'printed')")
    page.get_by_role("button", name="Print/PDF").click()
    expect(page).to_have_title("printed")
    page.locator("#manifest summary").click()
    page.get_by_role("link", name="Recompute from files").click()
    expect(page.locator("#manifest [role=status]")).to_contain_text("all equal")
    page.goto("/p/invoices/gates/audit/")
    expect(page.locator("#entries")).to_contain_text("erik started evaluation 1")
    page.get_by_label("Action").select_option("created")
    expect(page.locator("#entries h2")).to_have_text("1 entry")
    expect(page).to_have_url(re.compile("action=created"))
    page.get_by_text("Details").first.click()
    check(page, "audit-log")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    check(page, "audit-log-phone")
