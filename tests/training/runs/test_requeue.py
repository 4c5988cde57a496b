"""Runs without a job or worker return to the queue exactly once."""

from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.utils import timezone
from rq.job import JobStatus

from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted, requeue_missing_jobs
from slmstudio.workers.queues import queue_position
from tests.training.fakes import start_run
from training.models import LengthReport, TrainingRun
from training.runs.services import resume

pytestmark = pytest.mark.django_db(transaction=True)


def jobs() -> list[str]:
    return list(django_rq.get_queue("gpu").job_ids)


def made_ago(run: TrainingRun, seconds: float) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_only_a_forgotten_job_is_queued_again(run: TrainingRun) -> None:
    made_ago(run, 120)
    before = jobs()
    assert requeue_missing_jobs() == []
    assert jobs() == before == [str(run.job_id)]
    django_rq.get_queue("gpu").empty()
    assert [again.pk for again in requeue_missing_jobs()] == [run.pk]
    run.refresh_from_db()
    assert jobs() == [str(run.job_id)]
    assert requeue_missing_jobs() == []


def test_resumed_run_is_last_in_the_queue(run: TrainingRun, lengths: LengthReport, people: dict[str, Any]) -> None:
    second = start_run(lengths)

    def positions() -> tuple[int, int]:
        return queue_position(run).ahead, queue_position(second).ahead

    assert positions() == (0, 1)
    run.status, run.checkpoint_step = Status.CANCELLED, 3
    run.save(update_fields=["status", "checkpoint_step"])
    assert positions() == (0, 0)  # its job is still in the queue and will find nothing to do
    resume(run=run, user=people["engineer"])
    assert positions() == (1, 0)


def test_interrupted_run_is_requeued_under_a_new_job(run: TrainingRun) -> None:
    queue = django_rq.get_queue("gpu")
    queue.empty()
    behind = queue.enqueue("training.runs.jobs.run_training", 0)
    run.claim()
    run.send_heartbeat(progress_done=3, progress_total=9)
    assert [again.pk for again in requeue_interrupted()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.progress_done) == (Status.QUEUED, 0)
    assert jobs() == [str(run.job_id), behind.id]


def test_run_with_a_requested_cancellation_is_not_requeued(run: TrainingRun) -> None:
    django_rq.get_queue("gpu").empty()
    run.claim()
    run.cancel()
    assert requeue_interrupted() == []
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert jobs() == []


def fail_job(run: TrainingRun) -> None:
    """As a worker does it whose job raised."""
    queue = django_rq.get_queue("gpu")
    job = queue.fetch_job(str(run.job_id))
    assert job is not None
    queue.remove(job)
    with queue.connection.pipeline() as pipeline:
        job._handle_failure("RuntimeError: a bug", pipeline=pipeline)
        pipeline.execute()
    job.set_status(JobStatus.FAILED)
    run.fail("It stopped.")


def test_failed_job_is_requeued_from_the_workers_page(run: TrainingRun, people: dict[str, Any], login: Any) -> None:
    run.attempts, run.checkpoint_step = 4, 8
    run.save()
    fail_job(run)
    address = f"/workers/failed/gpu/{run.job_id}/"
    assert login("engineer").post(address, {"do": "requeue"}).status_code == 302
    run.refresh_from_db()
    assert (run.status, run.error, run.attempts_since_restart) == (Status.QUEUED, "", 0)
    assert [(resumed["who"], resumed["step"]) for resumed in run.facts["resumed_by"]] == [("engineer", 8)]
    assert jobs() == [str(run.job_id)]
    assert django_rq.get_queue("gpu").failed_job_registry.count == 0


def test_failed_job_without_its_base_model_stays(run: TrainingRun, people: dict[str, Any], login: Any) -> None:
    fail_job(run)
    run.base_model.folder = "/nowhere/tiny"
    run.base_model.save()
    address = f"/workers/failed/gpu/{run.job_id}/"
    page = login("engineer").post(address, {"do": "requeue"}, follow=True).content.decode()
    assert "is missing" in page
    assert "/nowhere" not in page
    run.refresh_from_db()
    assert (run.status, jobs()) == (Status.FAILED, [])
    assert django_rq.get_queue("gpu").failed_job_registry.count == 1
