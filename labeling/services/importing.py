"""Imports: rows become documents, their gold becomes annotation, revision and gold, and every row is accounted for.

Rows in = imported + duplicates + rejected. A document is the same if its text is the same; what is there already is
left as it is, so an import that stopped half-way is simply started again.
"""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from django.core.files import File
from django.db import transaction

from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    ImportRun,
    Origin,
    Project,
    SchemaVersion,
)
from labeling.rows import ParsedRow, Row, RowError, judge, parse_jsonl, shown_id
from slmstudio import artifacts

__all__ = ["ImportResult", "ParsedRow", "Refused", "Reject", "import_rows", "parse_jsonl", "start_import"]

BATCH = 500
BATCH_CHARACTERS = 4_000_000
KEPT_REJECTS = 100
MAX_UPLOAD = 1024**3


class Refused(ValueError):
    """An upload that is not taken; the message is a sentence."""


@dataclass(frozen=True)
class Reject:
    """A row that was not imported: its line in the file, its id where it has one, and the reason."""

    row: int
    id: str
    reason: str


@dataclass
class ImportResult:
    """How an import stands. ``rejects`` holds the first hundred; ``rejected`` counts them all."""

    imported: int = 0
    duplicates: int = 0
    rejected: int = 0
    with_gold: int = 0
    stopped: bool = False
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows looked at so far."""
        return self.imported + self.duplicates + self.rejected


@dataclass(frozen=True)
class _Import:
    """What is the same for every row of one import."""

    project: Project
    source: str
    as_holdout: bool
    synthetic: bool
    user: Any

    @property
    def origin(self) -> Origin:
        return Origin.SYNTHETIC if self.synthetic else Origin.IMPORTED


def import_rows(
    *,
    project: Project,
    rows: Iterable[ParsedRow],
    source: str,
    as_holdout: bool = False,
    synthetic: bool = False,
    user: Any = None,
    progress: Callable[[ImportResult], bool] | None = None,
    on_reject: Callable[[Reject, str], None] | None = None,
) -> ImportResult:
    """Imports rows in batches, each in a transaction of its own; memory does not grow with their number.

    ``progress`` is called after every batch and stops the import by returning False. ``on_reject`` is called for every
    rejected row with its original line.
    """
    task = _Import(project, source[:200], as_holdout, synthetic, user)
    result = ImportResult()

    for batch in _batches(rows):
        good: list[Row] = []
        bad: list[tuple[Reject, str]] = []
        with transaction.atomic():
            # One batch, freeze or change of schema at a time; rows that only point at the project do not wait. So gold
            # is judged by the schema it is stored under, and a new schema sees every label written before it.
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            version = project.schema_version
            for parsed in batch:
                try:
                    good.append(judge(parsed, version.compiled))
                except RowError as error:
                    bad.append((Reject(parsed.number, shown_id(parsed.data), str(error)), parsed.raw))
            fresh, duplicates, clashes = _sort_out(project, good)
            result.with_gold += _write(task, version, fresh)
        for row in clashes:
            reason = f"the id {row.external_id} is taken by a document with another text"
            bad.append((Reject(row.number, row.external_id, reason), row.raw))
        result.imported += len(fresh)
        result.duplicates += duplicates
        result.rejected += len(bad)
        for reject, raw in sorted(bad, key=lambda item: item[0].row):
            if len(result.rejects) < KEPT_REJECTS:
                result.rejects.append(reject)
            if on_reject is not None:
                on_reject(reject, raw)
        if progress is not None and not progress(result):
            result.stopped = True
            break
    return result


def _batches(rows: Iterable[ParsedRow]) -> Iterator[list[ParsedRow]]:
    """Batches of at most ``BATCH`` rows, cut earlier where rows are long."""
    batch: list[ParsedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.raw) or 2_000
        if len(batch) == BATCH or size > BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sort_out(project: Project, rows: list[Row]) -> tuple[list[Row], int, list[Row]]:
    """New rows, the number of those whose text is there already, and those whose id belongs to another text."""
    documents = Document.objects.filter(project=project)
    texts = set(documents.filter(sha256__in=[row.sha256 for row in rows]).values_list("sha256", flat=True))
    ids = set(documents.filter(external_id__in=[row.external_id for row in rows]).values_list("external_id", flat=True))
    fresh: list[Row] = []
    clashes: list[Row] = []
    duplicates = 0
    for row in rows:
        if row.sha256 in texts:
            duplicates += 1
        elif row.external_id in ids:
            clashes.append(row)
        else:
            fresh.append(row)
            texts.add(row.sha256)
            ids.add(row.external_id)
    return fresh, duplicates, clashes


def _write(task: _Import, version: SchemaVersion, rows: list[Row]) -> int:
    """Documents, and annotation, revision and gold for those that have it. The number of those."""
    documents = Document.objects.bulk_create(
        Document(
            project=task.project,
            external_id=row.external_id,
            text=row.text,
            sha256=row.sha256,
            source=task.source,
            metadata=row.metadata,
            tags=row.tags,
            state=DocumentState.NEW if row.gold is None else DocumentState.SUBMITTED,
            holdout=task.as_holdout,
            synthetic=task.synthetic,
        )
        for row in rows
    )
    labelled = [(document, row.gold) for document, row in zip(documents, rows, strict=True) if row.gold is not None]
    annotations = Annotation.objects.bulk_create(
        Annotation(
            project=task.project,
            document=document,
            schema_version=version,
            value=gold,
            valid=True,
            submitted=True,
            origin=task.origin,
            version=1,
        )
        for document, gold in labelled
    )
    revisions = AnnotationRevision.objects.bulk_create(
        AnnotationRevision(
            annotation=annotation,
            number=1,
            action=AnnotationRevision.Action.IMPORT,
            value=annotation.value,
            user=task.user,
        )
        for annotation in annotations
    )
    Gold.objects.bulk_create(
        Gold(
            document=document,
            schema_version=version,
            revision=revision,
            origin=task.origin,
        )
        for (document, _), revision in zip(labelled, revisions, strict=True)
    )
    return len(labelled)


def start_import(
    *, project: Project, user: Any, upload: File, as_holdout: bool = False, synthetic: bool = False
) -> ImportRun:
    """Stores an uploaded JSONL file and queues its import.

    Raises:
        Refused: the file is empty or over 1 GB.
    """
    if not upload.size:
        raise Refused("The file is empty.")
    if upload.size > MAX_UPLOAD:
        raise Refused("The file is over 1 GB. Split it and import the parts one after the other.")
    key = f"imports/{uuid.uuid4().hex}/rows.jsonl"
    artifacts.store().save(key, upload)
    run = ImportRun(
        project=project,
        file_name=(upload.name or "rows.jsonl").rpartition("/")[2][:200],
        upload_key=key,
        as_holdout=as_holdout,
        synthetic=synthetic,
        created_by=user,
    )
    run.full_clean()
    with transaction.atomic():
        run.save()
        run.enqueue()
    return run


def process(run: ImportRun) -> None:
    """Does a claimed import: reads its file, imports, notes progress, ends the run."""
    with artifacts.store().open(run.upload_key) as file, tempfile.TemporaryFile("w+b") as rejects:
        total = sum(1 for _ in _lines(file))
        file.seek(0)
        if not run.beat(stage="importing", progress_total=total):
            run.cancelled()
            return

        def note(reject: Reject, raw: str) -> None:
            line = {"row": reject.row, "id": reject.id, "reason": reject.reason, "line": raw}
            rejects.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode())

        result = import_rows(
            project=run.project,
            rows=parse_jsonl(file),
            source=run.file_name,
            as_holdout=run.as_holdout,
            synthetic=run.synthetic,
            user=run.created_by,
            progress=lambda so_far: run.beat(progress_done=so_far.rows, **_columns(so_far)),
            on_reject=note,
        )
        key = _store_rejects(run, rejects) if result.rejected else ""
    ended = {**_columns(result), "progress_done": result.rows, "rejects_key": key}
    if result.stopped:
        run.cancelled(**ended)
    else:
        run.finish(**ended, progress_total=result.rows)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines that are not blank, long ones in pieces that count once."""
    whole = True
    while piece := file.readline(1 << 20):
        if whole and not piece.isspace():
            yield piece
        whole = piece.endswith(b"\n")


def _columns(result: ImportResult) -> dict[str, Any]:
    return {
        "imported": result.imported,
        "duplicates": result.duplicates,
        "rejected": result.rejected,
        "rejects": [{"row": r.row, "id": r.id, "reason": r.reason} for r in result.rejects],
    }


def _store_rejects(run: ImportRun, rejects: IO[bytes]) -> str:
    rejects.seek(0)
    return str(artifacts.store().save(f"imports/{run.pk}/rejected.jsonl", File(rejects)))
