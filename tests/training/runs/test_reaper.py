"""Lost runs are requeued or failed; others are left alone."""

from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from slmstudio import hooks
from slmstudio.runs import heartbeat, reaper
from slmstudio.runs.models import Status
from training.models import LengthReport, TrainingRun
from training.runs.jobs import run_training


def silent_for(run: TrainingRun, seconds: float, **changes: Any) -> None:
    beat = timezone.now() - timedelta(seconds=seconds)
    TrainingRun.objects.filter(pk=run.pk).update(
        status=Status.RUNNING, started_at=beat, heartbeat_at=beat, stage="training", **changes
    )


LONG = settings.RUN_LOST_AFTER_SECONDS + 5


@pytest.mark.django_db(transaction=True)
def test_lost_run_is_requeued_with_its_progress(run: TrainingRun) -> None:
    silent_for(run, LONG, progress_done=40, progress_total=90, checkpoint_step=35, attempts=2)
    before = run.job_id
    django_rq.get_queue("gpu").empty()
    assert [again.pk for again in reaper.reap_lost_runs()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.progress_done, run.checkpoint_step) == (Status.QUEUED, 40, 35)
    assert run.job_id != before
    assert django_rq.get_queue("gpu").job_ids == [str(run.job_id)]
    assert reaper.reap_lost_runs() == []


def test_run_that_lost_three_workers_fails_and_calls_the_hook(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_reaped = hooks.ModelHooks[[Any], object]()
    monkeypatch.setattr(reaper, "run_reaped", run_reaped)
    reaped: list[int] = []
    run_reaped["training.TrainingRun"].register(lambda ended: reaped.append(ended.pk))
    silent_for(run, LONG, progress_done=40, progress_total=90, attempts=3, checkpoint_step=35)
    assert [ended.pk for ended in reaper.reap_lost_runs()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.stage, run.progress_done) == (Status.FAILED, "", 40)
    assert run.error.startswith("No heartbeat")
    assert "Attempts: 3." in run.error
    assert run.error.endswith("Resume it from step 35.")
    assert run.finished_at is not None
    assert reaper.reap_lost_runs() == []
    assert reaped == [run.pk]


def test_lost_run_with_a_requested_cancellation_is_cancelled(run: TrainingRun) -> None:
    silent_for(run, LONG, cancel_requested=True)
    reaper.reap_lost_runs()
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.CANCELLED, "")


def test_every_kind_of_run_is_reaped(run: TrainingRun, lengths: LengthReport) -> None:
    silent_for(run, LONG)
    LengthReport.objects.update(status=Status.RUNNING, heartbeat_at=timezone.now() - timedelta(seconds=LONG))
    assert {type(ended) for ended in reaper.reap_lost_runs()} == {TrainingRun, LengthReport}


def test_live_queued_and_unsupervised_runs_are_kept(run: TrainingRun) -> None:
    assert reaper.reap_lost_runs() == []  # queued, for however long
    silent_for(run, 1)
    assert reaper.reap_lost_runs() == []
    TrainingRun.objects.update(heartbeat_at=None)
    assert reaper.reap_lost_runs() == []


def test_run_without_database_access_is_kept_while_its_supervisor_reports(run: TrainingRun) -> None:
    silent_for(run, LONG)
    heartbeat.report_alive(run.job_id)
    key = heartbeat.KEY.format(run.job_id)
    connection: Any = django_rq.get_connection("default")
    assert settings.RUN_LOST_AFTER_SECONDS < connection.ttl(key) <= 2 * settings.RUN_LOST_AFTER_SECONDS
    assert reaper.reap_lost_runs() == []
    connection.delete(key)
    assert [lost.pk for lost in reaper.reap_lost_runs()] == [run.pk]


def test_no_run_is_reaped_while_the_queue_is_unreachable(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def unanswered(job_ids: Any) -> set[Any]:
        raise RedisConnectionError("away")

    silent_for(run, LONG)
    with monkeypatch.context() as broken:
        broken.setattr(reaper, "reported_alive", unanswered)
        assert reaper.reap_lost_runs() == []
    assert [lost.pk for lost in reaper.reap_lost_runs()] == [run.pk]


def test_clock_differences_reap_no_run(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    real = timezone.now
    with monkeypatch.context() as worker:
        worker.setattr(timezone, "now", lambda: real() - timedelta(seconds=LONG))
        assert run.claim(attempts=1)
        assert run.send_heartbeat()
    assert reaper.reap_lost_runs() == []
    with monkeypatch.context() as sweeper:
        sweeper.setattr(timezone, "now", lambda: real() + timedelta(seconds=LONG))
        assert reaper.reap_lost_runs() == []


def test_periodic_reaper_waits_after_sleep() -> None:
    now = [0.0]
    periodic = reaper.PeriodicReaper(30, clock=lambda: now[0])

    def checks(*moments: float) -> list[bool]:
        results = []
        for now[0] in moments:
            results.append(periodic.may_check())
        return results

    assert checks(0, 30, 60, 90, 120) == [False, False, False, True, True]
    assert checks(500, 530, 560, 590) == [False, False, False, True], "it slept"
    assert checks(100, 130, 160, 190) == [False, False, False, True], "the clock was put back"


def test_periodic_reaper_waits_at_its_start_and_after_a_database_outage(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    periodic = reaper.PeriodicReaper(30, clock=lambda: now[0])
    silent_for(run, LONG, attempts=3)
    periodic.run()
    for now[0] in (30, 60):
        with monkeypatch.context() as broken:
            broken.setattr(reaper, "requeue_missing_jobs", unavailable)
            with pytest.raises(OperationalError):
                periodic.run()
    for now[0] in (90, 120):
        periodic.run()
    run.refresh_from_db()
    assert run.status == Status.RUNNING
    now[0] = 150
    periodic.run()
    run.refresh_from_db()
    assert run.status == Status.FAILED


def unavailable() -> None:
    raise OperationalError("away")


def test_a_job_and_the_workers_page_reap(run: TrainingRun, login: Any) -> None:
    client = login("engineer")
    for reap in (lambda: run_training(10**9), lambda: client.get("/workers/")):  # the job of a run that has gone
        silent_for(run, LONG)
        reap()
        run.refresh_from_db()
        assert run.status == Status.QUEUED
