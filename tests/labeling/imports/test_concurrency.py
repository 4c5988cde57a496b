"""Imports on real connections and a real worker: at once, and after the web process has answered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from django.core.files.base import ContentFile
from django.db import connection

from labeling.imports.bulk_copy import ImportResult
from labeling.imports.services import start_import
from labeling.models import Document, Gold, ImportRun
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from tests.labeling.desk import bring_in, invoice, jsonl, make_desk


@pytest.mark.django_db(transaction=True)
def test_concurrent_imports_of_equal_rows() -> None:
    desk = make_desk()
    rows = [invoice(number) for number in range(600)]

    def work(mine: list[Any]) -> ImportResult:
        try:
            return bring_in(desk.project, mine)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(work, [rows, rows[::-1]]))
    assert sum(result.imported for result in results) == 600
    assert [result.rows for result in results] == [600, 600]
    assert Document.objects.count() == Gold.objects.count() == 600


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_killed_worker_loses_nothing(idle_workers: Any, wait_for: Callable[..., None]) -> None:
    desk = make_desk()
    bring_in(desk.project, [invoice(7)])
    count = 30_000
    rows: list[Any] = [
        *(invoice(number) if number < 900 else {"id": number, "text": f"{number} words"} for number in range(count))
    ]
    rows[5_000:5_000] = ["oops", {**invoice(8), "text": "other words under an id that is taken"}]
    upload = ContentFile(jsonl(rows), name="rows.jsonl")
    run = start_import(project=desk.project, user=desk.people["engineer"], file=upload)
    idle_workers.start("imports")
    wait_for(lambda: ImportRun.objects.get(pk=run.pk).progress_done, message=idle_workers.text)
    worker = psutil.Process(idle_workers.processes["imports"].pid)
    family = worker.children(recursive=True)
    idle_workers.kill("imports")
    for process in family:
        process.kill()
    psutil.wait_procs(family)

    run.refresh_from_db()
    there = Document.objects.count()
    assert run.status == Status.RUNNING, "it was killed too late"
    assert 1 < there < count, "it was killed too late"
    assert there == run.imported + 1, "a batch and its count are one transaction"
    assert requeue_interrupted() == [run]
    idle_workers.start("imports")
    wait_for(lambda: not ImportRun.objects.get(pk=run.pk).is_live, message=idle_workers.text)
    run.refresh_from_db()
    assert (run.status, run.imported + run.duplicates, run.rejected) == (Status.DONE, count, 2)
    assert run.imported == count - 1, "rows of the first attempt are no duplicates"
    assert (Document.objects.count(), Gold.objects.count()) == (count, 900)
