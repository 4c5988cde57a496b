"""Lost runs are queued again or ended with a sentence, by their kind; everything else is left alone."""

from datetime import timedelta
from io import StringIO
from typing import Any

import django_rq
import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from labeling.models import DatasetVersion, Project
from slmstudio import sweep
from slmstudio.runs import Status
from training.jobs import run_training
from training.models import LengthReport, TrainingRun
from training.presets import Knobs
from training.services.runs import start_training


@pytest.fixture
def run(project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any]) -> TrainingRun:
    return start_training(
        project=project, user=people["engineer"], dataset=dataset, base_model=lengths.base_model, knobs=Knobs()
    )


def silent_for(run: TrainingRun, seconds: float, **changes: Any) -> None:
    beat = timezone.now() - timedelta(seconds=seconds)
    TrainingRun.objects.filter(pk=run.pk).update(
        status=Status.RUNNING, started_at=beat, heartbeat_at=beat, stage="training", **changes
    )


LONG = settings.RUN_LOST_AFTER_SECONDS + 5


@pytest.mark.django_db(transaction=True)
def test_a_lost_run_goes_on_with_the_next_worker_and_keeps_its_progress(run: TrainingRun, queues: None) -> None:
    silent_for(run, LONG, progress_done=40, progress_total=90, checkpoint_step=35, attempts=2)
    before = run.job_id
    assert [again.pk for again in sweep.sweep_lost()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.progress_done, run.checkpoint_step) == (Status.QUEUED, 40, 35)
    assert run.job_id != before
    assert django_rq.get_queue("gpu").job_ids == [str(run.job_id)]
    assert sweep.sweep_lost() == []


def test_a_run_that_lost_three_workers_fails_with_a_sentence(run: TrainingRun) -> None:
    silent_for(run, LONG, progress_done=40, progress_total=90, attempts=3, checkpoint_step=35)
    assert [ended.pk for ended in sweep.sweep_lost()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.stage, run.progress_done) == (Status.FAILED, "", 40)
    assert run.error.startswith("Its worker has not answered")
    assert "happened 3 times" in run.error
    assert run.error.endswith("It can be resumed from step 35.")
    assert run.finished_at is not None
    assert sweep.sweep_lost() == []


def test_a_lost_run_that_was_being_cancelled_is_cancelled(run: TrainingRun) -> None:
    silent_for(run, LONG, cancel_requested=True)
    sweep.sweep_lost()
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.CANCELLED, "")


def test_every_kind_of_run_is_swept(run: TrainingRun, lengths: LengthReport) -> None:
    silent_for(run, LONG)
    LengthReport.objects.update(status=Status.RUNNING, heartbeat_at=timezone.now() - timedelta(seconds=LONG))
    assert {type(ended) for ended in sweep.sweep_lost()} == {TrainingRun, LengthReport}


def test_a_beating_run_a_queued_run_and_a_run_without_a_heart_are_left_alone(run: TrainingRun) -> None:
    assert sweep.sweep_lost() == []  # queued, for however long
    silent_for(run, 1)
    assert sweep.sweep_lost() == []
    TrainingRun.objects.update(heartbeat_at=None)
    assert sweep.sweep_lost() == []


def test_who_asked_is_told_about_a_swept_run(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_after", {})
    told: list[int] = []
    sweep.when_swept("training.TrainingRun", lambda ended: told.append(ended.pk))
    silent_for(run, LONG, attempts=3)
    sweep.sweep_lost()
    assert told == [run.pk]


def test_a_job_sweeps_before_it_works(run: TrainingRun) -> None:
    silent_for(run, LONG)
    run_training(10**9)  # a run that has gone
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_looking_at_the_workers_sweeps(run: TrainingRun, login: Any, queues: None) -> None:
    silent_for(run, LONG)
    assert login("engineer").get("/workers/").status_code == 200
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_the_command_says_what_it_ended(run: TrainingRun) -> None:
    silent_for(run, LONG, attempts=3)
    said = StringIO()
    call_command("sweep", stdout=said)
    assert f"training run {run.pk} failed" in said.getvalue()
    said = StringIO()
    call_command("sweep", stdout=said)
    assert said.getvalue().strip() == "no run is lost"
