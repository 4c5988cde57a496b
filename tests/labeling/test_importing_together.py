"""Imports on real connections and a real worker: at once, and after the web process has answered."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection

from labeling.models import Document, Gold, ImportRun
from labeling.services.importing import ImportResult, start_import
from slmstudio.runs import Status
from tests.labeling.desk import bring_in, invoice, jsonl, make_desk


@pytest.mark.django_db(transaction=True)
def test_two_imports_of_the_same_rows_at_once_bring_each_in_once() -> None:
    desk = make_desk()
    rows = [invoice(number) for number in range(1200)]

    def work(mine: list[Any]) -> ImportResult:
        try:
            return bring_in(desk.project, mine)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(work, [rows, rows[::-1]]))
    assert sum(result.imported for result in results) == 1200
    assert [result.rows for result in results] == [1200, 1200]
    assert Document.objects.count() == Gold.objects.count() == 1200


@pytest.mark.django_db(transaction=True)
def test_a_worker_does_the_import(workers: Any, wait_for: Callable[..., None]) -> None:
    desk = make_desk()
    upload = ContentFile(jsonl([invoice(1), "oops"]), name="rows.jsonl")
    run = start_import(project=desk.project, user=desk.people["engineer"], file=upload)
    wait_for(lambda: not ImportRun.objects.get(pk=run.pk).is_live, message=workers.text)
    run.refresh_from_db()
    assert (run.status, run.imported, run.rejected) == (Status.DONE, 1, 1)
