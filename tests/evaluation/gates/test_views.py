"""The gates of a project, a report, and the decision on it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.approvals.decisions import decide
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from evaluation.models import Approval, EvalRun, GatePolicy, GateReport
from labeling.models import Document
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, broken, confirmed, evaluated, pretend, right
from tests.shared_rows import shared_fixture

GATES, POLICY, JUDGE = "/p/invoices/gates/", "/p/invoices/gates/policy/", "/p/invoices/gates/new/"
HTMX = {"HX-Request": "true"}


@shared_fixture
def report(world: World) -> GateReport:
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, pretend(2, spoil=0.05))
    return create_report(eval_run=tuned, baseline=base, user=world.engineer)


def in_a_month() -> str:
    return (timezone.localdate() + timedelta(days=30)).isoformat()


# -- policy -----------------------------------------------------------------------------------------------------------


def test_a_manager_changes_a_threshold_in_the_unit_people_read(world: World, manager: Client) -> None:
    form = {row["gate"].key: row["field"].value() for row in manager.get(POLICY).context["form"].rows()}
    assert form["schema-valid"] == "99"
    sent = {key: value for key, value in form.items() if value is not None}
    answer = manager.post(POLICY, {**sent, "schema-valid": "97.5", "document-error-rate": "20"}, headers=HTMX)
    assert answer["HX-Redirect"] == GATES
    newest = GatePolicy.objects.latest("number")
    gates = {gate["key"]: gate["threshold"] for gate in newest.gates["gates"]}
    assert (newest.number, newest.created_by) == (2, world.manager)
    assert (gates["schema-valid"], gates["document-error-rate"]) == (0.975, 0.2)
    assertContains(manager.get(GATES), "At least 97.5% of outputs are schema-valid")


def test_an_invalid_policy_has_field_errors(world: World, manager: Client) -> None:
    manager.get(GATES)
    for sent, words in (
        ({"schema-valid": "101"}, "A number from 0 to 100."),
        ({"schema-valid": "many"}, "Enter a number."),
        ({"latency": "-5"}, "A number of 0 or more."),
        ({}, "Keep at least one gate"),
    ):
        assertContains(manager.post(POLICY, sent, headers=HTMX), words, status_code=422)
    assert GatePolicy.objects.count() == 1


# -- judging ----------------------------------------------------------------------------------------------------------


def test_the_form_creates_a_report(world: World, manager: Client) -> None:
    base, run = evaluated(world, broken, tuned=False), evaluated(world, right)
    evaluated(world, right, split="validation")
    for sent in ({"eval_run": "9"}, {"eval_run": "3"}, {"eval_run": "2", "baseline": "2"}, {}):
        answer = manager.post(JUDGE, sent, headers=HTMX)
        assertContains(answer, 'class="field-error"', status_code=422)
    assert not GateReport.objects.exists()
    answer = manager.post(JUDGE, {"eval_run": "2", "baseline": "1"})
    made = GateReport.objects.get()
    assert answer["Location"] == made.get_absolute_url()
    assert (made.eval_run, made.baseline, made.created_by) == (run, base, world.manager)


# -- the report -------------------------------------------------------------------------------------------------------


def test_a_missing_baseline_is_evaluated_from_the_form_and_then_selected(world: World, client: Client) -> None:
    run = evaluated(world, right)
    client.force_login(world.engineer)
    page = client.get(JUDGE)
    (missing,) = page.context["missing"]
    assert (page.context["form"].initial["eval_run"], missing.label, missing.live) == ("1", "Small base 10M", None)
    assertContains(page, escape(missing.url))
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert [lacking.url for lacking in client.get(report.get_absolute_url()).context["lacking"]] == [missing.url]

    form = client.get(missing.url).context["form"]
    assert form.initial.items() >= {"model": "base-small-base", "split": "holdout", "mode": run.mode}.items()
    client.post(missing.url, {**form.initial, "confirmed": form.price.token})
    started = EvalRun.objects.get(number=2)
    assert (started.base_model, started.split) == (world.base_model, "holdout")
    (missing,) = client.get(JUDGE).context["missing"]
    assert missing.live == started

    baseline = evaluated(world, broken, tuned=False)
    page = client.get(JUDGE, {"eval_run": "1"}, headers=HTMX)
    assert page.context["missing"] == []
    assert page.context["form"].initial["baseline"] == str(baseline.number)
    assert [value for value, _ in page.context["form"].fields["baseline"].choices] == ["", str(baseline.number)]
    assertNotContains(page, "<html")


def test_the_manifest_is_recomputed_on_demand(world: World, manager: Client, report: GateReport) -> None:
    address = f"{report.get_absolute_url()}verify/"
    assertContains(manager.get(address, headers=HTMX), "all equal")
    weights = artifacts.local_path(world.version.folder_key) / "model.safetensors"
    weights.write_bytes(b"other")
    answer = manager.get(address, headers=HTMX)
    assertContains(answer, "differences found")
    assertContains(answer, "Differs: ")
    assertNotContains(answer, "<html")
    assertContains(manager.get(address), "<html")


@pytest.mark.slow
def test_a_longer_list_of_approved_reports_takes_no_more_queries(
    world: World, manager: Client, django_assert_max_num_queries: Any
) -> None:
    def approve_one() -> None:
        report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
        waiver = Waiver("a trial", timezone.localdate() + timedelta(days=9))
        confirmed(decide(report=report, user=world.manager, decision="approved", reason="yes", waiver=waiver))

    for _ in range(4):
        approve_one()
    with django_assert_max_num_queries(23):
        assertContains(manager.get(GATES), "Approved with a waiver", count=4)


# -- the decision -----------------------------------------------------------------------------------------------------


def test_a_manager_approves_with_a_waiver(world: World, manager: Client, report: GateReport) -> None:
    address = report.get_absolute_url()
    sent = {
        "decision": "approved",
        "reason": "Enough for a trial.",
        "waiver_reason": "Shadow it first.",
        "waiver_expires": in_a_month(),
    }
    assert manager.post(f"{address}decide/", sent)["Location"] == address
    page = manager.get(address)
    assertContains(page, "Enough for a trial.")
    assertContains(page, "Shadow it first.")
    assertNotContains(page, "The approval is void")
    Document.objects.filter(holdout=True).update(state="skipped")
    page = manager.get(address)
    assertContains(page, "The approval is void")
    assertContains(page, "The gold labels of 12 hold-out documents changed")


def test_an_incomplete_decision_has_an_error(world: World, manager: Client, report: GateReport) -> None:
    sent = {
        "decision": "approved",
        "reason": "Enough for a trial.",
        "waiver_reason": "Shadow it first.",
        "waiver_expires": in_a_month(),
    }
    for field, value, words in (
        ("reason", "", "Enter a reason"),
        ("decision", "", "Select a decision."),
        ("decision", "maybe", "maybe"),
        ("waiver_reason", "", "Enter a reason for the waiver"),
        ("waiver_expires", "", "Enter an expiry date"),
        ("waiver_expires", "soon", "A date like 2026-12-31."),
        ("waiver_expires", "2020-01-01", "must be in the future"),
    ):
        answer = manager.post(f"{report.get_absolute_url()}decide/", {**sent, field: value}, headers=HTMX)
        assertContains(answer, words, status_code=422)
        assertNotContains(answer, "<html", status_code=422)
    assert not Approval.objects.exists()


def test_former_urls_redirect(world: World, manager: Client) -> None:
    for former, current in (
        ("gates/judge/?eval_run=2", "gates/new/?eval_run=2"),
        ("evaluation/gold/", "evaluation/challenges/"),
        ("evaluation/1/outputs/7/gold/", "evaluation/1/outputs/7/challenge/"),
    ):
        for ask in (manager.get, manager.post):
            answer = ask(f"/p/invoices/{former}")
            assert (answer.status_code, answer["Location"]) == (308, f"/p/invoices/{current}")
