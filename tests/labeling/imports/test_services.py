"""Imports: every row is accounted for, nothing comes in twice, gold is gold, memory stays flat."""

import json
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.imports import bulk_copy
from labeling.imports import services as import_services
from labeling.imports.bulk_copy import import_rows
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.rows import ParsedRow
from labeling.imports.services import start_import
from labeling.jobs import run_import
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    ImportRun,
    Origin,
)
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage import artifacts
from tests.labeling.desk import SEED_ROW, SEED_TEXT, Desk, bring_in, invoice, jsonl, make_desk

pytestmark = pytest.mark.django_db


def start(desk: Desk, data: bytes, **more: Any) -> ImportRun:
    return start_import(
        project=desk.project, user=desk.people["engineer"], file=ContentFile(data, name="rows.jsonl"), **more
    )


def test_seed_example_is_imported_exactly(desk: Desk) -> None:
    result = bring_in(desk.project, [SEED_ROW], user=desk.people["engineer"])
    assert (result.imported, result.with_gold) == (1, 1)
    document = Document.objects.get()
    assert (document.external_id, document.text, document.state) == ("seed", SEED_TEXT, DocumentState.SUBMITTED)
    gold = Gold.objects.get()
    assert gold.origin == Origin.IMPORTED
    assert gold.revision.value["total_amount"] == Decimal("1248.50")
    assert str(gold.revision.value["total_amount"]) == "1248.50"
    assert gold.revision.action == AnnotationRevision.Action.IMPORT
    assert gold.revision.user == desk.people["engineer"]
    annotation = Annotation.objects.get()
    assert (annotation.valid, annotation.submitted, annotation.version) == (True, True, 1)


def test_every_row_is_counted(desk: Desk) -> None:
    rows = [invoice(1), invoice(2, gold=False), invoice(1), {"id": "x"}, "{not json", {**invoice(9), "id": "inv-0001"}]
    result = bring_in(desk.project, rows)
    assert (result.imported, result.duplicates, result.rejected) == (2, 1, 3)
    assert result.rows == len(rows)
    assert [reject["row"] for reject in result.rejects] == [4, 5, 6]
    assert result.rejects[2]["reason"] == "the id inv-0001 belongs to a document with a different text"
    assert Gold.objects.count() == 1
    assert Document.objects.get(external_id="inv-0002").state == DocumentState.NEW
    again = bring_in(desk.project, [invoice(1), {**invoice(1), "id": "another-id"}, {**invoice(3), "gold": None}])
    assert (again.imported, again.duplicates, again.rejected) == (1, 2, 0)
    assert (Document.objects.count(), AnnotationRevision.objects.count()) == (3, 1)
    assert Document.objects.get(external_id="inv-0003").state == DocumentState.NEW


def test_holdout_synthetic_tags_and_metadata_are_kept(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, tags=["ocr_noise"], page={"width": 1.50})], as_holdout=True, synthetic=True)
    document = Document.objects.get()
    assert (document.holdout, document.synthetic, document.tags) == (True, True, ["ocr_noise"])
    assert str(document.metadata["page"]["width"]) == "1.5"
    assert Gold.objects.get().origin == Origin.SYNTHETIC


def test_batch_query_count_is_constant(desk: Desk) -> None:
    def queries(start: int, count: int) -> int:
        rows = [invoice(number) for number in range(start, start + count)]
        with CaptureQueriesContext(connection) as captured:
            bring_in(desk.project, rows)
        return len(captured)

    assert queries(0, 10) == queries(1000, bulk_copy.BATCH)


@pytest.mark.slow
def test_import_memory_is_constant(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_copy, "BATCH", 400)

    def peak(count: int) -> int:
        def rows() -> Iterator[ParsedRow]:
            for number in range(count):
                yield ParsedRow(number + 1, {"text": f"{count} {number} " + "x" * 2_000})

        tracemalloc.start()
        import_rows(project=desk.project, rows=rows(), source="generated")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    small = peak(bulk_copy.BATCH)
    assert peak(6 * bulk_copy.BATCH) < 1.5 * small


def test_long_rows_make_small_batches() -> None:
    rows = jsonl([{"text": f"{number} " + "x" * 900_000} for number in range(8)])
    assert [len(batch.parsed) for batch in bulk_copy.batches(parse_jsonl(BytesIO(rows)))] == [5, 3]


def test_job_imports_once(desk: Desk) -> None:
    run = start(desk, jsonl([invoice(1), "oops", invoice(2), invoice(1)]))
    run_import(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE
    assert (run.imported, run.duplicates, run.rejected) == (2, 1, 1)
    assert (run.progress_done, run.progress_total) == (4, 4)
    assert run.rejects[0]["row"] == 2
    with artifacts.store().open(run.rejects_key) as file:
        (line,) = [json.loads(text) for text in file]
    assert (line["row"], line["line"]) == (2, "oops")

    run_import(run.pk)
    run.refresh_from_db()
    assert (run.imported, run.duplicates) == (2, 1), "a job delivered twice works once"


def test_all_rejects_are_in_the_file(desk: Desk) -> None:
    run = start(desk, jsonl(["oops"] * 150))
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.rejected, len(run.rejects)) == (150, 100)
    with artifacts.store().open(run.rejects_key) as file:
        assert len(file.readlines()) == 150


def test_cancelled_missing_and_empty_uploads(desk: Desk) -> None:
    with pytest.raises(Refused, match="empty"):
        start(desk, b"")
    assert not ImportRun.objects.exists()
    cancelled, missing, blank = (
        start(desk, jsonl([invoice(1)])),
        start(desk, jsonl([invoice(1)])),
        start(desk, b"\n \n"),
    )
    assert cancelled.cancel()
    artifacts.store().delete(missing.upload_key)
    for run in (cancelled, missing, blank):
        run_import(run.pk)
        run.refresh_from_db()
        assert run.imported == 0
    assert [run.status for run in (cancelled, missing, blank)] == [Status.CANCELLED, Status.FAILED, Status.DONE]
    assert "Upload it again" in missing.error
    assert not Document.objects.exists()


def test_real_receipts(shared: Path) -> None:
    path = shared / "data" / "sroie" / "receipts.jsonl"
    if not path.exists():
        pytest.skip(f"no receipts at {path}")
    receipts = make_desk("receipts", template="receipt")
    with path.open("rb") as file:
        result = import_rows(project=receipts.project, rows=parse_jsonl(file), source=path.name)
    assert result.rows == len(path.read_text().splitlines())
    assert result.with_gold > 600


def test_interrupted_import_resumes_with_equal_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, queues: None
) -> None:
    """As after kill -9: the run stands as running with what its last batch noted, and the reaper queues it again."""
    monkeypatch.setattr(bulk_copy, "BATCH", 10)
    bring_in(desk.project, [invoice(0), invoice(45)])
    run = start(desk, jsonl([*(invoice(number) for number in range(50)), "oops"]))
    write, calls = bulk_copy.write, []

    def killed(*args: Any, **more: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise SystemExit
        write(*args, **more)

    monkeypatch.setattr(import_services, "write", killed)
    with pytest.raises(SystemExit):
        run_import(run.pk)
    run.refresh_from_db()
    assert (run.status, run.imported, run.duplicates) == (Status.RUNNING, 19, 1)
    assert Document.objects.count() == 21

    monkeypatch.setattr(import_services, "write", write)
    lose(run)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.status, run.imported, run.duplicates, run.rejected) == (Status.DONE, 48, 2, 1)
    assert Document.objects.count() == 50


def lose(run: ImportRun) -> None:
    """The reaper finds a run whose worker was killed."""
    ImportRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    assert run in reap_lost_runs()


def test_import_that_kills_every_worker_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch, queues: None) -> None:
    def killed(*args: Any, **more: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(import_services, "write", killed)
    run = start(desk, jsonl([invoice(1)]))
    for status in (Status.QUEUED, Status.QUEUED, Status.FAILED):
        with pytest.raises(SystemExit):
            run_import(run.pk)
        lose(run)
        run.refresh_from_db()
        assert run.status == status


def test_a_running_import_stops_when_it_is_cancelled_and_continues_when_it_is_restarted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_copy, "BATCH", 10)
    run = start(desk, jsonl([invoice(number) for number in range(50)]))
    write = bulk_copy.write

    def cancelling(*args: Any, **more: Any) -> None:
        ImportRun.objects.filter(pk=run.pk).update(cancel_requested=True)
        write(*args, **more)

    monkeypatch.setattr(import_services, "write", cancelling)
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.status, run.imported, Document.objects.count()) == (Status.CANCELLED, 10, 10)
    monkeypatch.setattr(import_services, "write", write)
    again = import_services.restart(run=run, user=desk.people["engineer"])
    assert again is not None
    run_import(again.pk)
    again.refresh_from_db()
    assert (again.status, again.imported, again.duplicates) == (Status.DONE, 40, 10)
    assert Document.objects.count() == Gold.objects.count() == 50


def test_reader_error_keeps_imported_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_copy, "BATCH", 10)

    def broken(stream: Any) -> Iterator[ParsedRow]:
        yield from (ParsedRow(number + 1, invoice(number)) for number in range(10))
        yield ParsedRow(11, error="bad row", raw="bad")
        yield from (ParsedRow(number + 1, invoice(number)) for number in range(11, 20))
        raise OSError("the disk went away")

    monkeypatch.setattr("labeling.imports.formats.jsonl.parse_jsonl", broken)
    run = start(desk, b"{}\n")
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.status, run.imported, run.rejected) == (Status.FAILED, 19, 1)
    assert "the disk went away" in run.error
    with artifacts.store().open(run.rejects_key) as file:
        assert b"bad row" in file.read()
    assert desk.project.index_runs.count() == 1


def test_import_that_reads_nothing_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps what it has imported, and does not wait for its reader."""
    monkeypatch.setattr(bulk_copy, "BATCH", 10)
    monkeypatch.setattr(import_services, "READ_SECONDS", 0.2)
    monkeypatch.setattr(import_services, "PAGE_PROGRESS_SECONDS", 0.05)
    monkeypatch.setattr(import_services, "EXIT_SECONDS", 0.2)
    released = threading.Event()

    def endless(stream: Any) -> Iterator[ParsedRow]:
        yield from (ParsedRow(number + 1, invoice(number)) for number in range(11))
        released.wait()

    monkeypatch.setattr("labeling.imports.formats.jsonl.parse_jsonl", endless)
    run = start(desk, b"{}\n")
    try:
        run_import(run.pk)
    finally:
        released.set()
    run.refresh_from_db()
    assert (run.status, run.imported) == (Status.FAILED, 10)


def test_progress_is_the_share_of_the_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_copy, "BATCH", 1_000)
    progress: list[tuple[int, int]] = []
    write = bulk_copy.write

    def noting(*args: Any, **more: Any) -> None:
        write(*args, **more)
        run.refresh_from_db()
        progress.append((run.progress_done, run.progress_total))

    monkeypatch.setattr(import_services, "write", noting)
    run = start(desk, jsonl([{"id": str(n), "text": f"{n} " + "x" * 2_000} for n in range(6_000)]))
    run_import(run.pk)
    assert [done for done, _ in progress] == [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]
    assert all(5_000 <= total <= 9_000 for _, total in progress[1:]), progress
