"""Evaluations, comparisons, benchmarks and the hold-out: what scripts and forms do; light, dark and on a phone."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from evaluation.gates.services import create_report
from evaluation.regression_suite.services import pin, pinned_documents
from labeling.models import Contract, Document
from tests.browser.accessibility import check
from tests.browser.conftest import As, Watch
from tests.evaluation.benchmark_desk import another_model, answered, finished, started, wide_world
from tests.evaluation.factories import World, endpoint, evaluated, pretend
from tests.evaluation.gold_desk import says_total
from tests.evaluation.label_issues.test_lookalikes import failed
from tests.evaluation.runs.test_decoding_modes import exported

pytestmark = pytest.mark.slow


def test_evaluations_are_compared(world: World, logged_in: As) -> None:
    evaluated(world, pretend(1, spoil=0.5, invalid=0.2), tuned=False)
    evaluated(world, pretend(2, spoil=0.5, invalid=0.3), mode="free")
    held = evaluated(world, pretend(3, spoil=0.1))
    page = logged_in(world.manager)
    page.goto("/p/invoices/evaluation/")
    for number in (1, 3):
        page.get_by_label(f"Compare evaluation {number}").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    page.wait_for_load_state()
    page.get_by_label("Error type").select_option(index=1)
    expect(page).to_have_url(re.compile("error="))
    page.get_by_role("link", name="Clear").click()
    expect(page.locator(".case-card")).to_have_count(10)
    first = page.locator(".case-card").first
    first.locator("summary", has_text="Pin").click()
    first.get_by_label("Reason").fill("once paid twice")
    first.get_by_role("button", name="Pin", exact=True).click()
    expect(first.get_by_role("link", name="pinned")).to_be_visible()
    assert len(pinned_documents(world.project)) == 1
    check(page, "comparison")
    page.goto("/p/invoices/evaluation/")
    for number in (1, 2, 3):
        page.get_by_label(f"Compare evaluation {number}").check()
    expect(page.get_by_text("Compares all 3 evaluations.")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparison of 3")).to_be_visible()
    check(page, "matrix")
    page.goto(held.get_absolute_url())
    expect(page.get_by_role("heading", name="Decoding modes")).to_be_visible()
    check(page, "evaluation")
    document = Document.objects.filter(project=world.project, holdout=True)[5]
    pin(project=world.project, document=document, user=world.engineer, reason="a customer complained")
    page.goto("/p/invoices/evaluation/suite/")
    check(page, "suite")


def test_the_form_of_an_evaluation(world: World, logged_in: As, watch: Watch, settings: Any) -> None:
    watch.allow("422 POST")
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    Contract.objects.update(constraints={"requests_per_second": 5, "latency_p95_ms": 800})
    model = endpoint(world, "http://127.0.0.1:9/v1")
    exported(world)
    page = logged_in(world.owner)
    page.goto("/p/invoices/evaluation/new/")
    page.get_by_label("Model").select_option(label="today (127.0.0.1; no hold-out documents)")
    expect(page.get_by_text("a concurrency of 4")).to_be_visible()
    confirm = page.get_by_label("Evaluate on the hold-out")
    page.locator("[name=split]").select_option("holdout")
    expect(confirm).to_be_visible()
    page.locator("[name=split]").select_option("validation")
    expect(confirm).to_have_count(0)
    page.locator("[name=split]").select_option("holdout")
    confirm.check()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("Hold-out documents would be sent to today")
    check(page, "new-evaluation")
    page.goto(f"/p/invoices/prelabels/endpoints/{model.pk}/")
    page.get_by_role("button", name="Permit").first.click()
    expect(page.get_by_text("by olga on")).to_be_visible()
    check(page, "endpoint")


def test_closed_outputs(world: World, logged_in: As) -> None:
    base = evaluated(world, pretend(2, spoil=0.5), tuned=False, is_open=False)
    run = evaluated(world, pretend(5, spoil=0.1), is_open=False)
    report = create_report(eval_run=run, baseline=base, user=world.engineer)
    page = logged_in(world.manager)
    page.goto(report.get_absolute_url())
    check(page, "holdout-report")
    page.goto(run.get_absolute_url())
    expect(page.locator("details.output")).to_have_count(0)
    page.get_by_text("Open outputs", exact=True).click()
    check(page, "holdout-opening")


def test_lookalikes(world: World, logged_in: As) -> None:
    run = evaluated(world, says_total(world, failed(world).external_id, "7.77"), split="validation")
    page = logged_in(world.engineer)
    page.goto(f"{run.get_absolute_url()}?field=total_amount")
    page.get_by_role("link", name="Queue lookalikes").click()
    expect(page.get_by_text("1 document fails: total_amount wrong")).to_be_visible()
    check(page, "lookalikes")


def test_benchmarks(transactional_db: None, queues: None, logged_in: As, tmp_path: Path) -> None:
    wide = wide_world(tmp_path)
    Contract.objects.update(constraints={"latency_p95_ms": 800, "hardware_price_per_hour": "3.6", "currency": "EUR"})
    wide.project.contract.refresh_from_db()
    finished(wide, tmp_path, pretend(1, spoil=0.8, invalid=0.3), pretend(3, spoil=0.2), latency_ms=500)
    page = logged_in(wide.engineer)
    page.goto("/p/invoices/benchmark/1/")
    expect(page.get_by_role("heading", name="Recommended")).to_be_visible()
    check(page, "benchmark")
    page.get_by_role("link", name="Compare Small base 10M, unconstrained").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    page.goto("/p/invoices/benchmark/new/")
    check(page, "benchmark-new")


def test_progress_updates_keep_the_focus(transactional_db: None, queues: None, logged_in: As, tmp_path: Path) -> None:
    wide = wide_world(tmp_path)
    benchmark = started(wide, wide.base_model, another_model(tmp_path))
    page = logged_in(wide.engineer)
    page.goto(f"/p/invoices/benchmark/{benchmark.number}/")
    words = page.locator("#progress-words")
    expect(words).to_contain_text("0 of 40")
    link = page.get_by_role("link", name="Small base 10M")
    link.focus()
    answered(benchmark.runs.order_by("number")[0], pretend(1, spoil=0.5))
    expect(words).to_contain_text("20 of 40")
    expect(page.locator("#progress-bar")).to_have_attribute("aria-valuenow", "50")
    expect(page.locator("#models .interval").first).to_be_visible()
    expect(link).to_be_focused()
