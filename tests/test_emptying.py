"""The tables are empty after a test, whatever a request that was under way still saves."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from labeling.models import Document, Project
from tests.database import Emptying
from tests.labeling.label_desk import make_desk

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


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
        with transaction.atomic():
            Project.objects.select_for_update().get()
            desk.document()
            is_saved.set()
            wait_for(waits)  # the documents are deleted, and the project is next
        connection.close()

    request = threading.Thread(target=save_late)
    request.start()
    assert is_saved.wait(30)
    emptying._teardown(None)
    request.join()
    assert not Document.objects.exists()
