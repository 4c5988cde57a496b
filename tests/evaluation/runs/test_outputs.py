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
from labeling.models import DatasetVersion
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, evaluated, pretend, right
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
    row = gold_rows(running)[0]
    for raw in (dumps(row["gold"]), "something else"):
        store = OutputWriter(running)
        store.add({"id": row["id"], "raw": raw})
        store.flush()
    stored = EvalOutput.objects.get(eval_run=running)
    assert stored.exact, "the first one counts"
    assert (stored.wrong_fields, stored.errors, stored.tags) == ([], [], row["tags"])


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


def test_a_nul_in_an_output_is_kept_as_a_replacement_character(running: EvalRun) -> None:
    store = OutputWriter(running)
    store.add({"id": gold_rows(running)[0]["id"], "raw": '{"vendor":"a\0b"}'})
    store.flush()
    assert EvalOutput.objects.get().raw == '{"vendor":"a\ufffdb"}'


def test_an_answer_for_an_unknown_document_is_refused(running: EvalRun) -> None:
    with pytest.raises(InvalidOutputs, match="not in this run"):
        OutputWriter(running).add({"id": "nobody", "raw": "{}"})


def test_a_run_with_missing_outputs_does_not_end_well(running: EvalRun) -> None:
    path = artifacts.local_path(running.outputs_key)
    path.write_text("")
    with pytest.raises(InvalidOutputs, match="Only 0 of 12 documents"):
        outputs.complete(running, sha256="", facts={})
    assert running.status == Status.RUNNING


def test_a_file_that_is_not_what_the_child_wrote_is_refused(running: EvalRun) -> None:
    artifacts.local_path(running.outputs_key).write_text("")
    with pytest.raises(InvalidOutputs, match="has changed since the model wrote it"):
        outputs.complete(running, sha256="0" * 64, facts={})


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


def test_counting_again_sees_an_output_that_was_changed(world: World) -> None:
    run = evaluated(world, right)
    first = run.outputs.get(document__external_id=gold_rows(run)[0]["id"])
    EvalOutput.objects.filter(pk=first.pk).update(raw="{}")
    assert summary.recompute_summary(run) != run.scores
    assert not outputs.rows_match_file(run)


@pytest.mark.parametrize("change", [{"finish_reason": "length"}, {"latency_ms": 1.5}])
def test_an_ending_or_a_latency_that_was_changed_is_seen(world: World, change: dict[str, Any]) -> None:
    run = evaluated(world, right, latency_ms=lambda index: 12.25)
    assert outputs.rows_match_file(run)
    first = run.outputs.earliest("pk")
    EvalOutput.objects.filter(pk=first.pk).update(**change)
    assert not outputs.rows_match_file(run)


def test_errors_lead_to_exactly_their_documents(world: World) -> None:
    run = evaluated(world, pretend(5, spoil=0.5, invalid=0.1))
    rows = EvalOutput.objects.filter(eval_run=run)
    assert len(run.scores["errors"]) >= 2
    for kind, count in run.scores["errors"].items():
        found = list(rows.with_error(kind))
        occurrences = sum(field["error"] == kind for row in found for field in row.score["fields"])
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
