"""Faults with real workers, PostgreSQL and Valkey: nothing is lost or duplicated.

The trainer is a fake that speaks the events in milliseconds.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import django_rq
import psutil
import psycopg
import pytest
from django.db import connection
from psycopg import sql

from slmstudio import stack
from slmstudio.runs.controls import cancel
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.runs.supervisor import STOP_SIGNAL
from slmstudio.stack import lifecycle
from slmstudio.stack.embedded_server import Server
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.valkey import Valkey
from slmstudio.storage.artifacts import local_path
from tests.training.fake_trainer import loss
from tests.training.fakes import WORKER, attempts, curve, plan, start_run
from training.models import LengthReport, ModelVersion, TrainingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
STEPS = 60
WHOLE = [(step, loss(step)) for step in range(1, STEPS + 1)]


@pytest.fixture
def start(lengths: LengthReport, queues: None) -> Callable[..., TrainingRun]:
    """Queues a run of the fake trainer: 60 steps in three seconds, a checkpoint every ten."""

    def make(**values: Any) -> TrainingRun:
        run = start_run(lengths)
        plan(run, **{"steps": STEPS, "pace": 0.05, "save_every": 10, **values})
        return run

    return make


@pytest.fixture
def settled(wait_for: Callable[..., None], idle_workers: Any) -> Callable[..., TrainingRun]:
    """``settled(run)`` waits until a run has ended."""

    def wait(run: TrainingRun, seconds: float = 60) -> TrainingRun:
        def ended() -> bool:
            run.refresh_from_db()
            return run.finished_at is not None and not run.is_live

        wait_for(ended, seconds=seconds, message=lambda: f"{run.status} {run.stage}\n{idle_workers.text()}")
        return run

    return wait


class Embedded:
    """A server of this session: it is stopped or killed, and started again as one that the session stops at its end."""

    def __init__(self, running: stack.Running, server: Server, *, kill: bool = False) -> None:
        self.running, self.server, self.kill = running, server, kill

    def goes(self) -> None:
        connection.close()
        process = self.server.running()
        if self.kill and process is not None:
            process.kill()
            process.wait(5)
        else:
            self.server.stop()

    def comes(self) -> None:
        lifecycle.restart_ended(self.running)
        connection.close()


class ForeignPostgres:
    """An outage of a shared PostgreSQL: the test database rejects connections, and open ones are closed."""

    def __init__(self) -> None:
        self.name = str(connection.settings_dict["NAME"])
        self.door = psycopg.connect(**{**connection.get_connection_params(), "dbname": "postgres"}, autocommit=True)

    def goes(self) -> None:
        connection.close()
        self._allow("false")
        out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        self.door.execute(out, [self.name])

    def comes(self) -> None:
        self._allow("true")
        connection.close()

    def _allow(self, value: str) -> None:
        words = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS " + value)
        self.door.execute(words.format(sql.Identifier(self.name)))


class ForeignValkey:
    """A Valkey that is not ours to stop: every connection is cut, and new ones wait."""

    def goes(self) -> None:
        client: Any = django_rq.get_connection("default")
        client.client_pause(1500)
        client.client_kill_filter(_type="normal", skipme=True)

    def comes(self) -> None:
        """Its pause ends by itself."""


def _server(
    running: stack.Running | None, kind: type[Postgres | Valkey], foreign: Callable[[], Any], *, kill: bool = False
) -> Any:
    if running is None or kind.name not in running.servers:
        return foreign()
    return Embedded(running, kind(running.places), kill=kill)


@pytest.fixture
def postgresql(servers: stack.Running | None) -> Iterator[Any]:
    """It ``goes`` and ``comes`` back, afterwards at the latest."""
    server = _server(servers, Postgres, ForeignPostgres)
    yield server
    server.comes()


@pytest.fixture
def valkey(servers: stack.Running | None) -> Iterator[Any]:
    """It is killed when it ``goes``, and ``comes`` back, afterwards at the latest."""
    server = _server(servers, Valkey, ForeignValkey, kill=True)
    yield server
    server.comes()


def reached(run: TrainingRun, step: int) -> Callable[[], bool]:
    return lambda: run.events.filter(kind="metrics", step__gte=step).exists()


def family(pid: int) -> list[psutil.Process]:
    worker = psutil.Process(pid)
    return [worker, *worker.children(recursive=True)]


def test_killed_worker_costs_only_time_and_a_stopped_one_requeues_its_run(
    start: Any, settled: Any, idle_workers: Any, wait_for: Callable[..., None], settings: Any
) -> None:
    run = start(pace=0.2)
    idle_workers.start("gpu", options=WORKER)
    wait_for(reached(run, 25), seconds=30, message=idle_workers.text)
    plan(run, steps=STEPS, pace=0.01, save_every=10)  # of the second attempt
    for process in family(idle_workers.processes["gpu"].pid):
        process.kill()
    idle_workers.kill("gpu")
    child = attempts(run)[0]["pid"]
    wait_for(lambda: not psutil.pid_exists(child), seconds=5, message="the trainer outlived its supervisor")
    kept = json.loads(local_path(f"{run.folder_key}/state.json").read_text())["step"]
    settings.RUN_LOST_AFTER_SECONDS = 0.2
    time.sleep(0.3)
    assert [lost.pk for lost in reap_lost_runs()] == [run.pk]
    assert reap_lost_runs() == []
    settings.RUN_LOST_AFTER_SECONDS = 90
    idle_workers.start("gpu", options=WORKER)
    settled(run)
    assert (run.status, run.error, run.attempts) == (Status.DONE, "", 2)
    assert attempts(run)[1]["from"] == kept >= 20
    assert curve(run) == WHOLE
    assert ModelVersion.objects.filter(training_run=run).count() == 1
    assert run.facts["tokens"] == STEPS * 100

    later = start(save_every=10_000, steps=2_000)
    wait_for(reached(later, 10), seconds=30, message=idle_workers.text)
    worker = idle_workers.processes.pop("gpu")
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(60) == 0
    assert time.monotonic() - began < 30  # the run would take minutes
    later.refresh_from_db()
    assert (later.status, later.attempts_since_restart) == (Status.QUEUED, 0)
    assert 10 <= later.checkpoint_step == len(curve(later)) < 2_000
    assert django_rq.get_queue("gpu").job_ids == [str(later.job_id)]


def test_outages_and_a_run_without_memory_cost_neither_points_nor_the_worker(
    start: Any, settled: Any, idle_workers: Any, wait_for: Callable[..., None], postgresql: Any, valkey: Any
) -> None:
    idle_workers.start("gpu", options=WORKER)
    worker = idle_workers.processes["gpu"]
    os.kill(worker.pid, STOP_SIGNAL)  # to the worker itself it stops neither its current job nor later ones
    for server, seconds in ((postgresql, float(os.environ.get("AWAY_SECONDS", "2"))), (valkey, 1)):
        run = start()
        wait_for(reached(run, 5), seconds=30, message=idle_workers.text)
        server.goes()
        time.sleep(seconds)  # the trainer ends or continues
        server.comes()
        settled(run, seconds=90)
        assert (run.status, run.error) == (Status.DONE, "")
        assert len(attempts(run)) == 1
        assert curve(run) == WHOLE
        assert run.events.filter(kind="checkpoint").count() == STEPS // 10
    run = start(pace=0.01, die_always=15)
    settled(run)
    assert run.status == Status.FAILED, idle_workers.text()
    assert "ran out of memory" in run.error
    assert [attempt["from"] for attempt in attempts(run)] == [0, 10], "it is tried once more"
    assert worker.poll() is None
    assert django_rq.get_queue("gpu").count == 0


def test_two_workers_of_one_host_run_one_after_the_other(
    start: Any, settled: Any, idle_workers: Any, wait_for: Callable[..., None]
) -> None:
    first, second = start(steps=5000), start(steps=5)
    idle_workers.start("gpu", options=WORKER)
    wait_for(reached(first, 1), seconds=30, message=idle_workers.text)  # two workers at once would race for the machine
    idle_workers.start("gpu#2", options=WORKER)

    def waits() -> bool:
        second.refresh_from_db()
        return second.stage == "waiting for another job on this machine"

    wait_for(waits, message=idle_workers.text)
    assert attempts(second) == []
    cancel(run=TrainingRun.objects.get(pk=first.pk), user=first.created_by)
    settled(first)
    settled(second)
    assert (first.status, second.status) == (Status.CANCELLED, Status.DONE)
    assert second.finished_at > first.finished_at
