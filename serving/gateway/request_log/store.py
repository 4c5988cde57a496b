"""The files of the request log as rows. Lines are deleted once their rows are committed.

A row that was stored before a crash is recognized by its id. The use of each token is added up in the same statement,
so that it is neither lost nor counted twice.
"""

import contextlib
import fcntl
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date
from pathlib import Path

import orjson
from django.db import DataError, Error, IntegrityError, connection

from serving.gateway.request_log.writer import DEFAULTS, ensure_partition
from slmstudio.database.transactions import first_line

logger = logging.getLogger(__name__)
#: the end of the name of files with lines that cannot be rows
REJECTED = ".rejected"
#: seconds between two passes; while the database does not answer
STEP_SECONDS, RETRY_SECONDS = 0.5, 1.0
#: rows of one statement
_BATCH = 500
#: what a line that cannot be a row raises
_BAD_ROW = (DataError, IntegrityError, ValueError, TypeError)
_DAY = re.compile(rb'"created_at":"(\d{4}-\d{2}-\d{2})')
_COLUMNS = ", ".join(f'"{column}"' for column in DEFAULTS)
#: shadows are no requests of a caller. Sorted, so that two stores lock the days of tokens in the same order.
_INSERT = f"""
WITH stored AS (
    INSERT INTO serving_requestlog (day, {_COLUMNS})
    SELECT (created_at AT TIME ZONE 'UTC')::date, {_COLUMNS}
    FROM json_populate_recordset(NULL::serving_requestlog, %s)
    ON CONFLICT DO NOTHING
    RETURNING project_id, token_id, day, status, shadow_of, prompt_tokens + fallback_prompt_tokens AS prompt_tokens,
        output_tokens + fallback_output_tokens AS output_tokens
)
INSERT INTO serving_tokenusage (project_id, token_id, day, requests, answered, prompt_tokens, output_tokens)
SELECT project_id, coalesce(token_id, 0), day, count(*), count(*) FILTER (WHERE status = 200),
    sum(prompt_tokens), sum(output_tokens)
FROM stored WHERE shadow_of IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (project_id, token_id, day) DO UPDATE SET
    requests = serving_tokenusage.requests + excluded.requests,
    answered = serving_tokenusage.answered + excluded.answered,
    prompt_tokens = serving_tokenusage.prompt_tokens + excluded.prompt_tokens,
    output_tokens = serving_tokenusage.output_tokens + excluded.output_tokens
"""  # noqa: S608


class LogStore:
    """Stores the files of a folder, also those of gateways that have ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: set[str] = set()

    def store_files(self) -> int:
        """Stores everything that is complete; returns the number of lines. Raises DatabaseError."""
        number = 0
        for path in sorted(self._folder.glob("*.jsonl")):
            with _taken(path) as lines:
                for batch in _batches(lines):
                    self._store(batch, path)
                    number += len(batch)
                if lines is not None:
                    path.unlink(missing_ok=True)
        return number

    def _store(self, lines: list[bytes], path: Path) -> None:
        try:
            self._insert(lines)
        except _BAD_ROW as error:
            if len(lines) > 1:
                for line in lines:
                    self._store([line], path)
                return
            try:
                self._insert([_storable(lines[0])])
            except _BAD_ROW:  # it must not hold up the others
                logger.error("a line of the request log cannot be stored: %s", first_line(error))
                with path.with_suffix(REJECTED).open("ab") as rejected:
                    fcntl.flock(rejected, fcntl.LOCK_EX)
                    rejected.write(lines[0] + b"\n")

    def _insert(self, lines: list[bytes]) -> None:
        for day in {match[1].decode() for line in lines if (match := _DAY.search(line))} - self._days:
            ensure_partition(date.fromisoformat(day))
            self._days.add(day)
        rows = (b"[" + b",".join(lines) + b"]").decode()
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [rows])


def erase_rejected(
    folder: Path,
    project_id: int,
    *,
    caller: str = "",
    requests: Collection[str] = (),
    found: Callable[[str], bool] | None = None,
) -> int:
    """Deletes the rejected lines of a caller or of requests, with their shadows, or lines that ``found`` finds; returns
    their number.
    """
    erased = 0
    for path in sorted(folder.glob(f"*{REJECTED}")):
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = file.read().splitlines(keepends=True)
            kept = [line for line in lines if not _is_of(line, project_id, caller, requests, found)]
            file.seek(0)
            file.truncate()
            file.write(b"".join(kept))
            erased += len(lines) - len(kept)
            if not kept:
                path.unlink()
    return erased


def _is_of(
    line: bytes, project_id: int, caller: str, requests: Collection[str], found: Callable[[str], bool] | None
) -> bool:
    try:
        row = orjson.loads(line)
    except ValueError:
        return False
    if not isinstance(row, dict) or row.get("project_id") != project_id:
        return False
    if found is not None and found(line.decode(errors="replace")):
        return True
    named = row.get("caller") == caller if caller else False
    return named or row.get("id") in requests or row.get("shadow_of") in requests


def _storable(line: bytes) -> bytes:
    """A line without NUL, which PostgreSQL does not store, and with the columns that its writer did not know yet."""
    values = {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in orjson.loads(line).items()
    }
    return orjson.dumps({**DEFAULTS, **values})


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


def store_until(stopped: threading.Event, folder: Path) -> None:
    """Stores the files of a folder until it is stopped, and then a last time."""
    store = LogStore(folder)
    while True:
        is_last = stopped.is_set()
        has_answered = _answers(store)
        if is_last:
            return
        stopped.wait(STEP_SECONDS if has_answered else RETRY_SECONDS)


def _answers(store: LogStore) -> bool:
    """Whether the database answered."""
    try:
        store.store_files()
    except Error as error:
        logger.warning("the request log waits for the database: %s", first_line(error))
        connection.close()
        return False
    except Exception:  # the next pass tries again
        logger.exception("the request log could not be stored")
        connection.close()
        return False
    return True
