"""Writes rows with COPY: documents with their pages, gold labels and predictions. Every row is counted.

Rows = imported + duplicates + rejected. A document is a duplicate if its text exists; duplicates change nothing, so an
import that stopped can be restarted. Each batch is a transaction.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.files import File
from django.db import connection, transaction
from django.utils import timezone

from labeling.annotation import predictions, state
from labeling.failure_tags import add_own_tags
from labeling.imports.rows import ParsedRow, Row, RowError, RowPrediction, display_id, validate_row
from labeling.models import AnnotationRevision, Document, ImportRun, Origin, Project, SchemaVersion
from slmstudio.contract.schema.compiled import dumps
from slmstudio.storage import artifacts

BATCH = 2_000
BATCH_CHARACTERS = 4_000_000
#: of waiting, after which a batch is written: slow rows (scans) appear soon
BATCH_SECONDS = 2.0
MAX_SHOWN_REJECTS = 100

#: columns written with COPY. Add new columns of the models that have no database default.
DOCUMENT_COLUMNS: Final = (
    "id", "project_id", "external_id", "text", "sha256", "source", "metadata", "tags", "state", "holdout", "synthetic",
    "overlap", "page_count", "skip_reason", "created_at",
)  # fmt: skip
PAGE_COLUMNS: Final = ("document_id", "number", "image_key", "width", "height", "start", "end", "lines")
ANNOTATION_COLUMNS: Final = (
    "id", "project_id", "document_id", "schema_version_id", "value", "evidence", "valid", "submitted", "origin",
    "version", "seconds", "field_seconds", "updated_at",
)  # fmt: skip
REVISION_COLUMNS: Final = (
    "id", "annotation_id", "number", "action", "value", "evidence", "user_id", "created_at",
)  # fmt: skip
GOLD_COLUMNS: Final = ("document_id", "schema_version_id", "revision_id", "origin", "created_at")


#: a row that was not imported, as imports and their file of rejected rows have it: its line in its file ("row"), its id
#: if it has one ("id"), the reason, and its file in a folder ("file")
Reject = dict[str, Any]


def _reject(row: int, name: str, reason: str, file: str) -> Reject:
    return {"row": row, "id": name, "reason": reason, **({"file": file} if file else {})}


@dataclass
class ImportResult:
    """The counts of an import. ``rejects`` holds the first hundred rejected rows."""

    imported: int = 0
    duplicates: int = 0
    rejected: int = 0
    with_gold: int = 0
    stopped: bool = False
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows so far."""
        return self.imported + self.duplicates + self.rejected


@dataclass(slots=True)
class Batch:
    """Rows, validated under a schema version into ``valid`` and ``invalid``. ``share`` of the source is read so far."""

    parsed: list[ParsedRow]
    version: int = 0
    valid: list[Row] = field(default_factory=list)
    invalid: list[tuple[Reject, str]] = field(default_factory=list)
    share: float = 0

    def validate(self, version: SchemaVersion) -> None:
        """Validates the rows, unless that is done for this version."""
        if self.version == version.pk:
            return
        self.version, self.valid, self.invalid = version.pk, [], []
        compiled = version.compiled
        for parsed in self.parsed:
            try:
                self.valid.append(validate_row(parsed, compiled))
            except RowError as error:
                reject = _reject(parsed.number, display_id(parsed.data), str(error), parsed.file)
                self.invalid.append((reject, parsed.raw))


def batches(rows: Iterable[ParsedRow], share: Callable[[], float] = lambda: 0.0) -> Iterator[Batch]:
    """Batches of at most ``BATCH`` rows; fewer if rows are long or arrive slowly."""
    batch: list[ParsedRow] = []
    size, first = 0, 0.0
    for row in rows:
        if not batch:
            first = time.monotonic()
        batch.append(row)
        size += len(row.raw) or 2_000
        if len(batch) == BATCH or size > BATCH_CHARACTERS or time.monotonic() - first > BATCH_SECONDS:
            full, batch, size = batch, [], 0
            yield Batch(full, share=share())
            del full
    if batch:
        yield Batch(batch, share=share())


def import_rows(
    *,
    project: Project,
    rows: Iterable[ParsedRow],
    source: str,
    as_holdout: bool = False,
    synthetic: bool = False,
    user: User | None = None,
) -> ImportResult:
    """Imports rows in batches, one transaction each; memory does not grow with their number."""
    run = ImportRun(
        project=project, file_name=source[:200], as_holdout=as_holdout, synthetic=synthetic, created_by=user
    )
    result = ImportResult()
    for batch in batches(rows):
        write(run, batch, result)
        del batch  # frees its memory before the next is read
    return result


def write(
    run: ImportRun,
    batch: Batch,
    result: ImportResult,
    on_reject: Callable[[Reject, str], None] | None = None,
    *,
    within: Callable[[ImportResult], object] | None = None,
) -> None:
    """Writes a batch of an import and adds it to ``result``; the ``run`` need not be saved. ``within`` is called in the
    transaction.
    """
    _store_images(run, batch)
    counts = result.imported, result.duplicates, result.rejected, result.with_gold
    try:
        with transaction.atomic():
            # Serializes batches, freezes and schema changes, but not rows that reference the project. So gold is
            # validated against the schema it is stored under, and a new schema sees all earlier labels. Ids also grow
            # in commit order, which the search index relies on.
            project = Project.objects.select_for_update(no_key=True).get(pk=run.project.pk)
            version = run.project.schema_version
            batch.validate(version)
            fresh, duplicates, clashes = _classify_rows(run.project, batch.valid)
            result.with_gold += _copy_in(run, version, fresh)
            add_own_tags(project, (tag for row in fresh for tag in row.tags))
            rejects = [*batch.invalid, *clashes]
            result.imported += len(fresh)
            result.duplicates += duplicates
            result.rejected += len(rejects)
            if within is not None:
                within(result)
    except BaseException:  # the batch was rolled back, so it is not counted
        result.imported, result.duplicates, result.rejected, result.with_gold = counts
        raise
    files = {parsed.file: number for number, parsed in enumerate(reversed(batch.parsed))}
    for reject, raw in sorted(rejects, key=lambda item: (-files[item[0].get("file", "")], item[0]["row"])):
        if len(result.rejects) < MAX_SHOWN_REJECTS:
            result.rejects.append(reject)
        if on_reject is not None:
            on_reject(reject, raw)


def _classify_rows(project: Project, rows: list[Row]) -> tuple[list[Row], int, list[tuple[Reject, str]]]:
    """New rows, the number of duplicates, and rows whose id belongs to another text."""
    texts, ids = _known(project, rows)
    fresh: list[Row] = []
    clashes: list[tuple[Reject, str]] = []
    duplicates = 0
    for row in rows:
        if row.sha256 in texts:
            duplicates += 1
        elif row.external_id in ids:
            reason = f"the id {row.external_id} belongs to a document with a different text"
            clashes.append((_reject(row.number, row.external_id, reason, row.file), row.raw))
        else:
            fresh.append(row)
            texts.add(row.sha256)
            ids.add(row.external_id)
    return fresh, duplicates, clashes


def _known(project: Project, rows: Sequence[Row]) -> tuple[set[str], set[str]]:
    """The texts (hashes) and ids of the rows that exist in the project; one query."""
    if not rows:
        return set(), set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sha256, NULL FROM labeling_document WHERE project_id = %s AND sha256 = ANY(%s) UNION ALL "
            "SELECT NULL, external_id FROM labeling_document WHERE project_id = %s AND external_id = ANY(%s)",
            [project.pk, [row.sha256 for row in rows], project.pk, [row.external_id for row in rows]],
        )
        existing = cursor.fetchall()
    return {sha for sha, _ in existing if sha}, {name for _, name in existing if name}


# -- writing -----------------------------------------------------------------------------------------------------------


def _copy_in(run: ImportRun, version: SchemaVersion, rows: list[Row]) -> int:
    """Writes documents with pages, gold labels and predictions. Returns the number of gold labels."""
    if not rows:
        return 0
    now = timezone.now().isoformat()
    keys = _next_ids("labeling_document", len(rows))
    placed = list(zip(keys, rows, strict=True))
    _copy("labeling_document", DOCUMENT_COLUMNS, (_document(run, pk, row, now) for pk, row in placed))
    if any(row.pages for row in rows):
        pages = (page for pk, row in placed for page in _pages(run, pk, row))
        _copy("labeling_page", PAGE_COLUMNS, pages)
    labeled = [(pk, row) for pk, row in placed if row.gold is not None]
    if labeled:
        _copy_gold(run, version, labeled, now)
    _write_predictions(run, version, [(pk, prediction) for pk, row in placed for prediction in row.predictions])
    return len(labeled)


def _copy_gold(run: ImportRun, version: SchemaVersion, labeled: list[tuple[int, Row]], now: str) -> None:
    annotations = _next_ids("labeling_annotation", len(labeled))
    revisions = _next_ids("labeling_annotationrevision", len(labeled))
    origin = (Origin.SYNTHETIC if run.synthetic else Origin.IMPORTED).value
    action = AnnotationRevision.Action.IMPORT.value
    texts = [(dumps(row.gold), dumps(row.evidence) if row.evidence else "{}") for _, row in labeled]
    _copy(
        "labeling_annotation",
        ANNOTATION_COLUMNS,
        (
            (own, run.project.pk, pk, version.pk, value, evidence, True, True, origin, 1, 0, "{}", now)
            for own, (pk, _), (value, evidence) in zip(annotations, labeled, texts, strict=True)
        ),
    )
    _copy(
        "labeling_annotationrevision",
        REVISION_COLUMNS,
        (
            (own, annotation, 1, action, value, evidence, run.created_by_id, now)
            for own, annotation, (value, evidence) in zip(revisions, annotations, texts, strict=True)
        ),
    )
    _copy(
        "labeling_gold",
        GOLD_COLUMNS,
        ((pk, version.pk, revision, origin, now) for revision, (pk, _) in zip(revisions, labeled, strict=True)),
    )


def _next_ids(table: str, count: int) -> list[int]:
    """The next ids of a table, reserved because COPY does not return them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return sorted(number for (number,) in cursor.fetchall())


def _copy(table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _document(run: ImportRun, pk: int, row: Row, now: str) -> tuple[Any, ...]:
    return (
        pk,
        run.project.pk,
        row.external_id,
        row.text,
        row.sha256,
        run.file_name,
        dumps(row.metadata) if row.metadata else "{}",
        row.tags,
        state.imported(has_gold=row.gold is not None).value,
        run.as_holdout,
        run.synthetic,
        _overlap_for(run.project, row),
        len(row.pages),
        "",
        now,
    )


def _overlap_for(project: Project, row: Row) -> int:
    """The overlap of a document: drawn by the hash of its text, so it depends on nothing else."""
    if not project.overlap_share or row.gold is not None:
        return 1
    return project.overlap_people if int(row.sha256[:8], 16) / 2**32 < project.overlap_share else 1


def _pages(run: ImportRun, pk: int, row: Row) -> Iterator[tuple[Any, ...]]:
    for page in row.pages:
        key = image_key(run.project, row.sha256, page.number, page.image.suffix) if page.image is not None else ""
        yield (pk, page.number, key, page.width, page.height, page.start, page.end, dumps(page.lines))


def _write_predictions(run: ImportRun, version: SchemaVersion, rows: list[tuple[int, RowPrediction]]) -> None:
    """Writes the predictions in the file, one source per model; the hold-out gets none."""
    import_name = f"import-{run.pk}" if run.pk else run.file_name
    by_model: dict[str, dict[int, str]] = {}
    for pk, prediction in rows:
        by_model.setdefault(prediction.model, {})[pk] = prediction.raw
    for model, raws in by_model.items():
        predictions.record(
            project=run.project,
            schema_version=version,
            proposals=[predictions.PredictionInput(document_id=pk, raw=raw) for pk, raw in raws.items()],
            model=model or "unnamed model",
            source=f"{import_name}: {model or 'unnamed model'}"[:200],
        )


# -- images ------------------------------------------------------------------------------------------------------------


def image_key(project: Project, sha256: str, number: int, suffix: str) -> str:
    """The key of a page's image in the artifact store: it depends on the text only, so a retry overwrites nothing."""
    return f"pages/{project.pk}/{sha256[:2]}/{sha256}/{number}{suffix}"


def _store_images(run: ImportRun, batch: Batch) -> None:
    """Stores the page images of new documents, before the transaction that needs them."""
    batch.validate(run.project.schema_version)
    with_images = [row for row in batch.valid if any(page.image is not None for page in row.pages)]
    if not with_images:
        return
    existing = Document.objects.existing_texts(run.project, [row.sha256 for row in with_images])
    for row in with_images:
        for page in row.pages:
            if page.image is None or row.sha256 in existing:
                continue
            key = image_key(run.project, row.sha256, page.number, page.image.suffix)
            if not artifacts.store().exists(key):
                with page.image.open("rb") as file:
                    artifacts.store().save(key, File(file))
