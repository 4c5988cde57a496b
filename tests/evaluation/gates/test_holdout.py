"""What bends a verdict beside the figures: who had seen the hold-out, what left it, what came into it, other scales."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.approvals.evidence import money
from evaluation.gates.baselines import default_baseline, model_key
from evaluation.gates.holdout.evaluation_numbers import earlier_reports, next_evaluation_number
from evaluation.gates.holdout.sample_size import queue_labels, required_labels
from evaluation.gates.policy.services import current_policy, set_policy
from evaluation.gates.services import create_report
from evaluation.gates.verdicts import Verdict
from evaluation.models import Endpoint, EvalOutput, EvalRun, GateReport
from labeling.annotation import services as annotation_services
from labeling.datasets import freeze
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, Document
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.factories import World, broken, evaluated, make_base_model, make_version, rewrite, right
from tests.evaluation.gold_desk import scored_again
from training.models import ModelExport

WRONG = {"key": "wrong", "metric": "document_error_rate", "operator": "<=", "threshold": 0.5}
EMPTY = dict.fromkeys(("invoice_id", "date", "vendor", "total_amount"))


def verdict_of(report: GateReport, key: str) -> Verdict:
    return next(Verdict.from_dict(row) for row in report.verdicts if row["gate"]["key"] == key)


def policy(world: World, *gates: dict[str, Any], **more: Any) -> None:
    set_policy(project=world.project, user=world.manager, gates={"gates": list(gates), **more})


def held_out(world: World) -> list[Document]:
    return list(Document.objects.filter(project=world.project, holdout=True).order_by("pk"))


def frozen(world: World) -> DatasetVersion:
    return freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)


def grown(world: World) -> DatasetVersion:
    """A version that holds out one document more."""
    rows = [ParsedRow(1, {"id": "more", "text": "Nothing like it " * 9, "gold": EMPTY})]
    assert import_rows(project=world.project, rows=rows, source="test", as_holdout=True).rejected == 0
    return frozen(world)


# -- who had seen it --------------------------------------------------------------------------------------------------


def test_incomplete_evaluations_with_outputs_count(world: World) -> None:
    cancelled, failed, running, unasked = (evaluated(world, right) for _ in range(4))
    rewrite(cancelled, status=Status.CANCELLED)
    rewrite(running, status=Status.RUNNING, finished_at=None)
    rewrite(failed, status=Status.FAILED)
    rewrite(unasked, status=Status.FAILED)
    EvalOutput.objects.filter(eval_run=unasked).delete()
    last = evaluated(world, right)
    assert next_evaluation_number(last) == 4
    report = create_report(eval_run=last, baseline=None, user=world.engineer)
    assert verdict_of(report, "schema-valid").confidence == pytest.approx(1 - 0.05 / 16)


# -- what left it -----------------------------------------------------------------------------------------------------


def test_what_left_the_holdout_after_it_was_answered_counts_as_wrong(world: World, client: Client) -> None:
    policy(
        world,
        WRONG,
        {"key": "valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.5},
        {"key": "fields", "metric": "field_error_rate", "operator": "<=", "threshold": 0.5, "field": "vendor"},
    )
    bad = held_out(world)[3]
    first = evaluated(world, lambda row: broken(row) if row["id"] == bad.external_id else right(row))
    assert verdict_of(create_report(eval_run=first, baseline=None, user=world.engineer), "wrong").k == 1
    rewrite(bad, state="skipped")
    shrunk = frozen(world)
    assert shrunk.items.filter(split="holdout").count() == 11
    again = scored_again(first, shrunk, world.engineer)
    assert (again.status, again.scores["document_exact"]["n"]) == (Status.DONE, 11)
    report = create_report(eval_run=again, baseline=None, user=world.engineer)
    verdicts = {key: verdict_of(report, key) for key in ("wrong", "valid", "fields")}
    assert [(verdict.k, verdict.n) for verdict in verdicts.values()] == [(1, 12), (11, 12), (1, 12)]
    assert "including 1 removed document as wrong: 1 of 12" in verdicts["wrong"].sentence
    client.force_login(world.manager)
    said = (
        f"1 document left the hold-out of dataset v2 after it was evaluated: {bad.external_id}. 1 had an error in the "
        "newest output."
    )
    assertContains(client.get(report.get_absolute_url()), said)
    assertContains(client.get(f"{report.get_absolute_url()}report.md"), "left the hold-out of")


def test_documents_without_outputs_can_leave(world: World) -> None:
    policy(world, WRONG)
    rewrite(held_out(world)[0], state="skipped")
    run = evaluated(world, right, dataset=frozen(world))
    assert verdict_of(create_report(eval_run=run, baseline=None, user=world.engineer), "wrong").n == 11


# -- what came into it ------------------------------------------------------------------------------------------------


def test_an_evaluation_without_some_outputs_has_no_report(world: World) -> None:
    base, first = evaluated(world, broken, tuned=False), evaluated(world, right)
    more = grown(world)
    base_again, again = scored_again(base, more, world.engineer), scored_again(first, more, world.engineer)
    with pytest.raises(Refused, match="1 of 13 hold-out documents") as refusal:
        create_report(eval_run=again, baseline=None, user=world.engineer)
    assert refusal.value.field == "eval_run"
    whole = evaluated(world, right, dataset=more)
    assert default_baseline(whole) is None
    with pytest.raises(Refused, match="1 of 13 hold-out documents") as refusal:
        create_report(eval_run=whole, baseline=base_again, user=world.engineer)
    assert refusal.value.field == "baseline"


def test_what_was_drawn_for_a_slice_counts_in_that_slice_alone(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = {"metric": "schema_valid_rate", "operator": ">=", "threshold": 0.9}
    acme = {**valid, "key": "acme", "slice": "metadata.supplier=ACME"}
    rows = [
        ParsedRow(number, {"id": f"new-{number:03}", "text": f"{number} " * 40 + chr(97 + number % 26) * number})
        for number in range(1, 61)
    ]
    assert import_rows(project=world.project, rows=rows, source="test").rejected == 0
    Document.objects.filter(external_id__startswith="new-").update(metadata={"supplier": "ACME"})
    for document in held_out(world)[:6]:
        rewrite(document, metadata={"supplier": "ACME"})
    policy(world, {**valid, "key": "all"}, acme)
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    drawn = queue_labels(report=report, key="acme", user=world.engineer, who="ana").documents
    lacking = {labels.key: labels for labels in required_labels(report)}
    assert (lacking["acme"].missing, lacking["acme"].waiting) == (0, len(drawn))
    assert lacking["all"].waiting == 0, "they prove nothing about all documents"
    for document in Document.objects.filter(pk__in=drawn):
        annotation_services.submit(document=document, user=world.annotator, value=EMPTY, evidence={}, base_version=0)
    run = evaluated(world, right, dataset=frozen(world))
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert (verdict_of(report, "all").n, verdict_of(report, "acme").n) == (12, 6 + len(drawn))
    assert f"without {len(drawn)} documents that were sampled for another slice" in verdict_of(report, "all").sentence
    (wanted,) = (labels.required for labels in required_labels(report) if labels.key == "all")
    assert wanted == verdict_of(report, "all").needed, "one document for each that is needed"
    monkeypatch.setattr("evaluation.approvals.evidence.prices", lambda run: {"vendor": 5.0})
    cost = money(report)
    assert cost is not None
    assert (cost["costs"].documents, cost["left_out"]) == (12, len(drawn))
    client.force_login(world.manager)
    page = client.get(report.get_absolute_url())
    assertContains(page, f"{len(drawn)} hold-out documents were sampled for one slice")
    assertContains(page, f"Without {len(drawn)} documents")


# -- what it is held against ------------------------------------------------------------------------------------------


def test_a_baseline_is_scored_by_the_same_scorer(world: World) -> None:
    base, run = evaluated(world, broken, tuned=False), evaluated(world, right)
    assert default_baseline(run) == base
    rewrite(base, scorer_version="0")
    base.refresh_from_db()
    assert default_baseline(run) is None
    with pytest.raises(Refused, match="different scorer"):
        create_report(eval_run=run, baseline=base, user=world.engineer)


def test_external_models_and_files_are_different_models(world: World) -> None:
    run = evaluated(world, right)
    export = ModelExport.objects.create(model_version=world.version, kind=ModelExport.Kind.Q8_0, folder_key="x/1")
    endpoints = [
        Endpoint.objects.create(project=world.project, name=name, url="https://a.test/v1", model=name)
        for name in ("large", "tiny")
    ]
    keys = [model_key(run), model_key(EvalRun(training_run=run.training_run, export=export))]
    keys += [
        model_key(EvalRun(endpoint=endpoint, facts={"model": endpoint.model, "url": endpoint.url}))
        for endpoint in endpoints
    ]
    keys.append(model_key(EvalRun(endpoint=endpoints[0], facts={"model": "other", "url": endpoints[0].url})))
    assert len(set(keys)) == len(keys)


def test_a_gate_on_the_base_model_requires_its_own(world: World, tmp_path: Any) -> None:
    policy(
        world, {"key": "base", "metric": "no_regression", "operator": ">=", "threshold": 0.5, "compared_with": "base"}
    )
    own, run = world.base_model, evaluated(world, right)
    world.base_model = make_base_model(tmp_path / "other", "other", "Other")
    other = evaluated(world, broken, tuned=False)
    world.base_model = own
    report = create_report(eval_run=run, baseline=other, user=world.engineer)
    assert "is not the base model of" in verdict_of(report, "base").sentence
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, own)
    again = create_report(eval_run=evaluated(world, right), baseline=run, user=world.engineer)
    assert "is not a base model" in verdict_of(again, "base").sentence
    assert verdict_of(again, "base").status == verdict_of(report, "base").status == "NOT PROVEN"


# -- one look, and thresholds -----------------------------------------------------------------------------------------


def test_a_single_evaluation_uses_the_budget_for_later_policies(world: World) -> None:
    policy(world, WRONG, only_look=True)
    first, second = evaluated(world, right), evaluated(world, right)
    assert verdict_of(create_report(eval_run=first, baseline=None, user=world.engineer), "wrong").n
    policy(world, WRONG)
    report = create_report(eval_run=second, baseline=None, user=world.engineer)
    assert len(earlier_reports(report.eval_run)) == 2
    assert "earlier single-evaluation policy" in verdict_of(report, "wrong").sentence
    assert not report.passed


def test_a_single_evaluation_is_not_chosen_among_several(world: World) -> None:
    policy(world, WRONG)
    first, second = evaluated(world, right), evaluated(world, right)
    create_report(eval_run=second, baseline=None, user=world.engineer)
    policy(world, WRONG, only_look=True)
    report = create_report(eval_run=first, baseline=None, user=world.engineer)
    assert (report.holdout_number, verdict_of(report, "wrong").status) == (1, "NOT PROVEN")


def test_thresholds_set_after_results_have_a_warning(world: World, client: Client) -> None:
    current_policy(project=world.project)
    run = evaluated(world, right)
    client.force_login(world.manager)
    untouched = create_report(eval_run=run, baseline=None, user=world.engineer)
    late = f"were changed after results of evaluation {run.number} were available"
    page = client.get(untouched.get_absolute_url()).content.decode()
    assert late not in page
    policy(world, {**WRONG, "threshold": 0.9})
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    page = client.get(report.get_absolute_url()).content.decode()
    assert late in page
    assert f"<strong>mona</strong> set gate policy {report.policy.number}" in page
    assert late in client.get(f"{report.get_absolute_url()}report.md").content.decode()
