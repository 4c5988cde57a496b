"""Single outputs of a hold-out evaluation: closed, opened on purpose, and what that means for later models."""

from typing import Any

import pytest
from django.test import Client

from evaluation import panels
from evaluation.approvals.warnings import warnings
from evaluation.gates.holdout import disclosure
from evaluation.gates.services import create_report
from evaluation.models import AuditEntry, EvalRun, GateReport
from evaluation.regression_suite import services as regression_suite_services
from evaluation.runs import rescoring
from evaluation.runs.summary import MIN_HOLDOUT_DOCUMENTS, is_shown
from labeling.models import Document, DocumentScore
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated, make_version, pretend, rewrite, right
from tests.evaluation.runs.test_rescoring import corrected
from tests.shared_rows import shared_fixture

HTMX = {"HX-Request": "true"}


@shared_fixture
def closed(world: World) -> EvalRun:
    return evaluated(world, pretend(5, spoil=0.3), is_open=False)


def opened(run: EvalRun, world: World, reason: str = "two labels look wrong") -> None:
    disclosure.open_outputs(run=run, user=world.engineer, reason=reason)
    run.refresh_from_db()


def pages_of_outputs(run: EvalRun) -> list[str]:
    address, document = run.get_absolute_url(), run.outputs.earliest("pk").document_id
    output = f"{address}outputs/{document}/"
    return [output, f"{output}challenge/", f"{address}outputs.jsonl"]


def test_closed_outputs_are_shown_nowhere(world: World, closed: EvalRun, engineer: Client) -> None:
    assert [engineer.get(page).status_code for page in pages_of_outputs(closed)] == [404, 404, 404]
    page = engineer.get(closed.get_absolute_url())
    assert "page" not in page.context
    assert page.context["slices"] == page.context["places"] == []
    assert page.context["fields"], "figures over all documents are shown"
    assert engineer.get(f"{closed.get_absolute_url()}?state=inexact", headers=HTMX)["HX-Refresh"] == "true"
    document = closed.outputs.earliest("pk").document
    document.project = world.project
    assert panels.outputs(document, world.engineer) is None
    assert not DocumentScore.objects.filter(document__holdout=True).exists()


def test_a_comparison_of_closed_outputs_has_no_documents(world: World, closed: EvalRun, engineer: Client) -> None:
    other = evaluated(world, right, tuned=False, is_open=False)
    query = f"?runs={other.number},{closed.number}"
    page = engineer.get(f"/p/invoices/evaluation/compare/{query}")
    assert page.context["result"]["counts"]["broken"] > 0
    assert "cases" not in page.context
    file = f"/p/invoices/evaluation/compare/comparison.json{query}"
    assert engineer.get(file).json()["cases"] == engineer.get(file).json()["failure_modes"] == []
    assert engineer.post(f"/p/invoices/evaluation/suite/pin-fixed/{query}").status_code == 422
    for run in (other, closed):
        opened(run, world)
    assert len(engineer.get(file).json()["cases"]) == 12


def test_outputs_are_opened_with_a_reason_and_that_is_recorded(world: World, closed: EvalRun, engineer: Client) -> None:
    address = f"{closed.get_absolute_url()}open/"
    for reason in ("", " ", "x" * 301):
        engineer.post(address, {"reason": reason})
        closed.refresh_from_db()
        assert not closed.outputs_visible
    assert engineer.post(address, {"reason": "two labels look wrong"}).status_code == 302
    closed.refresh_from_db()
    assert (closed.opened_by, closed.opened_reason) == (world.engineer, "two labels look wrong")
    entry = AuditEntry.objects.get(action=disclosure.OPENED_ACTION)
    assert (entry.user, entry.about, entry.details["documents"]) == (world.engineer, f"evaluation {closed.number}", 12)
    assert [engineer.get(page).status_code for page in pages_of_outputs(closed)] == [200, 200, 200]
    first = closed.opened_at
    validation, few = evaluated(world, right, split="validation"), MIN_HOLDOUT_DOCUMENTS - 1
    with pytest.raises(Refused) as refused:
        opened(validation, world)
    assert refused.value.field == "run"
    unopened = evaluated(world, right, is_open=False)
    shown = [is_shown(few, validation), is_shown(few, validation, unopened), is_shown(few + 1, unopened)]
    assert shown == [True, False, True], "small slices only outside the hold-out or where it is open"
    assert is_shown(few, closed)
    opened(closed, world, "again")
    assert (closed.opened_at, AuditEntry.objects.filter(action=disclosure.OPENED_ACTION).count()) == (first, 1)


def test_a_rescoring_is_as_open_as_its_source(world: World, closed: EvalRun) -> None:
    dataset = corrected(world, closed)
    made = rescoring.rescore(run=closed, dataset=dataset, user=world.engineer, confirm_holdout=True)
    assert made.opened_at is None
    opened(closed, world)
    made.refresh_from_db()
    assert made.opened_at == closed.opened_at is not None


def answers_of(report: GateReport) -> list[dict[str, Any]]:
    return [row for row in report.verdicts if row["gate"]["metric"] in ("schema_valid_rate", "document_error_rate")]


def report_on(run: EvalRun, user: Any) -> GateReport:
    return create_report(eval_run=run, baseline=None, user=user)


def test_known_documents_count_for_no_model_that_is_made_afterward(world: World, closed: EvalRun) -> None:
    before = report_on(closed, world.engineer)
    opened(closed, world)
    assert disclosure.disclosed_documents(closed) == set(), "its model was made before"
    assert [row["n"] for row in answers_of(before)] == [12] * len(answers_of(before))
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    later = evaluated(world, right, is_open=False)
    assert len(disclosure.disclosed_documents(later)) == 12
    after = report_on(later, world.engineer)
    assert {(row["status"], row["n"]) for row in answers_of(after)} == {("NOT PROVEN", 0)}
    assert all(row["needed"] for row in answers_of(after)), "other documents would prove it"
    latency = next(row for row in after.verdicts if row["gate"]["metric"] == "p95_latency_ms")
    assert latency["n"] == 12
    assert any(f"evaluation {closed.number}" in warning for warning in warnings(after))
    assert not any("opened" in warning for warning in warnings(before))
    # A document that entered the hold-out after the outputs were opened is not known to any user.
    rewrite(closed.outputs.earliest("pk"), document=Document.objects.filter(holdout=False).earliest("pk"))
    report = report_on(evaluated(world, right, is_open=False), world.engineer)
    assert {row["n"] for row in answers_of(report)} == {1}


def test_earlier_lookalikes_of_the_hold_out_count_as_opened(world: World, closed: EvalRun) -> None:
    AuditEntry.objects.create(
        project=world.project, action="queued look-alikes", about="x", details={"evaluation": closed.number}
    )
    assert disclosure.disclosed_documents(closed) == set()
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    later = evaluated(world, right, is_open=False)
    assert len(disclosure.disclosed_documents(later)) == 12
    assert any(f"evaluation {closed.number}" in warning for warning in warnings(report_on(later, world.engineer)))


def test_a_hold_out_document_is_pinned_only_where_its_output_is_open(world: World, closed: EvalRun) -> None:
    document = closed.outputs.earliest("pk").document
    with pytest.raises(Refused) as refused:
        regression_suite_services.pin(project=world.project, document=document, user=world.engineer)
    assert (refused.value.field, refused.value.code) == ("document", "holdout")
    opened(closed, world)
    assert regression_suite_services.pin(project=world.project, document=document, user=world.engineer).pk
