"""Jobs for the tests of the workers."""

import os
import subprocess
import sys
import time

from django.db import connection


def where() -> list[object]:
    """The process that runs the job and the database it sees, asked of the server itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        row = cursor.fetchone()
    return [os.getpid(), row[0] if row else None]


def supervise(seconds: float) -> None:
    """As a training does: waits for a child in a session of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True, stdin=subprocess.DEVNULL
    )
    while child.poll() is None:
        time.sleep(0.05)
