"""Imports: an uploaded file becomes documents in a background job, and every row is counted.

Each batch is a transaction that also saves the progress. An interrupted import resumes with the same counts; one that
is restarted finds its rows as duplicates.
"""

import json
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.db import transaction

from labeling.documents import search_index
from labeling.imports import reservations, uploads
from labeling.imports.bulk_copy import Batch, ImportResult, Reject, batches, import_rows, write
from labeling.imports.formats.base import Context, Progress
from labeling.imports.formats.registry import FORMATS, OpenFile, open_file, options_error
from labeling.imports.rows import MISFIT, ParsedRow, ReadError
from labeling.imports.uploads import Upload
from labeling.integrations import events
from labeling.models import ImportRun, IndexRun, Project, SchemaVersion
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts

#: between updates of the page progress
PAGE_PROGRESS_SECONDS = 1.0
#: without a row or a page, after which an import fails: it would block the queue
READ_SECONDS = 600.0


def start_import(
    *,
    project: Project,
    user: User,
    file: "File[bytes] | None" = None,
    file_name: str = "",
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    as_holdout: bool = False,
    synthetic: bool = False,
) -> ImportRun:
    """Stores a file and queues its import. ``kind`` is the name of a format; None: it is detected.

    Raises:
        Refused: the file is empty, too large, or its format is not supported; an option is invalid.
    """
    require(project, user, Action.CURATE)
    if kind and kind not in FORMATS:
        raise Refused(f"Unknown format {kind}. The formats are {', '.join(FORMATS)}.", field="file")
    if file is None:
        raise Refused("Choose a file.", field="file")
    if file_name:
        file.name = file_name
    upload = uploads.store_upload(files=[file], kind=kind or "")
    try:
        if error := options_error(options or {}, upload.kind):
            raise Refused(error, field="options")
        return start_upload(
            project=project, user=user, upload=upload, options=options, as_holdout=as_holdout, synthetic=synthetic
        )
    except Refused:
        artifacts.store().delete(upload.key)
        raise


def start_upload(
    *,
    project: Project,
    user: User,
    upload: Upload,
    options: dict[str, Any] | None = None,
    as_holdout: bool = False,
    synthetic: bool = False,
) -> ImportRun:
    """Queues the import of a stored upload.

    Raises:
        Refused: the project's storage is full. The upload stays: another import may use it.
    """
    require(project, user, Action.CURATE)
    if problem := quotas.storage_problem(project):
        raise Refused(problem, field="file", code="quota")
    run = ImportRun(
        project=project,
        file_name=upload.name[:200],
        upload_key=upload.key,
        kind=upload.kind,
        options=options or {},
        as_holdout=as_holdout,
        synthetic=synthetic,
        created_by=user,
    )
    run.full_clean()
    with transaction.atomic():
        run.save()
        run.enqueue()
    return run


def restart(*, run: ImportRun, user: User) -> ImportRun | None:
    """Queues a failed or cancelled import again, from its stored file; None if that is not possible.

    Raises:
        Refused: the project's storage is full; the file stays.
    """
    require(run.project, user, Action.CURATE)
    if run.status not in (Status.FAILED, Status.CANCELLED) or not artifacts.store().exists(run.upload_key):
        return None
    return start_upload(
        project=run.project,
        user=user,
        upload=Upload(run.upload_key, run.file_name, run.kind),
        options=run.options,
        as_holdout=run.as_holdout,
        synthetic=run.synthetic,
    )


def insert_rows(
    *,
    project: Project,
    user: User,
    rows: Iterable[Any],
    source: str = "API",
    as_holdout: bool = False,
    synthetic: bool = False,
) -> ImportResult:
    """Imports rows (``{"id", "text", "gold", "tags", ...}`` or ParsedRow, numbered from 1) immediately.

    For up to some thousands; import a file for more. Every row is counted; the result names the first hundred rejects.
    """
    require(project, user, Action.CURATE, Action.DEPLOY, Action.REVIEW)
    parsed = (row if isinstance(row, ParsedRow) else ParsedRow(number, row) for number, row in enumerate(rows, 1))
    result = import_rows(
        project=project, rows=parsed, source=source, as_holdout=as_holdout, synthetic=synthetic, user=user
    )
    if result.imported:
        search_index.index_text(project.pk)
    return result


# -- reads ------------------------------------------------------------------------------------------------------------


def index_run_of(run: ImportRun) -> IndexRun | None:
    """The run that indexes the documents of an import, once it is queued."""
    return run.project.index_runs.filter(created_at__gte=run.created_at).order_by("pk").first()


def most_labels_misfit(run: ImportRun) -> bool:
    """Whether most rows of an import have a label that the schema rejects, by the rejected rows that it keeps."""
    shown = sum(row["reason"].startswith(MISFIT) for row in run.rejects)
    return bool(shown) and 2 * shown * run.rejected > len(run.rejects) * (run.imported + run.rejected)


# -- the job -----------------------------------------------------------------------------------------------------------


def process(run: ImportRun) -> None:
    """Runs a claimed import: reads its file, writes documents, saves progress, ends the run.

    Raises:
        ReadError: the file cannot be read.
        FileNotFoundError: the file is no longer stored.
    """
    with (
        uploads.local_path(run.upload_key) as path,
        tempfile.TemporaryDirectory(prefix="import-") as folder,
        tempfile.TemporaryFile("w+b") as rejects,
    ):
        try:
            result, encoding = _import(run, path, Path(folder), rejects)
        except BaseException:
            if rejects.tell():
                run.record(rejects_key=_store_rejects(run, rejects))
            raise
        finally:
            # The documents of an import that fails are searchable too, and a part of them is reserved.
            search_index.index_text(run.project_id)
            reservations.reserve(run)
        key = _store_rejects(run, rejects) if result.rejected else ""
    ended = {**_columns(result), "encoding": encoding, "progress_done": result.rows, "rejects_key": key}
    with transaction.atomic():
        if result.stopped:
            run.cancelled(**ended)
        else:
            run.finish(**ended, progress_total=result.rows)
        events.emit(run.project, "import.finished", _event_payload(run))
    if run.status == Status.DONE:
        artifacts.store().delete(run.upload_key)
    uploads.delete_expired()


def fail(run: ImportRun, error: str) -> None:
    """Ends an import with an error. The documents that it imported stay."""
    with transaction.atomic():
        if run.fail(error):
            events.emit(run.project, "import.finished", _event_payload(run))


def _import(run: ImportRun, path: Path, folder: Path, rejects: IO[bytes]) -> tuple[ImportResult, str]:
    """The result, and the encodings of the texts."""

    def write_reject(reject: Reject, raw: str) -> None:
        rejects.write(f"{json.dumps({**reject, 'line': raw}, ensure_ascii=False)}\n".encode(errors="replace"))

    resumed = ResumedCounts(run)
    result = ImportResult()
    with _prefetcher(run, path, folder) as ahead:
        _insert_batches(run, ahead, resumed, result, write_reject)
        return result, ", ".join(ahead.opened.progress.encodings)[:120]


def _insert_batches(
    run: ImportRun,
    ahead: "Prefetcher",
    resumed: "ResumedCounts",
    result: ImportResult,
    on_reject: Callable[[Reject, str], None],
) -> None:
    since, pages = time.monotonic(), 0
    while True:
        batch = ahead.next(timeout=min(PAGE_PROGRESS_SECONDS, settings.RUN_HEARTBEAT_SECONDS))
        if batch is None and ahead.ended:
            return
        progress = ahead.opened.progress
        if batch is not None or progress.pages_done != pages:
            since, pages = time.monotonic(), progress.pages_done
        if batch is None:  # no batch yet: a page is being read
            if time.monotonic() - since > READ_SECONDS:
                raise ReadError(f"Nothing could be read for {READ_SECONDS / 60:.0f} minutes.")
            if not run.send_heartbeat(**_page_progress(progress)):
                resumed.stopped(result)
                return
            continue
        total = round((result.rows + len(batch.parsed)) / batch.share) if batch.share else 0
        is_live = [True]

        def beat(partial: ImportResult, total: int = total, is_live: list[bool] = is_live) -> None:
            resumed.add_to(partial)
            is_live[0] = run.send_heartbeat(
                stage="importing",
                progress_done=partial.rows,
                progress_total=max(total, partial.rows),
                **{**_columns(partial), "imported": partial.imported + resumed.imported},
            )

        write(run, batch, result, on_reject, within=beat)
        _delete_images(batch.parsed)
        if not is_live[0]:
            resumed.stopped(result)
            return


def _page_progress(progress: Progress) -> dict[str, Any]:
    """The progress while the pages of a file are read; a zip counts rows, so its pages are in the stage."""
    done, total = progress.pages_done, progress.pages_total
    if not total:
        return {"stage": "reading"}
    if not progress.file:
        return {"stage": "reading pages", "progress_done": done, "progress_total": total}
    return {"stage": f"reading {progress.file[-60:]}, page {done:,} of {total:,}"}


class ResumedCounts:
    """Rows that this import had imported before it was interrupted, which are no duplicates."""

    def __init__(self, run: ImportRun) -> None:
        self.imported = run.imported

    def add_to(self, result: ImportResult) -> None:
        """Counts as imported, not as duplicates, the rows that were imported before."""
        repeated = min(self.imported, result.duplicates)
        result.duplicates -= repeated
        result.imported += repeated
        self.imported -= repeated

    def stopped(self, result: ImportResult) -> None:
        """Marks a result as stopped, and adds the rows that were not read again."""
        result.imported += self.imported
        result.stopped = True


@contextmanager
def _prefetcher(run: ImportRun, path: Path, folder: Path) -> Iterator["Prefetcher"]:
    version = run.project.schema_version
    stop = threading.Event()
    context = Context(version.compiled, folder, run.options, stop.is_set)
    with open_file(path, run.kind, run.file_name, context) as opened, Prefetcher(opened, version, stop) as ahead:
        yield ahead


def _delete_images(rows: list[ParsedRow]) -> None:
    for row in rows:
        for page in row.pages:
            if page.image is not None:
                page.image.unlink(missing_ok=True)


def _columns(result: ImportResult) -> dict[str, Any]:
    return {
        "imported": result.imported,
        "duplicates": result.duplicates,
        "rejected": result.rejected,
        "rejects": result.rejects,
    }


def _event_payload(run: ImportRun) -> dict[str, Any]:
    return {
        "import": run.pk,
        "file": run.file_name,
        "state": run.status,
        "imported": run.imported,
        "duplicates": run.duplicates,
        "rejected": run.rejected,
    }


def _store_rejects(run: ImportRun, rejects: IO[bytes]) -> str:
    rejects.seek(0)
    return str(artifacts.store().save(f"imports/{run.pk}/rejected.jsonl", File(rejects)))


# -- reading ahead -----------------------------------------------------------------------------------------------------


_MAX_BATCHES = 2
#: for the row that is being read; a thread that takes longer is left to end with its process
EXIT_SECONDS = 120.0


class Prefetcher:
    """Batches of a file, validated under a schema version. The thread does not use the database.

    ``stop`` ends the thread.
    """

    def __init__(self, opened: OpenFile, version: SchemaVersion, stop: threading.Event) -> None:
        version.compiled  # noqa: B018 - compiled here, where the database can be used
        self.opened, self._version, self._stop = opened, version, stop
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_MAX_BATCHES)
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self.ended = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        until = time.monotonic() + EXIT_SECONDS
        while self._thread.is_alive() and time.monotonic() < until:
            try:  # a full queue would block the thread
                self._queue.get(timeout=0.1)
            except queue.Empty:
                continue

    def next(self, timeout: float) -> Batch | None:
        """The next batch; None after ``timeout`` seconds or after the last batch, which sets ``ended``.

        Raises the errors of the reader.
        """
        try:
            item = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        self.ended = item is None
        return item

    def _work(self) -> None:
        last: BaseException | None = None
        try:
            for batch in batches(self.opened.rows, lambda: self.opened.progress.share):
                batch.validate(self._version)
                self._queue.put(batch)
                if self._stop.is_set():
                    return
        except BaseException as error:
            last = error
        self._queue.put(last)
