"""Gate reports and policies: approval on a phone, print, audit log, evidence, measurements; light, dark, on a phone."""

import re

import pypdfium2
import pytest
from playwright.sync_api import Page, expect

from evaluation.gates.services import create_report
from evaluation.models import EvalOutput, GateReport, ResourceMeasurement
from evaluation.runs import resources
from labeling.models import Contract, Document
from serving.deployments import services
from tests.browser.accessibility import check
from tests.browser.conftest import PHONE, As, Watch
from tests.browser.labeling import all_saved, control
from tests.evaluation.approvals.test_evidence import sure
from tests.evaluation.factories import World, broken, evaluated, make_version, pretend, rewrite, right
from tests.evaluation.gates.test_sample_size import add_unlabelled
from tests.serving.rollouts.rows import deployed

pytestmark = pytest.mark.slow


@pytest.fixture
def report(world: World) -> GateReport:
    """Judged against a base model that was better, so that something got worse and not every gate passes."""
    base = evaluated(world, right, tuned=False)
    return create_report(eval_run=evaluated(world, pretend(2, spoil=0.2)), baseline=base, user=world.engineer)


def words(pdf: bytes) -> str:
    pages = (page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(pdf))
    return " ".join(" ".join(pages).split())


def test_approval_on_a_phone_and_void_after_a_correction(
    world: World, report: GateReport, logged_in: As, watch: Watch
) -> None:
    watch.allow("422 POST")  # the refusal that is provoked
    mona = logged_in(world.manager)
    mona.set_viewport_size(PHONE)
    mona.goto(report.get_absolute_url())
    expect(mona.get_by_text(report.sentence)).to_be_in_viewport()
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
    expect(mona.locator(".page-head .badge")).to_have_text("Waiver not confirmed")
    check(mona, "report-unconfirmed")
    olga = logged_in(world.owner)
    olga.goto(report.get_absolute_url())
    olga.get_by_role("button", name="Confirm the waiver").click()
    expect(olga.locator(".page-head .badge")).to_have_text("Approved with a waiver")
    mona.reload()
    mona.wait_for_load_state()  # a script opens what is folded before it is printed
    printed = words(mona.pdf(prefer_css_page_size=True))
    for text in (report.sentence, "Two people watch the pilot.", "printed by mona", *report.manifest.values()):
        assert text in printed, text
    check(mona, "report-approved")
    document = Document.objects.filter(project=world.project, holdout=True).order_by("pk")[0]
    _correct(logged_in(world.annotator), document)
    mona.reload()
    alert = mona.get_by_role("alert")
    expect(alert).to_contain_text("The approval is void.")
    check(mona, "report-void")


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


def test_report_and_audit_log_on_a_desktop(world: World, report: GateReport, logged_in: As) -> None:
    page = logged_in(world.manager)
    page.goto(report.get_absolute_url())
    expect(page.get_by_role("heading", name="Regressions")).to_be_visible()
    expect(page.get_by_role("link", name="Decide")).to_be_hidden()
    page.evaluate("window.print = () => (document.title = 'printed')")
    page.get_by_role("button", name="Print/PDF").click()
    expect(page).to_have_title("printed")
    page.locator("#manifest summary").click()
    page.get_by_role("link", name="Recompute from files").click()
    expect(page.locator("#manifest [role=status]")).to_contain_text("all equal")
    page.goto("/p/invoices/gates/audit/")
    expect(page.locator("#entries")).to_contain_text("erik started evaluation 1")
    page.get_by_label("Action").select_option("created")
    expect(page.locator("#entries h2")).to_have_text("2 entries")  # the project and the report
    expect(page).to_have_url(re.compile("action=created"))
    page.get_by_text("Details").first.click()
    check(page, "audit-log")
    page.goto("/p/invoices/gates/")
    check(page, "gates")


def test_evidence_of_a_report(world: World, logged_in: As) -> None:
    """Error cost, missing labels, provenance, and a new measurement."""
    Contract.objects.filter(project=world.project).update(
        constraints={
            "expected_volume": 12000, "review_cost": 0.4, "currency": "EUR", "hardware_price_per_hour": 0.1,
            "latency_p95_ms": 900, "hardware_memory_gb": 2, "requests_per_second": 2,
        }
    )  # fmt: skip
    facts = {"version": "0.1.0", "commit": "c0ffee" * 6, "requirements": "ab" * 32}
    environment = {"processor": "Test CPU", "device": "cpu", "python": "3.11.2", "packages": {"torch": "2.9.0"}}
    rewrite(world.training_run, facts={"application": facts, "environment": environment})
    add_unlabelled(world, 60)
    base = evaluated(world, broken, tuned=False)
    tuned = evaluated(world, sure, latency_ms=lambda index: 4000.0)
    report = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    page = logged_in(world.owner)
    page.goto(report.get_absolute_url())
    fold = page.get_by_role("region", name="Provenance")
    fold.get_by_role("heading", name="Provenance").click()
    expect(fold.get_by_text("torch 2.9.0")).to_be_visible()
    missing = page.get_by_role("region", name="Required sample size")
    missing.get_by_role("button", name=re.compile(r"^Queue \d+ documents$")).first.click()
    expect(missing.get_by_role("status")).to_contain_text("sampled for the hold-out")
    card = page.get_by_role("region", name="Latency, cost and memory")
    card.get_by_role("button", name="Measure again").click()
    expect(card.get_by_text("waiting for a worker")).to_be_visible()
    measurement = ResourceMeasurement.objects.get()
    assert measurement.claim_attempt()
    keys = EvalOutput.objects.filter(eval_run=tuned).values_list("document_id", flat=True)
    event = {"latency_ms": 310.0, "prompt_tokens": 120, "output_tokens": 40}
    resources.complete(
        measurement,
        requests=[resources.request_of(key, event) for key in keys],
        facts={"docs_per_second": 3.2, "peak_memory_bytes": 812e6, "processor": "Test CPU"},
    )
    expect(card.get_by_role("button", name="Create gate report with the new measurement")).to_be_visible()
    check(page, "gate-evidence")


def test_gates_on_a_field_and_on_non_inferiority(world: World, logged_in: As) -> None:
    deployed(world)
    page = logged_in(world.owner)
    page.goto("/p/invoices/gates/policy/")
    page.get_by_label("Metric", exact=True).select_option("recall")
    page.get_by_label("Threshold", exact=True).fill("98")
    page.get_by_label("Field", exact=True).select_option("total_amount")
    page.get_by_label("points worse than the current production model").fill("15")
    check(page, "gate-policy")
    page.get_by_role("button", name="Save as version").click()
    expect(page.locator(".policy-list").get_by_text("At least 98% recall (total_amount)")).to_be_visible()
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    candidate = evaluated(world, right, is_open=False)
    report = create_report(eval_run=candidate, baseline=None, user=world.engineer)
    services.deploy(project=world.project, user=world.engineer, stage="shadow", run=candidate)
    for name, address in (("report", report.get_absolute_url()), ("comparisons", "/p/invoices/deploy/comparisons/")):
        page.goto(address)
        expect(page.get_by_text("version 1 of the deployment").first).to_be_visible()
        check(page, f"non-inferiority-{name}")
