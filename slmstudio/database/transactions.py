"""Transactions that are under way while something that they have read changes."""

import time

from django.db import connection

#: seconds that a save may take; what takes longer is no save
MAX_SAVE_SECONDS = 10.0


def running() -> set[tuple[int, str]]:
    """The writing transactions of now, each with its process. Asked right after a commit, those of them that began
    before may have read what was there before.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, backend_xid::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return set(cursor.fetchall())


def wait_for(transactions: set[tuple[int, str]]) -> None:
    """Waits until these have ended, at most ``LONGEST_SAVE``; saves take milliseconds."""
    end = time.monotonic() + MAX_SAVE_SECONDS
    while transactions & running() and time.monotonic() < end:
        time.sleep(0.05)
