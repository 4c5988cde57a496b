"""The test database is empty after a test, whatever a request that was under way still saves."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from labeling.models import Document, Project
from tests.database import Emptying
from tests.labeling.label_desk import make_desk

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.skipif(
    "postgres" not in os.environ["SLM_TEST_EMBEDDED"].split(), reason="a server that was given is emptied by Django"
)
@pytest.mark.django_db(transaction=True)
def test_rows_that_are_saved_during_the_emptying_are_deleted(wait_for: Callable[..., None]) -> None:
    emptying = Emptying()
    desk = make_desk()
    is_saved = threading.Event()

    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0])

    def save_late() -> None:
        try:
            with transaction.atomic():
                Project.objects.select_for_update().get()
                desk.document()
                is_saved.set()
                wait_for(waits)  # the deletion of the project waits for this transaction
        finally:
            connection.close()

    with ThreadPoolExecutor() as pool:
        request = pool.submit(save_late)
        assert is_saved.wait(30)
        emptying._teardown(None)
        request.result()
    assert not Document.objects.exists()
