"""The request log: files of a gateway, moved to the database."""

import datetime
import fcntl
import resource
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from serving.gateway.request_log import LogEntry, RequestLogWriter, ensure_partition, now
from serving.models import RequestLog


def entry(**changes: Any) -> LogEntry:
    return LogEntry(**{"id": str(uuid.uuid4()), "created_at": now(), "project_id": 1, "protocol": "extract", **changes})


@pytest.fixture
def log(transactional_db: None, tmp_path: Path) -> RequestLogWriter:
    return RequestLogWriter(tmp_path / "log")


def flush(log: RequestLogWriter) -> None:
    log._close()
    log._store_files()  # in this thread, on the connection of the test


def test_a_line_that_is_no_row_does_not_hold_up_the_others(log: RequestLogWriter, tmp_path: Path) -> None:
    good = [entry(), entry(caller="an\0a", text="a\0"), entry()]
    bad = [entry(protocol="much longer than its column"), entry(id="no uuid"), entry(confidence={"a": "\0"})]
    for one in (good[0], bad[0], good[1], bad[1], good[2], bad[2]):
        log.write(one)
    flush(log)
    assert {str(row.id) for row in RequestLog.objects.all()} == {one.id for one in good}
    assert RequestLog.objects.get(id=good[1].id).caller == "an\ufffda"
    assert not list((tmp_path / "log").glob("*.jsonl"))
    [rejected] = (tmp_path / "log").glob("*.rejected")
    assert len(rejected.read_bytes().splitlines()) == len(bad)
    log.write(entry())
    flush(log)
    assert RequestLog.objects.count() == len(good) + 1


def test_a_line_that_was_written_in_part_is_no_success(log: RequestLogWriter, tmp_path: Path) -> None:
    """A disk that is almost full takes a part of a line, and reports no error."""
    first, second, third = entry(), entry(), entry()
    log.write(first)
    [file] = (tmp_path / "log").glob("*.jsonl")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(OSError):
                log.write(second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.write(third)
    flush(log)
    assert {str(row.id) for row in RequestLog.objects.all()} == {first.id, third.id}


def test_a_file_that_is_just_opened_is_not_taken_for_a_complete_one(
    log: RequestLogWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker stores the files of the folder between the opening of a file and its lock."""
    other, lock = RequestLogWriter(tmp_path / "log"), fcntl.flock

    def between(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        other._store_files()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", between)
    one = entry()
    log.write(one)
    flush(log)
    assert [str(row.id) for row in RequestLog.objects.all()] == [one.id]


def test_requests_of_the_default_partition_move_to_their_day(db: None) -> None:
    """They got there before the day had a partition, and would keep it from ever having one."""
    day = datetime.date(2001, 2, 3)
    for at in (day, day + datetime.timedelta(days=1)):
        RequestLog.objects.create(
            day=at, id=uuid.uuid4(), created_at=now(), project_id=1, protocol="extract", status=200,
            key_sha256="a" * 64, total_ms=1,
        )  # fmt: skip
    ensure_partition(day)
    ensure_partition(day)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, day FROM serving_requestlog ORDER BY day")
        assert cursor.fetchall() == [
            ("serving_requestlog_20010203", day),
            ("serving_requestlog_default", day + datetime.timedelta(days=1)),
        ]
