"""Runs whose job or worker has gone come back to the queue once, and only once."""

from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.utils import timezone

from labeling.models import DatasetVersion, Project
from slmstudio.runs import Status
from slmstudio.sweep import requeue_forgotten, requeue_interrupted
from slmstudio.workers import listening
from training.models import LengthReport, TrainingRun
from training.presets import Knobs
from training.services.runs import start_training

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(
    queues: None, project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any]
) -> TrainingRun:
    return start_training(
        project=project, user=people["engineer"], dataset=dataset, base_model=lengths.base_model, knobs=Knobs()
    )


def jobs() -> list[str]:
    return list(django_rq.get_queue("gpu").job_ids)


def made_ago(run: TrainingRun, seconds: float) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_a_job_the_queue_forgot_is_queued_again(run: TrainingRun) -> None:
    django_rq.get_queue("gpu").empty()
    made_ago(run, 120)
    assert [again.pk for again in requeue_forgotten()] == [run.pk]
    run.refresh_from_db()
    assert jobs() == [str(run.job_id)]
    assert requeue_forgotten() == []


def test_a_job_that_waits_in_the_queue_is_left_alone(run: TrainingRun) -> None:
    made_ago(run, 120)
    before = jobs()
    assert requeue_forgotten() == []
    assert jobs() == before == [str(run.job_id)]


def test_an_interrupted_run_starts_again_under_a_new_job(run: TrainingRun) -> None:
    queue = django_rq.get_queue("gpu")
    queue.empty()
    behind = queue.enqueue("training.jobs.run_training", 0)
    run.claim()
    run.beat(progress_done=3, progress_total=9)
    assert [again.pk for again in requeue_interrupted()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.progress_done) == (Status.QUEUED, 0)
    assert jobs() == [str(run.job_id), behind.id]


def test_a_run_that_was_to_be_cancelled_is_not_started_again(run: TrainingRun) -> None:
    django_rq.get_queue("gpu").empty()
    run.claim()
    run.cancel()
    assert requeue_interrupted() == []
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert jobs() == []


def test_a_worker_that_was_killed_listens_no_more(idle_workers: Any) -> None:
    idle_workers.start("gpu")
    assert "gpu" in listening()
    idle_workers.kill("gpu")
    assert "gpu" not in listening()
