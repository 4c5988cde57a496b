"""Outputs: scored and stored once each, summed up, counted again."""

from typing import Any

import pytest

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import outputs, summary
from evaluation.runs.outputs import InvalidOutputs, OutputWriter
from evaluation.runs.services import start_evaluation
from labeling.datasets import freeze
from labeling.datasets import queries as dataset_queries
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, DocumentScore
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, broken, evaluated, pretend, rewrite, right
from tests.shared_rows import shared_fixture


@shared_fixture
def running(world: World) -> EvalRun:
    run = start_evaluation(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        split="holdout",
        model=world.base_model,
        confirm_holdout=True,
    )
    run.claim()
    return run


def gold_rows(run: EvalRun) -> list[dict[str, Any]]:
    return list(dataset_queries.rows(run.dataset, run.split))


def test_an_output_is_stored_once_however_often_it_comes(running: EvalRun) -> None:
    row, other = gold_rows(running)[:2]
    for raw in (dumps(row["gold"]), "something else"):
        store = OutputWriter(running)
        store.add({"id": row["id"], "raw": raw})
        store.flush()
    stored = EvalOutput.objects.get(eval_run=running)
    assert stored.exact, "the first one counts"
    assert (stored.wrong_fields, stored.errors, stored.tags) == ([], [], row["tags"])
    store.add({"id": other["id"], "raw": '{"vendor":"a\0b"}'})
    store.flush()
    assert EvalOutput.objects.get(document__external_id=other["id"]).raw == '{"vendor":"a\ufffdb"}'
    with pytest.raises(InvalidOutputs, match="not in this run"):
        store.add({"id": "nobody", "raw": "{}"})


def test_a_document_that_failed_is_an_outcome(running: EvalRun) -> None:
    row = gold_rows(running)[0]
    store = OutputWriter(running)
    store.add({"id": row["id"], "raw": "", "finish_reason": "error", "error": "The prompt is too long."})
    store.flush()
    stored = EvalOutput.objects.get()
    assert (stored.state, stored.valid, stored.error) == ("failed", False, "The prompt is too long.")
    gold = stored.gold
    outcomes = {field["outcome"] for field in stored.score["fields"] if gold.get(field["field"]) is not None}
    assert outcomes == {"unscorable"}


def test_a_run_with_missing_or_changed_outputs_does_not_end_well(running: EvalRun) -> None:
    artifacts.local_path(running.outputs_key).write_text("")
    for sha256, words in (("", "Only 0 of 12 documents"), ("0" * 64, "has changed since the model wrote it")):
        with pytest.raises(InvalidOutputs, match=words):
            outputs.complete(running, sha256=sha256, facts={})
    assert running.status == Status.RUNNING


def test_the_figures_are_those_of_the_outputs(world: World) -> None:
    def half(row: dict[str, Any]) -> dict[str, Any]:
        return right(row) if int(row["id"][-1]) % 2 else {"raw": "{"}

    run = evaluated(world, half)
    good = sum(int(row["id"][-1]) % 2 for row in gold_rows(run))
    assert run.scores["documents"] == 12
    assert (run.scores["schema_valid"]["k"], run.scores["schema_valid"]["n"]) == (good, 12)
    assert (run.scores["document_exact"]["k"], run.scores["document_exact"]["n"]) == (good, 12)
    counted = EvalOutput.objects.filter(eval_run=run).in_state("exact").count()
    assert counted == good, "the list behind the figure has as many rows"
    assert run.latency["n"] == 12
    assert run.latency["p50"] <= run.latency["p95"] <= run.latency["p99"] <= run.latency["max"]
    assert (run.facts["cut_off"], run.facts["failed"]) == (0, 0)


def test_an_output_an_ending_or_a_latency_that_was_changed_is_seen(world: World) -> None:
    run = evaluated(world, right, latency_ms=lambda index: 12.25)
    assert outputs.rows_match_file(run)
    changes: tuple[dict[str, Any], ...] = ({"finish_reason": "length"}, {"latency_ms": 1.5}, {"raw": "{}"})
    for output, change in zip(run.outputs.order_by("pk")[:3], changes, strict=True):
        before = {name: getattr(output, name) for name in change}
        rewrite(output, **change)
        assert not outputs.rows_match_file(run), change
        if "raw" in change:
            assert summary.recompute_summary(run) != run.scores
        rewrite(output, **before)
    assert outputs.rows_match_file(run)


def test_errors_lead_to_exactly_their_documents(world: World) -> None:
    run = evaluated(world, pretend(5, spoil=0.5, invalid=0.1))
    rows = EvalOutput.objects.filter(eval_run=run)
    assert len(run.scores["errors"]) >= 2
    for kind, count in run.scores["errors"].items():
        failed = list(rows.with_error(kind))
        occurrences = sum(field["error"] == kind for row in failed for field in row.score["fields"])
        assert occurrences == count
    for pattern, value in run.scores["per_field"].items():
        assert rows.wrong_in(pattern).count() == value["n"] - value["k"], pattern


def test_sroie_figures_come_with_its_four_fields(world: World) -> None:
    members = {world.engineer: "engineer"}
    project = create_project(owner=world.owner, name="Receipts", slug="receipts", template="receipt", members=members)
    patterns = {field.pattern for field in project.schema_version.compiled.fields}
    assert {"company", "date", "address", "total"} <= patterns
    gold = {"company": "ACME SDN BHD", "date": "25/12/2018", "address": "1 JALAN SATU", "total": "9.00"}
    # Unlike enough that they are no near-duplicates.
    things = [" ".join(f"{index}{thing}{index}" for thing in range(20)) for index in range(6)]
    texts = [
        (f"r{index}", f"ACME SDN BHD\n1 JALAN SATU\nNo. {index} 25/12/2018\n{things[index]}\nTOTAL 9.00")
        for index in range(6)
    ]
    rows = [ParsedRow(n, {"id": name, "text": text, "gold": gold}) for n, (name, text) in enumerate(texts, start=1)]
    result = import_rows(project=project, rows=rows, source="test")
    assert result.rejected == 0, result.rejects
    world.project = project
    world.dataset = freeze.freeze(project=project, user=world.owner, validation_share=0, holdout_share=0.5)

    def say(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": dumps({**row["gold"], "address": "1 Jalan Satu"})}

    run = evaluated(world, say, tuned=False)
    assert run.scores["sroie"]["recall"] == pytest.approx(0.75)
    world.dataset = DatasetVersion.objects.get(project__slug="invoices")
    world.project = world.dataset.project
    assert "sroie" not in evaluated(world, right, tuned=False).scores


def test_each_document_outside_the_hold_out_has_the_score_of_its_newest_evaluation(world: World) -> None:
    evaluated(world, broken, split="train")
    assert set(DocumentScore.objects.values_list("score", flat=True)) == {0.0}
    run = evaluated(world, pretend(3, spoil=0.4), split="train")
    scores = {row.document_id: row for row in DocumentScore.objects.all()}
    assert {row.source for row in scores.values()} == {f"evaluation {run.number}"}
    stored = list(run.outputs.all())
    assert len(scores) == len(stored) > 5
    for output in stored:
        fields = [field for field in output.score["fields"] if field["outcome"] != "both_absent"]
        correct = sum(field["outcome"] == "correct" for field in fields)
        assert scores[output.document_id].score == pytest.approx(correct / len(fields))
        assert scores[output.document_id].wrong_fields == output.wrong_fields
    evaluated(world, broken)
    assert not DocumentScore.objects.filter(document__holdout=True).exists()
