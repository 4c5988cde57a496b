"""Rows into the database by COPY: documents with their pages, gold and proposals, and a count for every row.

Rows in = imported + duplicates + rejected. A document is the same if its text is the same; what is there already is
left as it is, so an import that stopped half-way is simply started again. Each batch is a transaction of its own.
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
from labeling.imports.rows import ParsedRow, Proposed, Row, RowError, judge, shown_id
from labeling.models import AnnotationRevision, Document, Origin, Project, SchemaVersion
from slmstudio.contract.schema.compiled import dumps
from slmstudio.storage import artifacts

BATCH = 2_000
BATCH_CHARACTERS = 4_000_000
#: a batch is cut when its first row has waited this long, so that slow rows (scans) are seen to arrive
BATCH_SECONDS = 2.0
KEPT_REJECTS = 100

#: columns written by COPY. A column that is added to a model and has no default of the database's own belongs here.
DOCUMENT_COLUMNS: Final = (
    "id", "project_id", "external_id", "text", "sha256", "source", "metadata", "tags", "state", "holdout", "synthetic",
    "wanted", "page_count", "skip_reason", "created_at",
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


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not imported: its line in the file (of the folder), its id where it has one, and the reason."""

    row: int
    id: str
    reason: str
    file: str = ""


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
class Task:
    """What is the same for every row of one import. ``proposals`` names the source of predictions that come along."""

    project: Project
    source: str
    as_holdout: bool = False
    synthetic: bool = False
    user: User | None = None
    proposals: str = ""

    @property
    def origin(self) -> Origin:
        """Of the gold."""
        return Origin.SYNTHETIC if self.synthetic else Origin.IMPORTED


@dataclass(slots=True)
class Batch:
    """Some rows and what was found about them under one version of the schema. ``share``: of the source read so far."""

    parsed: list[ParsedRow]
    version: int = 0
    good: list[Row] = field(default_factory=list)
    bad: list[tuple[Reject, str]] = field(default_factory=list)
    share: float = 0

    def judge(self, version: SchemaVersion) -> None:
        """Sorts the rows into good and bad; nothing to do where that is done already."""
        if self.version == version.pk:
            return
        self.version, self.good, self.bad = version.pk, [], []
        compiled = version.compiled
        for parsed in self.parsed:
            try:
                self.good.append(judge(parsed, compiled))
            except RowError as error:
                self.bad.append((Reject(parsed.number, shown_id(parsed.data), str(error), parsed.file), parsed.raw))


def batches(rows: Iterable[ParsedRow], share: Callable[[], float] = lambda: 0.0) -> Iterator[Batch]:
    """Batches of at most ``BATCH`` rows, cut earlier where rows are long or slow in coming."""
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
    progress: Callable[[ImportResult], bool] | None = None,
    on_reject: Callable[[Reject, str], None] | None = None,
) -> ImportResult:
    """Imports rows in batches, each in a transaction of its own; memory does not grow with their number.

    ``progress`` is called after every batch and stops the import by returning False. ``on_reject`` is called for every
    rejected row with its original line.
    """
    task = Task(project, source[:200], as_holdout, synthetic, user, source)
    result = ImportResult()
    for batch in batches(rows):
        write(task, batch, result, on_reject)
        del batch  # or two would be held while the next is read
        if progress is not None and not progress(result):
            result.stopped = True
            break
    return result


def write(
    task: Task,
    batch: Batch,
    result: ImportResult,
    on_reject: Callable[[Reject, str], None] | None = None,
    *,
    within: Callable[[ImportResult], object] | None = None,
) -> None:
    """Writes one batch and adds it to ``result``. ``within`` is called in the transaction that writes it."""
    _store_images(task, batch)
    counts = result.imported, result.duplicates, result.rejected, result.with_gold
    try:
        with transaction.atomic():
            # One batch, freeze or change of schema at a time; rows that only point at the project do not wait. So gold
            # is judged by the schema it is stored under, and a new schema sees every label written before it. It also
            # makes ids grow in the order of commits, which the search index relies on.
            Project.objects.select_for_update(no_key=True).get(pk=task.project.pk)
            version = task.project.schema_version
            batch.judge(version)
            fresh, duplicates, clashes = _sort_out(task.project, batch.good)
            result.with_gold += _copy_in(task, version, fresh)
            bad = [*batch.bad, *clashes]
            result.imported += len(fresh)
            result.duplicates += duplicates
            result.rejected += len(bad)
            if within is not None:
                within(result)
    except BaseException:  # nothing of the batch is in, so nothing of it is counted
        result.imported, result.duplicates, result.rejected, result.with_gold = counts
        raise
    files = {parsed.file: number for number, parsed in enumerate(reversed(batch.parsed))}
    for reject, raw in sorted(bad, key=lambda item: (-files[item[0].file], item[0].row)):
        if len(result.rejects) < KEPT_REJECTS:
            result.rejects.append(reject)
        if on_reject is not None:
            on_reject(reject, raw)


def _sort_out(project: Project, rows: list[Row]) -> tuple[list[Row], int, list[tuple[Reject, str]]]:
    """New rows, the number of those whose text is there already, and those whose id belongs to another text."""
    texts, ids = _known(project, rows)
    fresh: list[Row] = []
    clashes: list[tuple[Reject, str]] = []
    duplicates = 0
    for row in rows:
        if row.sha256 in texts:
            duplicates += 1
        elif row.external_id in ids:
            reason = f"the id {row.external_id} is taken by a document with another text"
            clashes.append((Reject(row.number, row.external_id, reason, row.file), row.raw))
        else:
            fresh.append(row)
            texts.add(row.sha256)
            ids.add(row.external_id)
    return fresh, duplicates, clashes


def _known(project: Project, rows: Sequence[Row]) -> tuple[set[str], set[str]]:
    """Which of the rows' texts (hashes) and ids the project has already; one query."""
    if not rows:
        return set(), set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sha256, NULL FROM labeling_document WHERE project_id = %s AND sha256 = ANY(%s) UNION ALL "
            "SELECT NULL, external_id FROM labeling_document WHERE project_id = %s AND external_id = ANY(%s)",
            [project.pk, [row.sha256 for row in rows], project.pk, [row.external_id for row in rows]],
        )
        found = cursor.fetchall()
    return {sha for sha, _ in found if sha}, {name for _, name in found if name}


# -- writing -----------------------------------------------------------------------------------------------------------


def _copy_in(task: Task, version: SchemaVersion, rows: list[Row]) -> int:
    """Documents with their pages; annotation, revision and gold of those that have it. The number of those."""
    if not rows:
        return 0
    now = timezone.now().isoformat()
    numbers = _numbers("labeling_document", len(rows))
    placed = list(zip(numbers, rows, strict=True))
    _copy("labeling_document", DOCUMENT_COLUMNS, (_document(task, pk, row, now) for pk, row in placed))
    if any(row.pages for row in rows):
        pages = (page for pk, row in placed for page in _pages(task, pk, row))
        _copy("labeling_page", PAGE_COLUMNS, pages)
    labelled = [(pk, row) for pk, row in placed if row.gold is not None]
    if labelled:
        _copy_gold(task, version, labelled, now)
    _propose(task, version, [(pk, proposed) for pk, row in placed for proposed in row.predictions])
    return len(labelled)


def _copy_gold(task: Task, version: SchemaVersion, labelled: list[tuple[int, Row]], now: str) -> None:
    annotations = _numbers("labeling_annotation", len(labelled))
    revisions = _numbers("labeling_annotationrevision", len(labelled))
    user = None if task.user is None else task.user.pk
    origin, action = task.origin.value, AnnotationRevision.Action.IMPORT.value
    texts = [(dumps(row.gold), dumps(row.evidence) if row.evidence else "{}") for _, row in labelled]
    _copy(
        "labeling_annotation",
        ANNOTATION_COLUMNS,
        (
            (own, task.project.pk, pk, version.pk, value, evidence, True, True, origin, 1, 0, "{}", now)
            for own, (pk, _), (value, evidence) in zip(annotations, labelled, texts, strict=True)
        ),
    )
    _copy(
        "labeling_annotationrevision",
        REVISION_COLUMNS,
        (
            (own, annotation, 1, action, value, evidence, user, now)
            for own, annotation, (value, evidence) in zip(revisions, annotations, texts, strict=True)
        ),
    )
    _copy(
        "labeling_gold",
        GOLD_COLUMNS,
        ((pk, version.pk, revision, origin, now) for revision, (pk, _) in zip(revisions, labelled, strict=True)),
    )


def _numbers(table: str, count: int) -> list[int]:
    """The next ids of a table: COPY does not tell which it gave, so they are drawn first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count])
        return sorted(number for (number,) in cursor.fetchall())


def _copy(table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _document(task: Task, pk: int, row: Row, now: str) -> tuple[Any, ...]:
    return (
        pk,
        task.project.pk,
        row.external_id,
        row.text,
        row.sha256,
        task.source,
        dumps(row.metadata) if row.metadata else "{}",
        row.tags,
        state.imported(has_gold=row.gold is not None).value,
        task.as_holdout,
        task.synthetic,
        _wanted(task.project, row),
        len(row.pages),
        "",
        now,
    )


def _wanted(project: Project, row: Row) -> int:
    """How many people are to label it. Drawn by the text's hash, so that nothing but the text decides."""
    if not project.overlap_share or row.gold is not None:
        return 1
    return project.overlap_people if int(row.sha256[:8], 16) / 2**32 < project.overlap_share else 1


def _pages(task: Task, pk: int, row: Row) -> Iterator[tuple[Any, ...]]:
    for page in row.pages:
        key = image_key(task.project, row.sha256, page.number, page.image.suffix) if page.image is not None else ""
        yield (pk, page.number, key, page.width, page.height, page.start, page.end, dumps(page.lines))


def _propose(task: Task, version: SchemaVersion, proposals: list[tuple[int, Proposed]]) -> None:
    """Writes what models proposed, one source per model; the hold-out gets none."""
    by_model: dict[str, dict[int, str]] = {}
    for pk, proposed in proposals:
        by_model.setdefault(proposed.model, {})[pk] = proposed.raw
    for model, found in by_model.items():
        predictions.record(
            project=task.project,
            schema_version=version,
            proposals=[predictions.PredictionInput(document_id=pk, raw=raw) for pk, raw in found.items()],
            model=model or "unnamed model",
            source=f"{task.proposals}: {model or 'unnamed model'}"[:200],
        )


# -- images ------------------------------------------------------------------------------------------------------------


def image_key(project: Project, sha256: str, number: int, suffix: str) -> str:
    """Where the image of a page lies in the artifact store; the same for every try, since it follows from the text."""
    return f"pages/{project.pk}/{sha256[:2]}/{sha256}/{number}{suffix}"


def _store_images(task: Task, batch: Batch) -> None:
    """Stores the page images of new documents, before and outside of the transaction that needs them."""
    batch.judge(task.project.schema_version)
    pictured = [row for row in batch.good if any(page.image is not None for page in row.pages)]
    if not pictured:
        return
    there = set(
        Document.objects.filter(project=task.project, sha256__in=[row.sha256 for row in pictured]).values_list(
            "sha256", flat=True
        )
    )
    for row in pictured:
        for page in row.pages:
            if page.image is None or row.sha256 in there:
                continue
            key = image_key(task.project, row.sha256, page.number, page.image.suffix)
            if not artifacts.store().exists(key):
                with page.image.open("rb") as file:
                    artifacts.store().save(key, File(file))
