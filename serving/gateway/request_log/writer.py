"""The log of requests: a line in a file on this disk, which another process (``log_store``) moves to the database.

A response is sent after its line was written to the file, so that a request that was answered is logged even if any one
process is killed the next moment.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson
from django.db import connection

from serving.gateway.database import in_database
from serving.models import RequestLog

T = TypeVar("T")
#: seconds between attempts to find a request: it is stored about a second after its answer
WAITS = (0.3, 0.6, 1.2)

#: seconds until a file is complete and can be stored
ROTATE_SECONDS = 0.5


#: a row by column; see ``serving.models.RequestLog``
Row = dict[str, Any]
#: what a row has where its writer says nothing else
DEFAULTS: Row = {
    column.attname: None if column.null else column.get_default()
    for column in RequestLog._meta.concrete_fields
    if column.name != "day"
}


class RequestLogWriter:
    """The log of one gateway process. ``folder``: on this host's disk, shared by its gateway processes."""

    def __init__(
        self,
        folder: Path,
        *,
        on_write: Callable[[Row], None] = lambda row: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self._on_write, self._on_failure = on_write, on_failure
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._number = 0
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, row: Row) -> None:
        """Appends a row. Raises OSError where the disk is full: the request must not be answered as a success."""
        try:
            self._append(orjson.dumps(row) + b"\n")
        except OSError:
            self._on_failure()
            raise
        self._on_write(row)

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        try:
            # Unbuffered: the kernel has it when this returns. On a disk that is almost full it takes a part of it.
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)  # no half line
            raise
        self._size += len(line)

    async def run(self) -> None:
        """Completes the current file twice a second, until it is cancelled."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            self.complete()

    def complete(self) -> None:
        """Ends the current file, so that it can be stored; the next entry begins a new one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def stored(self, read: Callable[[], T | None]) -> T | None:
        """What ``read`` finds in the database. A request that was just answered may still be in a file, of this process
        or of another one. Raises DatabaseError."""
        for seconds in WAITS:
            if (value := await in_database(read)) is not None:
                return value
            self.complete()
            await asyncio.sleep(seconds)
        return await in_database(read)

    def _open(self) -> None:
        self._number += 1
        path = self.folder / f"{self._name}-{self._number:08}.jsonl"
        # It gets its name once it is locked: another process would take an empty file for one that is complete, and
        # delete it while this one writes.
        draft = path.with_suffix(".new")
        self._file = draft.open("ab", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)
        self._size = 0


def ensure_partition(day: date) -> None:
    """Creates the partition of a day where it is missing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT serving_ensure_partition(%s)", [day])


def now() -> str:
    """The current time as rows store it."""
    return datetime.now(UTC).isoformat()
