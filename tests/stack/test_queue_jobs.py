"""Workers run only the application's jobs, however a job came into the queue."""

import json
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.apps import apps
from django.conf import settings
from rq import Queue, Worker
from rq.group import Group
from rq.job import Job
from rq.serializers import resolve_serializer
from rq.utils import import_attribute

from slmstudio.workers import job_names
from slmstudio.workers.job_names import JobRejected, StudioJob
from slmstudio.workers.worker import StudioWorker
from tests.conftest import Workers


def put(data: bytes, **columns: str) -> Job:
    """Writes a job into the queue ``default`` as any Valkey client could."""
    queue = django_rq.get_queue("default")
    job_id = str(uuid.uuid4())
    row: Any = {
        "data": data,
        "origin": "default",
        "status": "queued",
        "created_at": "2026-01-01T00:00:00Z",
        **columns,
    }
    queue.connection.hset(Job.key_for(job_id), mapping=row)
    queue.connection.rpush(queue.key, job_id)
    return StudioJob(job_id, connection=queue.connection)


def call(function: str, *args: object, instance: object = None, **kwargs: object) -> bytes:
    return json.dumps([function, instance, args, kwargs]).encode()


def from_bytes(data: bytes, **columns: str) -> StudioJob:
    """The job as a worker reads it."""
    job = StudioJob("a", connection=django_rq.get_connection("default"))
    job.restore({b"data": data, **{key.encode(): value.encode() for key, value in columns.items()}})
    return job


@pytest.mark.slow
def test_unknown_functions_are_not_run(idle_workers: Workers, wait_for: Callable[..., None], tmp_path: Path) -> None:
    workers = idle_workers
    workers.start("default")
    marks = {name: tmp_path / name for name in ("system", "pickle")}
    calm = call("training.runs.jobs.run_training", 0)

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (marks["pickle"],)

    jobs = {
        "system": put(call("os.system", f"touch {marks['system']}")),
        "pickle": put(pickle.dumps(Bomb())),
        "callback": put(calm, success_callback_name="tests.stack.jobs.never_called"),
        "instance": put(call("format", instance="{0.__class__}")),
        "meta": put(call("os.getcwd"), meta=pickle.dumps(Bomb(), protocol=0).decode()),
    }
    registry = django_rq.get_queue("default").failed_job_registry
    wait_for(lambda: all(job.id in registry.get_job_ids() for job in jobs.values()), message=workers.text)
    assert not any(mark.exists() for mark in marks.values())
    assert "never_called was called" not in workers.text()
    assert "rejected job" in workers.text()
    assert jobs["system"].id in workers.text()
    assert "os.system" in str(jobs["system"].latest_result().exc_string)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (call("os.system", "true"), {}),
        (call("labeling.jobs.importing.fail", 1), {}),  # an import of a module of jobs is no job
        (call("labeling.jobs.logger.info", 1), {}),
        (call("labeling.jobs.run_import", "1"), {}),
        (call("labeling.jobs.run_import", True), {}),
        (call("labeling.jobs.run_import"), {}),
        (call("labeling.jobs.run_import", 1, more=2), {}),
        (call("labeling.jobs.run_import", 1, instance="x"), {}),
        (call("labeling.jobs.run_import", 1), {"success_callback_name": "os.getcwd"}),
        (call("labeling.jobs.run_import", 1), {"failure_callback_name": "os.getcwd"}),
        (call("labeling.jobs.run_import", 1), {"stopped_callback_name": "os.getcwd"}),
        (b'{"a": 1}', {}),
        (call(["os.system"]), {}),  # type: ignore[arg-type]
        (b"\x80\x04N.", {}),
    ],
)
def test_rejected_jobs(queues: None, data: bytes, columns: dict[str, str]) -> None:
    job = from_bytes(data, **columns)
    with pytest.raises(JobRejected):
        _ = job.func
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)


def test_job_callbacks_are_ignored(queues: None) -> None:
    hook = json.dumps([{"url": "http://169.254.169.254/latest", "job_status": "finished"}])
    assert from_bytes(call("labeling.jobs.run_import", 1), webhooks=hook).webhooks == []


def test_every_run_has_an_existing_job() -> None:
    runs = [model for model in apps.get_models() if getattr(model, "job_name", "")]
    assert len(runs) >= 5
    assert {run.job_name for run in runs} <= job_names.allowed()  # type: ignore[attr-defined]
    assert {run.queue_name for run in runs} <= set(settings.RQ_QUEUES)  # type: ignore[attr-defined]
    assert "labeling.jobs.deliver_webhook" in job_names.allowed()
    for name in job_names.allowed():
        function = import_attribute(name)
        assert f"{function.__module__}.{function.__name__}" == name


def test_enqueued_jobs_are_accepted_by_workers(queues: None) -> None:
    queue = django_rq.get_queue("default")
    assert queue.job_class is StudioJob
    for name in job_names.allowed():
        job = queue.fetch_job(queue.enqueue(name, 1).id)
        assert job is not None
        assert job.func is import_attribute(name)


def test_queue_data_is_never_unpickled(queues: None) -> None:
    connection = django_rq.get_connection("default")
    queue = Queue("default", connection=connection)  # rq's own, with its own default
    worker = StudioWorker([queue], connection=connection, serializer="pickle", job_class="rq.job.Job")
    assert worker.serializer is resolve_serializer("json")
    assert issubclass(worker.job_class, StudioJob)
    assert all(issubclass(queue.job_class, StudioJob) for queue in worker.queues)
    for name in (None, "pickle", "rq.serializers.DefaultSerializer", "rq.serializers.PickleSerializer"):
        assert resolve_serializer(name) is resolve_serializer("json"), name
    assert Worker([queue], connection=connection).serializer is resolve_serializer("json")
    group = Group.create(connection=connection)
    assert group.get_jobs() == []
