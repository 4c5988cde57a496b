"""The log of requests: first a line in a file on this disk, then, in the background, rows in the database.

A response is sent after its line was written to the file, so that a request that was answered is logged even if any one
process is killed the next moment. Lines are deleted once their rows are committed; a row that was stored before a crash
is recognized by its id. Files of processes that have ended are taken over by the next one.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from serving.gateway.database import in_database
from serving.models import RequestLog
from slmstudio.database.retries import first_line

logger = logging.getLogger(__name__)
FLUSH_SECONDS = 0.5
#: bytes of a file until the next one is begun, and rows of one statement
_MAX_FILE = 8 * 1024 * 1024
_BATCH = 500
#: what a line that cannot be a row raises
_BAD_ROW = (DataError, IntegrityError, ValidationError, ValueError, TypeError, KeyError)


@dataclass(slots=True)
class LogEntry:
    """One row of the log; see ``RequestLog``."""

    id: str
    created_at: str
    project_id: int
    protocol: str
    release_id: int | None = None
    token_id: int | None = None
    stage: str = ""
    source: str = ""
    shadow_of: str | None = None
    status: int = 0
    code: str = ""
    valid: bool | None = None
    key_sha256: str = ""
    caller: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    total_ms: float = 0.0
    queue_ms: float = 0.0
    model_ms: float = 0.0
    confidence: dict[str, Any] = field(default_factory=dict)
    calibrated: dict[str, float] = field(default_factory=dict)
    lowest: float | None = None
    needs_review: bool = False
    review_reason: str = ""
    automatic: bool = False
    audit_probability: float | None = None
    audited: bool = False
    fallback_reason: str = ""
    fallback_endpoint_id: int | None = None
    fallback_ms: float = 0.0
    fallback_code: str = ""
    fallback_prompt_tokens: int = 0
    fallback_output_tokens: int = 0
    cost: float | None = None
    detail: str = ""
    text: str = ""
    output: str = ""
    exchange: str = ""
    first_output: str = ""


class RequestLogWriter:
    """The log of one gateway process. ``folder``: on this host's disk, shared by its gateway processes."""

    def __init__(
        self,
        folder: Path,
        *,
        on_write: Callable[[LogEntry], None] = lambda entry: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._on_write, self._on_failure = on_write, on_failure
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._number = 0
        self._file: BinaryIO | None = None
        self._size = 0
        self._days: set[date] = set()

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._folder

    def write(self, entry: LogEntry) -> None:
        """Appends an entry. Raises OSError where the disk is full: the request must not be answered as a success."""
        try:
            self._append(orjson.dumps(entry) + b"\n")
        except OSError:
            self._on_failure()
            raise
        self._on_write(entry)

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
        """Moves lines into the database until it is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:  # the next pass tries again
                logger.exception("the request log could not be stored")

    async def flush(self) -> None:
        """Stores everything that was written so far."""
        self._close()
        try:
            await in_database(self._store_files, seconds=None)
        except DatabaseError as error:
            logger.warning("the request log waits for the database: %s", first_line(error))

    def _open(self) -> None:
        self._number += 1
        path = self._folder / f"{self._name}-{self._number:08}.jsonl"
        # It gets its name once it is locked: another process would take an empty file for one that is complete, and
        # delete it while this one writes.
        draft = path.with_suffix(".new")
        self._file = draft.open("ab", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)
        self._size = 0

    def _close(self) -> None:
        """Ends the current file, so that it can be stored; the next entry begins a new one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _store_files(self) -> None:
        for path in sorted(self._folder.glob("*.jsonl")):
            with _taken(path) as lines:
                for batch in _batches(lines):
                    self._store(batch, path)
                if lines is not None:
                    path.unlink(missing_ok=True)

    def _store(self, lines: list[bytes], path: Path) -> None:
        try:
            self._insert([_row(line) for line in lines])
        except _BAD_ROW as error:
            if len(lines) == 1:  # it must not hold up the others
                logger.error("a line of the request log cannot be stored: %s", first_line(error))
                with path.with_suffix(".rejected").open("ab") as rejected:
                    rejected.write(lines[0] + b"\n")
                return
            for line in lines:
                self._store([line], path)

    def _insert(self, rows: list[RequestLog]) -> None:
        for day in {row.day for row in rows} - self._days:
            ensure_partition(day)
            self._days.add(day)
        with transaction.atomic():
            RequestLog.objects.bulk_create(rows, ignore_conflicts=True)


@contextlib.contextmanager
def _taken(path: Path) -> Iterator[list[bytes] | None]:
    """The lines of a file that no other process writes or stores; None where one does."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # A process that was killed while it wrote leaves a last line without an end.
        yield [line for line in file.read().split(b"\n")[:-1] if line] if path.exists() else None


def _batches(lines: list[bytes] | None) -> Iterable[list[bytes]]:
    for at in range(0, len(lines or ()), _BATCH):
        yield (lines or [])[at : at + _BATCH]


def _row(line: bytes) -> RequestLog:
    # PostgreSQL stores no NUL.
    values: dict[str, Any] = {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in orjson.loads(line).items()
    }
    values["created_at"] = datetime.fromisoformat(values["created_at"])
    values["day"] = values["created_at"].astimezone(UTC).date()
    return RequestLog(**values)


def ensure_partition(day: date) -> None:
    """Creates the partition of a day where it is missing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT serving_ensure_partition(%s)", [day])


def now() -> str:
    """The current time as entries store it."""
    return datetime.now(UTC).isoformat()
