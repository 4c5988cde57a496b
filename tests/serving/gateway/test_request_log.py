"""The request log: files of a gateway, moved to the database."""

import datetime
import fcntl
import resource
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from serving.gateway.request_log.process import NICE, log_store
from serving.gateway.request_log.store import LogStore, erase_rejected
from serving.gateway.request_log.writer import DEFAULTS, RequestLogWriter, Row, ensure_partition, now
from serving.models import RequestLog, TokenUsage
from slmstudio.stack.processes import command
from tests.conftest import worker_environment


def entry(**changes: Any) -> Row:
    own = {"id": str(uuid.uuid4()), "created_at": now(), "project_id": 1, "protocol": "extract"}
    return {**DEFAULTS, "status": 200, "total_ms": 1.0, **own, **changes}


@pytest.fixture
def log(transactional_db: None, tmp_path: Path) -> RequestLogWriter:
    return RequestLogWriter(tmp_path / "log")


def flush(log: RequestLogWriter) -> None:
    log.complete()
    LogStore(log.folder).store_files()


def test_a_line_that_is_no_row_does_not_hold_up_the_others(log: RequestLogWriter, tmp_path: Path) -> None:
    good = [entry(), entry(caller="an\0a", text="a\0"), entry()]
    bad = [entry(protocol="much longer than its column"), entry(id="no uuid"), entry(confidence={"a": "\0"})]
    for row in (good[0], bad[0], good[1], bad[1], good[2], bad[2]):
        log.write(row)
    flush(log)
    assert {str(row.id) for row in RequestLog.objects.all()} == {row["id"] for row in good}
    assert RequestLog.objects.get(id=good[1]["id"]).caller == "an\ufffda"
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
    assert {str(row.id) for row in RequestLog.objects.all()} == {first["id"], third["id"]}


def test_a_file_that_is_just_opened_is_not_taken_for_a_complete_one(
    log: RequestLogWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker stores the files of the folder between the opening of a file and its lock."""
    other, lock = LogStore(tmp_path / "log"), fcntl.flock

    def between(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        other.store_files()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", between)
    row = entry()
    log.write(row)
    flush(log)
    assert [str(row.id) for row in RequestLog.objects.all()] == [row["id"]]


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


def test_the_use_of_a_token_is_added_up_once(log: RequestLogWriter, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    tokens = {"prompt_tokens": 30, "output_tokens": 12}
    larger = {"fallback_prompt_tokens": 300, "fallback_output_tokens": 10}
    first = entry(token_id=7, status=200, **tokens, **larger)
    failed = entry(token_id=7, status=502, **tokens)
    for row in (first, failed, entry(token_id=7, status=200, shadow_of=first["id"], **tokens), entry(status=429)):
        log.write(row)
    [file] = log.folder.glob("*.jsonl")
    kept.write_bytes(file.read_bytes())
    flush(log)
    (log.folder / "again.jsonl").write_bytes(kept.read_bytes())  # as after a kill before the file was deleted
    flush(log)
    used = {
        row.token_id: (row.requests, row.answered, row.prompt_tokens, row.output_tokens)
        for row in TokenUsage.objects.filter(project_id=1)
    }
    assert used == {7: (2, 1, 360, 34), 0: (1, 0, 0, 0)}


@pytest.mark.slow
def test_the_process_stores_what_is_there_and_what_is_left_at_its_end(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``bench.serving_faults`` kills it."""
    monkeypatch.setenv("DATABASE_URL", worker_environment()["DATABASE_URL"])
    log, first, last = RequestLogWriter(tmp_path / "log"), entry(), entry()
    log.write(first)
    log.complete()
    with log_store(log.folder, first="spawn"):
        deadline = time.monotonic() + 60
        while not RequestLog.objects.filter(id=first["id"]).exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert any(child.nice() == NICE for child in psutil.Process().children() if command(child))
        log.write(last)
        log.complete()
    assert RequestLog.objects.filter(id=last["id"]).exists()
    assert not list(log.folder.glob("*.jsonl"))
    RequestLog.objects.all().delete()


def test_rejected_lines_are_erased(log: RequestLogWriter, tmp_path: Path) -> None:
    bad = {"protocol": "much longer than its column"}
    kept = [entry(caller="ben", **bad), entry(caller="jane", project_id=2, **bad)]
    named, by_id = entry(caller="jane", **bad), entry(**bad)
    shadow = entry(shadow_of=by_id["id"], **bad)
    for row in (kept[0], named, by_id, shadow, kept[1]):
        log.write(row)
    flush(log)
    assert erase_rejected(log.folder, 1, caller="jane") == 1
    assert erase_rejected(log.folder, 1, requests=[by_id["id"]]) == 2
    [file] = log.folder.glob("*.rejected")
    assert [row["id"] in file.read_text() for row in (*kept, named, by_id, shadow)] == [True, True, False, False, False]
    assert erase_rejected(log.folder, 1, caller="ben") + erase_rejected(log.folder, 2, caller="jane") == 2
    assert not list(log.folder.glob("*.rejected"))
