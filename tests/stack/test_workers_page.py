"""The workers page: workers, queued and failed jobs with their actions, for users who can start runs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job, JobStatus

from labeling.models import FreezeRun, ImportRun, Project
from slmstudio.access import Role
from slmstudio.runs.models import Status
from slmstudio.workers import queues as job_queues
from slmstudio.workers import views as worker_views
from slmstudio.workers.hardware import Gpu, this_machine
from slmstudio.workers.live_workers import LiveWorker
from slmstudio.workers.queues import QueuePosition, queue_position

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(db: None, django_user_model: Any) -> dict[str, Any]:
    names = [*Role.values, "stranger", "staff", "other"]
    users = {name: django_user_model.objects.create_user(name, password="x") for name in names}
    users["staff"].is_staff = True
    users["staff"].save()
    return users


@pytest.fixture
def project(people: dict[str, Any]) -> Project:
    from labeling.projects.services import create_project

    members = {people[role]: role for role in Role.values if role != Role.OWNER}
    create_project(owner=people["other"], name="Others", slug="others", template="receipt", members={})
    return create_project(owner=people["owner"], name="Receipts", slug="receipts", template="receipt", members=members)


@pytest.fixture
def page(project: Project, people: dict[str, Any], queues: None) -> Callable[[str], str]:
    def get(name: str = "engineer") -> str:
        return client(people, name).get("/workers/").content.decode()

    return get


def fail_job(job: Job, text: str) -> None:
    """As a worker does it whose job raised."""
    with job.connection.pipeline() as pipeline:
        job._handle_failure(text, pipeline=pipeline)
        pipeline.execute()
    job.set_status(JobStatus.FAILED)


def client(people: dict[str, Any], name: str) -> Client:
    browser = Client()
    browser.force_login(people[name])
    return browser


def worker(name: str, **values: Any) -> LiveWorker:
    now = timezone.now()
    standard: dict[str, Any] = {
        "host": "node-7", "pid": 71, "queues": ("gpu",), "state": "busy", "since": now - timedelta(hours=2),
        "beat": now - timedelta(seconds=12), "done": 41, "failed": 1, "memory": 120 << 20, "job_memory": 3 << 30,
        "hardware": replace(this_machine(), gpus=(Gpu(0, "GPU-1", "NVIDIA L4", 24 << 30, 7 << 30),)),
    }  # fmt: skip
    return LiveWorker(name=name, **{**standard, **values})


@pytest.fixture
def failed_import(project: Project, people: dict[str, Any], queues: None) -> ImportRun:
    """An import that failed, with its job among the failed ones of the queue."""
    run = ImportRun.objects.create(project=project, created_by=people["engineer"])
    queue = django_rq.get_queue("imports")
    job = queue.enqueue("labeling.jobs.run_import", run.pk, job_id=str(run.job_id))
    queue.remove(job)
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: the file has no rows'
    fail_job(job, text)
    run.fail("It stopped.")
    return run


def test_workers_with_hardware_and_memory(page: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_views, "live_workers", lambda: [worker("w1")])
    text = page("engineer")
    assert [words for words in ("node-7", "NVIDIA L4", "7.5 GB", "126 MB", "3.2 GB") if words not in text] == []
    assert "No worker for the queue default" in text
    assert "No worker for the queue gpu" not in text


def test_a_queued_run_waits_for_runs_of_all_kinds(
    project: Project, people: dict[str, Any], queues: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queued(kind: Any) -> Any:
        run = kind.objects.create(project=project, created_by=people["engineer"])
        django_rq.get_queue("imports").enqueue("labeling.jobs.run_import", run.pk, job_id=str(run.job_id))
        return run

    running, _, last = queued(ImportRun), queued(FreezeRun), queued(ImportRun)
    django_rq.get_queue("imports").remove(str(running.job_id))
    running.claim(progress_done=10, progress_total=30)
    ImportRun.objects.filter(pk=running.pk).update(started_at=timezone.now() - timedelta(seconds=10))
    busy = worker("w1", queues=("imports",), job_ids=(str(running.job_id),))
    monkeypatch.setattr(job_queues, "live_workers", lambda: [busy])
    place = queue_position(last)
    assert place.ahead == 2
    assert place.seconds == pytest.approx(20, abs=5)
    monkeypatch.setattr(job_queues, "live_workers", list)
    assert queue_position(last) == QueuePosition(1, None)


def test_current_jobs_are_shown_to_project_members(
    page: Callable[[str], str], project: Project, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ImportRun.objects.create(project=project, created_by=people["engineer"])
    run.claim()
    busy = worker("w1", queues=("imports",), job_ids=(str(run.job_id),))
    monkeypatch.setattr(worker_views, "live_workers", lambda: [busy])
    assert "(Receipts)" in page("engineer")
    hidden = page("other")
    assert "Receipts" not in hidden
    assert "of another project" in hidden


def test_queued_jobs_oldest_wait_and_missing_workers(page: Callable[[str], str]) -> None:
    queue = django_rq.get_queue("gpu")
    job = queue.enqueue("training.runs.jobs.run_training", 0)
    queue.enqueue("training.runs.jobs.run_training", 0)
    job.enqueued_at = timezone.now() - timedelta(minutes=3)
    job.save()
    text = page("engineer")
    assert "the queue gpu; 2 jobs are queued" in text
    assert "Start one with manage.py rqworker gpu." in text
    assert "3 min" in text


def test_a_failed_job_is_requeued(page: Callable[[str], str], failed_import: ImportRun, people: dict[str, Any]) -> None:
    assert "ValueError: the file has no rows" in page("engineer")
    before = failed_import.job_id
    address = f"/workers/failed/imports/{before}/"
    assert client(people, "engineer").post(address, {"do": "requeue"}).status_code == 302
    failed_import.refresh_from_db()
    assert (failed_import.status, failed_import.error) == (Status.QUEUED, "")
    assert django_rq.get_queue("imports").job_ids == [str(failed_import.job_id)]
    assert failed_import.job_id != before
    assert "ValueError" not in page("engineer")
    again = client(people, "engineer").post(address, {"do": "requeue"}, follow=True).content.decode()
    assert "no longer in the failed list" in again
    assert len(django_rq.get_queue("imports").job_ids) == 1


def test_a_failed_job_is_removed_and_its_run_stays(failed_import: ImportRun, people: dict[str, Any]) -> None:
    address = f"/workers/failed/imports/{failed_import.job_id}/"
    assert client(people, "owner").post(address, {"do": "remove"}).status_code == 302
    failed_import.refresh_from_db()
    assert failed_import.status == Status.FAILED
    assert django_rq.get_queue("imports").failed_job_registry.count == 0


def test_failed_jobs_without_a_run_are_for_staff(page: Callable[[str], str], people: dict[str, Any]) -> None:
    queue = django_rq.get_queue("webhooks")
    job = queue.enqueue("labeling.jobs.deliver", 5)
    queue.remove(job)
    fail_job(job, "RuntimeError: secret of nobody")
    assert "secret" not in page("engineer")
    assert "RuntimeError: secret of nobody" in page("staff")
    address = f"/workers/failed/webhooks/{job.id}/"
    assert client(people, "engineer").post(address, {"do": "requeue"}).status_code == 404
    assert client(people, "staff").post(address, {"do": "requeue"}).status_code == 302
    assert queue.job_ids == [job.id]


def test_workers_page_permissions(failed_import: ImportRun, people: dict[str, Any]) -> None:
    address = f"/workers/failed/imports/{failed_import.job_id}/"
    for name in ("annotator", "stranger"):
        assert client(people, name).get("/workers/").status_code == 403
        assert client(people, name).post(address, {"do": "requeue"}).status_code == 403
    assert client(people, "other").post(address, {"do": "remove"}).status_code == 404
    assert client(people, "engineer").get(address).status_code == 405
    assert client(people, "engineer").post(address, {"do": "dance"}).status_code == 400
    assert client(people, "engineer").post("/workers/failed/nothing/x/", {"do": "remove"}).status_code == 404
    assert Client().get("/workers/").status_code == 302
    failed_import.refresh_from_db()
    assert failed_import.status == Status.FAILED


def test_without_the_queue_the_page_shows_an_error(page: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[LiveWorker]:
        raise RedisConnectionError

    monkeypatch.setattr(worker_views, "live_workers", away)
    assert "The job queue is not reachable (ConnectionError)" in page("engineer")


def test_round_trips_with_many_jobs_and_workers(
    project: Project, people: dict[str, Any], queues: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = django_rq.get_queue("gpu")
    connection_: Any = queue.connection
    connection_.rpush(queue.key, *(f"job-{n}" for n in range(10_000)))
    now = timezone.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    names = [f"w{n}" for n in range(50)]
    for name in names:
        connection_.sadd("rq:workers", f"rq:worker:{name}")
        row: dict[str, Any] = {
            "hostname": "far", "pid": 1, "queues": "gpu", "last_heartbeat": now, "birth": now, "state": "busy",
        }  # fmt: skip
        connection_.hset(f"rq:worker:{name}", mapping=row)
    ImportRun.objects.bulk_create(
        ImportRun(project=project, created_at=timezone.now() - timedelta(hours=1)) for _ in range(1_000)
    )
    asked: list[int] = []
    from redis.connection import AbstractConnection

    read = AbstractConnection.send_packed_command

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(1)
        return read(self, *args, **options)

    try:
        monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
        viewer = client(people, "engineer")
        with CaptureQueriesContext(connection) as queries:
            answer = viewer.get("/workers/?part=live")
        text = answer.content.decode()
        assert text.count("process 1,") == 50
        assert "10,000" in text
        assert "<html" not in text
        assert len(asked) <= 20
        assert len(queries) <= 8
    finally:
        for name in names:
            connection_.delete(f"rq:worker:{name}")
            connection_.srem("rq:workers", f"rq:worker:{name}")
