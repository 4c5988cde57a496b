"""A pass of the loop goes on when a stage ends, and takes its other stages with it when one fails."""

from typing import Any

import pytest

from evaluation.gates.facts import inapplicable_then
from evaluation.models import GateReport, PipelineRun
from evaluation.pipeline.report import pipeline_report
from evaluation.pipeline.services import (
    EVALUATIONS,
    advance,
    advance_all,
    cancel_pipeline,
    default_mode,
    stages,
    start_pipeline,
)
from labeling.datasets import queries
from labeling.datasets.queries import rows
from slmstudio.runs.models import Status
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World, evaluated, right
from tests.shared_rows import shared_fixture
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport


@shared_fixture
def lengths(world: World) -> None:
    LengthReport.objects.create(
        dataset=world.dataset,
        base_model=world.base_model,
        status=Status.DONE,
        lengths=[[row["id"], row["split"], 80, 20] for row in rows(world.dataset)],
        longest=100,
        model_sha256=world.base_model.sha256,
    )


@shared_fixture
def loop(world: World, lengths: None) -> PipelineRun:
    return start(world)


def start(world: World, hyperparameters: Hyperparameters | None = None) -> PipelineRun:
    return start_pipeline(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        base_model=world.base_model,
        hyperparameters=hyperparameters or Hyperparameters(),
        with_free=True,
    )


def states(loop: PipelineRun) -> list[str]:
    runs: list[Any] = [stage.run for stage in stages(loop)]
    for run in runs:
        run.refresh_from_db()
    return [run.status for run in runs]


def test_all_stages_are_queued_at_once_and_only_the_last_are_on_the_hold_out(loop: PipelineRun) -> None:
    assert states(loop) == [Status.QUEUED] * 7
    assert loop.status == Status.RUNNING
    splits = {name: getattr(loop, name).split for name in EVALUATIONS}
    assert splits == {**dict.fromkeys(EVALUATIONS, "validation"), "base": "holdout", "tuned": "holdout"}
    order: list[Any] = [stage.run for stage in stages(loop)]
    assert order.index(loop.tuned_validation) < order.index(loop.base) < order.index(loop.tuned)
    modes = {name: getattr(loop, name).mode for name in EVALUATIONS}
    assert modes == {**dict.fromkeys(EVALUATIONS, "grounded"), "base_free": "free", "tuned_free": "free"}
    cancel_pipeline(loop)
    loop.refresh_from_db()
    assert loop.status == Status.FAILED
    assert states(loop) == [Status.CANCELLED] * 7


def test_decoding_is_constrained_where_no_gold_is_in_its_text(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = [{**row, "text": "Nothing of it."} for row in rows(world.dataset)]
    monkeypatch.setattr(queries, "rows", lambda dataset, split: (row for row in replaced if row["split"] == split))
    assert default_mode(world.dataset) == "constrained"


def test_without_validation_documents_only_the_final_evaluations_run(world: World, lengths: None) -> None:
    world.dataset.items.filter(split="validation").delete()
    loop = start(world)
    assert [stage.run for stage in stages(loop)] == [loop.training_run, loop.base, loop.tuned]


def test_an_encoder_is_compared_with_nothing(world: World) -> None:
    make_encoder(world)
    method: dict[str, Any] = {"dataset": world.dataset, "base_model": world.base_model, "method": "full"}
    loop = start(world, default_hyperparameters(**method))
    assert [stage.run for stage in stages(loop)] == [loop.training_run, loop.tuned_validation, loop.tuned]
    assert loop.tuned.mode == "constrained"
    tuned = evaluated(world, right)
    PipelineRun.objects.filter(pk=loop.pk).update(training_run=tuned.training_run, tuned=tuned, tuned_validation=None)
    advance_all()
    loop.refresh_from_db()
    assert (loop.status, loop.error, loop.comparison) == (Status.DONE, "", None)
    report = pipeline_report(loop)
    assert "base" not in report
    assert report["tuned"]["field_exact"] == 1.0
    verdicts = {verdict["gate"]["key"]: verdict for verdict in report["gates"]["verdicts"]}
    assert verdicts["no-regression"]["status"] == "INAPPLICABLE"
    assert "does not answer before it is trained" in verdicts["no-regression"]["sentence"]
    assert loop.gate_report is not None
    assert set(inapplicable_then(loop.gate_report)) == {"deployed"}


def test_a_failed_stage_ends_the_loop_and_cancels_the_rest(loop: PipelineRun) -> None:
    first: Any = loop.base_validation
    first.claim()
    first.fail("The model cannot be loaded.")
    advance(loop.pk)
    loop.refresh_from_db()
    assert loop.status == Status.FAILED
    assert "evaluation of the base model failed: The model cannot be loaded." in loop.error
    assert states(loop) == [Status.FAILED, *[Status.CANCELLED] * 6]


def test_a_loop_whose_last_stage_ended_in_silence_is_concluded(world: World, loop: PipelineRun) -> None:
    """The worker died between the end of the evaluation and telling the loop."""
    base, tuned = evaluated(world, right, tuned=False), evaluated(world, right)
    training = tuned.training_run
    others = dict.fromkeys(("base_validation", "base_free", "tuned_validation", "tuned_free"))
    PipelineRun.objects.filter(pk=loop.pk).update(base=base, training_run=training, tuned=tuned, **others)
    advance_all()
    loop.refresh_from_db()
    assert loop.status == Status.DONE, loop.error
    assert loop.gate_report == GateReport.objects.get()
    assert loop.comparison is not None
    advance_all()
    assert GateReport.objects.count() == 1
