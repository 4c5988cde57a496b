"""Imports: an uploaded file becomes documents in the background, and every row of it is accounted for.

What is imported stays: each batch is a transaction that also notes how far the import got, so an import that was
interrupted goes on with the same counts, and one that is started again finds its rows there already.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.db import transaction

from labeling.documents import search_index
from labeling.imports import uploads
from labeling.imports.bulk_copy import ImportResult, Reject, Task, import_rows, write
from labeling.imports.formats import KINDS, Context
from labeling.imports.formats import options as reading_options
from labeling.imports.formats.readers import Reading, open_rows
from labeling.imports.read_ahead import ReadAhead
from labeling.imports.rows import ParsedRow, parse_jsonl
from labeling.imports.uploads import MAX_UPLOAD, Upload
from labeling.integrations import webhooks
from labeling.models import ImportRun, Project
from slmstudio import quotas
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts

#: seconds between two looks at how many pages of a scan are read
PAGE_SECONDS = 1.0

__all__ = [
    "MAX_UPLOAD",
    "ImportResult",
    "ParsedRow",
    "Reject",
    "again",
    "import_rows",
    "insert_rows",
    "parse_jsonl",
    "process",
    "start_import",
    "start_upload",
]


def start_import(
    *,
    project: Project,
    user: User,
    file: File | None = None,
    file_name: str = "",
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    as_holdout: bool = False,
    synthetic: bool = False,
) -> ImportRun:
    """Stores a file and queues its import. ``kind`` is one of ``reading.KINDS``; None: it is seen from the file.

    Raises:
        Refused: the file is empty, too large, or of a kind that is not read; an option is not one of its kind.
    """
    if kind and kind not in KINDS:
        raise Refused(f"There is no kind of file called {kind}. There are {', '.join(KINDS)}.")
    if file is None:
        raise Refused("Choose a file.")
    if file_name:
        file.name = file_name
    upload = uploads.keep(files=[file], kind=kind or "")
    try:
        if wrong := reading_options.problem(options or {}, upload.kind):
            raise Refused(wrong)
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
    """Queues the import of an upload that is stored already.

    Raises:
        Refused: the project's storage is full. The upload stays: another import may have accepted it before.
    """
    if why := quotas.storage_problem(project):
        raise Refused(why)
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


def again(*, run: ImportRun, user: User) -> ImportRun | None:
    """Queues an import that failed or was cancelled once more, from the file that is stored; None: it cannot be.

    Raises:
        Refused: the project's storage is full; the file stays.
    """
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
    """Imports rows that are here already (``{"id", "text", "gold", "tags", ...}``, or ParsedRow), numbered from 1, at
    once.

    For some thousands; more belong into a file. Every row is counted, and the first hundred rejects are named.
    """
    parsed = (row if isinstance(row, ParsedRow) else ParsedRow(number, row) for number, row in enumerate(rows, 1))
    result = import_rows(
        project=project, rows=parsed, source=source, as_holdout=as_holdout, synthetic=synthetic, user=user
    )
    if result.imported:
        search_index.index_text(project.pk)
    return result


# -- the job -----------------------------------------------------------------------------------------------------------


def process(run: ImportRun) -> None:
    """Does a claimed import: reads its file, imports, notes progress, ends the run.

    Raises:
        ReadError: the file as a whole cannot be read.
        FileNotFoundError: it is gone.
    """
    with (
        uploads.local(run.upload_key) as path,
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
            # What an import that breaks has brought in is searched too.
            search_index.index_text(run.project_id)
        key = _store_rejects(run, rejects) if result.rejected else ""
    ended = {**_columns(result), "encoding": encoding, "progress_done": result.rows, "rejects_key": key}
    with transaction.atomic():
        if result.stopped:
            run.cancelled(**ended)
        else:
            run.finish(**ended, progress_total=result.rows)
        webhooks.emit(run.project, "import.finished", _told(run))
    if run.status == Status.DONE:
        artifacts.store().delete(run.upload_key)
    uploads.throw_away_old()


def fail(run: ImportRun, error: str) -> None:
    """Ends an import that cannot go on, with a sentence; what it brought in stays."""
    with transaction.atomic():
        if run.fail(error):
            webhooks.emit(run.project, "import.finished", _told(run))


def _import(run: ImportRun, path: Path, folder: Path, rejects: IO[bytes]) -> tuple[ImportResult, str]:
    """What came of it, and the encodings that were read."""

    def note(reject: Reject, raw: str) -> None:
        line = {"row": reject.row, "id": reject.id, "reason": reject.reason, "line": raw}
        if reject.file:
            line["file"] = reject.file
        rejects.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode(errors="replace"))

    task = Task(run.project, run.file_name, run.as_holdout, run.synthetic, run.created_by, f"import-{run.pk}")
    before = _Before(run)
    result = ImportResult()
    with _reading(run, path, folder) as ahead:
        _work_through(run, ahead, before, result, task, note)
        return result, ", ".join(ahead.reading.encodings)[:120]


def _work_through(
    run: ImportRun,
    ahead: ReadAhead,
    before: "_Before",
    result: ImportResult,
    task: Task,
    note: Callable[[Reject, str], None],
) -> None:
    while True:
        batch = ahead.next(timeout=min(PAGE_SECONDS, settings.RUN_HEARTBEAT_SECONDS))
        if batch is None and ahead.ended:
            return
        if batch is None:  # nothing yet: a page is being read
            if not run.send_heartbeat(**_pages(run, ahead.reading)):
                before.stopped(result)
                return
            continue
        total = round((result.rows + len(batch.parsed)) / batch.share) if batch.share else 0
        go_on = [True]

        def beat(so_far: ImportResult, total: int = total, go_on: list[bool] = go_on) -> None:
            before.settle(so_far)
            go_on[0] = run.send_heartbeat(
                stage="importing",
                progress_done=so_far.rows,
                progress_total=max(total, so_far.rows),
                **{**_columns(so_far), "imported": so_far.imported + before.imported},
            )

        write(task, batch, result, note, within=beat)
        _throw_away_images(batch.parsed)
        if not go_on[0]:
            before.stopped(result)
            return


def _pages(run: ImportRun, reading: Reading) -> dict[str, Any]:
    """The progress while a scan is read: of a single file by page; of a zip that counts rows in words."""
    pages = reading.pages
    if not pages.total:
        return {"stage": "reading"}
    if run.kind in ("pdf", "image"):
        return {"stage": "reading pages", "progress_done": pages.done, "progress_total": pages.total}
    return {"stage": f"reading {pages.file[-60:]}, page {pages.done:,} of {pages.total:,}"}


class _Before:
    """What this very import had brought in before it was interrupted, so that it is not called a duplicate."""

    def __init__(self, run: ImportRun) -> None:
        self.imported = run.imported

    def settle(self, result: ImportResult) -> None:
        """Counts rows that are found again as imported, as many as there were."""
        found = min(self.imported, result.duplicates)
        result.duplicates -= found
        result.imported += found
        self.imported -= found

    def stopped(self, result: ImportResult) -> None:
        """Marks the result of an import that stopped before it found all of them again."""
        result.imported += self.imported
        result.stopped = True


@contextmanager
def _reading(run: ImportRun, path: Path, folder: Path) -> Iterator[ReadAhead]:
    version = run.project.schema_version
    stop = ReadAhead.signal()
    context = Context(version.compiled, folder, run.options, stop.is_set)
    with open_rows(path, run.kind, run.file_name, context) as reading, ReadAhead(reading, version, stop) as ahead:
        yield ahead


def _throw_away_images(rows: list[ParsedRow]) -> None:
    for row in rows:
        for page in row.pages:
            if page.image is not None:
                page.image.unlink(missing_ok=True)


def _columns(result: ImportResult) -> dict[str, Any]:
    return {
        "imported": result.imported,
        "duplicates": result.duplicates,
        "rejected": result.rejected,
        "rejects": [
            {"row": r.row, "id": r.id, "reason": r.reason, **({"file": r.file} if r.file else {})}
            for r in result.rejects
        ],
    }


def _told(run: ImportRun) -> dict[str, Any]:
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
