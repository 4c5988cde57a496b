"""A pass of the loop goes on when a stage ends, and takes its other stages with it when one fails."""

from typing import Any

import pytest

from evaluation.models import GateReport, LoopRun
from evaluation.pipeline.services import advance, advance_all, cancel_pipeline, start_pipeline
from labeling.datasets.queries import rows
from slmstudio.runs.models import Status
from tests.evaluation.factories import World, evaluated, right
from training.hyperparameters.values import Hyperparameters
from training.models import LengthReport


@pytest.fixture
def loop(world: World) -> LoopRun:
    LengthReport.objects.create(
        dataset=world.dataset,
        base_model=world.base_model,
        status=Status.DONE,
        lengths=[[row["id"], row["split"], 80, 20] for row in rows(world.dataset)],
        longest=100,
        model_sha256=world.base_model.sha256,
    )
    return start_pipeline(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        base_model=world.base_model,
        hyperparameters=Hyperparameters(),
        with_free=True,
    )


def states(loop: LoopRun) -> list[str]:
    runs: list[Any] = [loop.base, loop.base_free, loop.training_run, loop.tuned, loop.tuned_free]
    for run in runs:
        run.refresh_from_db()
    return [run.status for run in runs]


def test_all_stages_are_queued_at_once(loop: LoopRun) -> None:
    assert states(loop) == [Status.QUEUED] * 5
    assert loop.status == Status.RUNNING


def test_a_failed_stage_ends_the_loop_and_cancels_the_rest(loop: LoopRun) -> None:
    loop.base.claim()
    loop.base.fail("The model cannot be loaded.")
    advance(loop.pk)
    loop.refresh_from_db()
    assert loop.status == Status.FAILED
    assert "benchmark of the base model failed: The model cannot be loaded." in loop.error
    assert states(loop) == [Status.FAILED, *[Status.CANCELLED] * 4]


def test_an_abandoned_loop_leaves_nothing_in_the_queue(loop: LoopRun) -> None:
    cancel_pipeline(loop)
    loop.refresh_from_db()
    assert loop.status == Status.FAILED
    assert states(loop) == [Status.CANCELLED] * 5


def test_a_loop_whose_last_stage_ended_in_silence_is_concluded(world: World, loop: LoopRun) -> None:
    """The worker died between the end of the evaluation and telling the loop."""
    base, tuned = evaluated(world, right, tuned=False), evaluated(world, right)
    training = tuned.training_run
    LoopRun.objects.filter(pk=loop.pk).update(
        base=base, base_free=None, training_run=training, tuned=tuned, tuned_free=None
    )
    advance_all()
    loop.refresh_from_db()
    assert loop.status == Status.DONE, loop.error
    assert loop.gate_report == GateReport.objects.get()
    assert loop.comparison is not None
    advance_all()
    assert GateReport.objects.count() == 1
