"""Exports: a dataset version, or the current labels of a project, as a stream of bytes in one of ``FORMATS``.

Rows name their split, except in files for trainers: those have one split, which is the hold-out only on request. Memory
holds one chunk of the file and, for a project, the keys of its documents.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils.text import slugify

from labeling.annotation.locked_document import IS_REVIEWED_SQL
from labeling.datasets import queries
from labeling.datasets.formats import jsonl
from labeling.datasets.formats.base import ExportContext, ExportRow, Format
from labeling.datasets.formats.registry import FORMATS
from labeling.models import Annotation, DatasetVersion, Document, Gold, Project, SchemaMigration, SchemaVersion, Split
from slmstudio.contract.schema.compiled import loads
from slmstudio.errors import Refused

CHUNK = 1_000
#: which documents of a project are exported
PARTS = {
    "gold": "Documents with a gold label",
    "labels": "Documents with any submitted label",
    "all": "All documents, labeled or not",
}
# The gold label, else the newest submitted label that was not rejected. ``seen``: the user can see it.
_ROWS = """
SELECT d.external_id, d.text, d.tags, d.metadata::text,
       CASE WHEN d.synthetic THEN 'synthetic' ELSE COALESCE(g.origin, a.origin) END,
       COALESCE(g.value, a.value)::text, g.value IS NULL AND a.schema_version_id <> %(newest)s,
       CASE WHEN %(pages)s AND d.page_count > 0 THEN (
           SELECT jsonb_agg(jsonb_build_array(p.width, p.height, p.lines) ORDER BY p.number)::text
           FROM labeling_page p WHERE p.document_id = d.id
       ) END
FROM labeling_document d
CROSS JOIN LATERAL (SELECT %(blind)s::int IS NULL OR d.overlap = 1 OR {is_reviewed} AS seen) b
LEFT JOIN LATERAL (
    SELECT r.value, gold.origin FROM labeling_gold gold
    JOIN labeling_annotationrevision r ON r.id = gold.revision_id
    WHERE gold.document_id = d.id AND gold.id = ANY(%(golds)s) AND (b.seen OR d.state IN ('submitted', 'approved'))
) g ON true
LEFT JOIN LATERAL (
    SELECT w.value, w.origin, w.schema_version_id FROM labeling_annotation w
    WHERE %(labels)s AND g.value IS NULL AND w.document_id = d.id AND w.submitted
    AND d.state NOT IN ('skipped', 'rejected')
    AND (b.seen OR w.user_id = %(blind)s)
    ORDER BY w.submitted_at DESC NULLS LAST, w.id DESC LIMIT 1
) a ON true
WHERE d.id = ANY(%(keys)s) ORDER BY d.id
""".replace("{is_reviewed}", IS_REVIEWED_SQL)


def export_dataset(dataset: DatasetVersion, format_name: str, split: str = "") -> Iterator[bytes]:
    """A dataset version, or one split of it; "" is all of it, or ``train`` in a format for trainers.

    Raises:
        KeyError: unknown format.
        FileNotFoundError: the version's file is missing; raised here and not while reading.
    """
    file_format = FORMATS[format_name]
    split = default_split(file_format, split)
    queries.file_path(dataset)
    if file_format is jsonl.ROWS:
        return _lines(dataset, split)
    compiled = dataset.schema_version.compiled
    context = ExportContext(f"{dataset.project.name} v{dataset.number}", dataset.instruction, compiled)
    return file_format.write((_export_row(row) for row in queries.rows(dataset, split or None)), context)


def default_split(file_format: Format, split: str) -> str:
    """The split that an export without a chosen one has; "" for all."""
    return split or (Split.TRAIN if file_format.is_training else "")


def _lines(dataset: DatasetVersion, split: str) -> Iterator[bytes]:
    """The stored file, or its lines of one split."""
    with queries.file_path(dataset).open("rb") as file:
        if not split:
            while piece := file.read(1 << 16):
                yield piece
            return
        for line in file:
            if loads(line, max_characters=None)["split"] == split:
                yield line


def _export_row(row: dict[str, Any]) -> ExportRow:
    return ExportRow(row["id"], row["text"], row["gold"], row["tags"], row["origin"], row["split"])


def export_project(
    project: Project,
    format_name: str,
    *,
    documents: QuerySet[Document] | None = None,
    part: str = "gold",
    is_holdout: bool = False,
    blind: int | None = None,
) -> Iterator[bytes]:
    """The current labels of a project, or of these ``documents``; ``part`` is one of ``PARTS``. A format for trainers
    leaves out the hold-out, unless ``is_holdout``: the user chose only documents of it. ``blind``: a user who does not
    see the independent labels of others before a review.

    Raises:
        KeyError: unknown format or part.
        Refused: a label migration is incomplete.
    """
    file_format = FORMATS[format_name]
    PARTS[part]
    if SchemaMigration.unfinished(project):
        raise Refused("A label migration is incomplete. Finish it first.", code="migration")
    chosen = Document.objects.filter(project=project) if documents is None else documents
    if part == "gold":
        chosen = chosen.filter(pk__in=Gold.objects.current(project).values("document"))
    elif part == "labels":  # few of many documents can be labeled
        chosen = chosen.filter(pk__in=Annotation.objects.filter(project=project).values("document"))
    keys = {
        split: list(chosen.filter(holdout=bool(split)).order_by("pk").values_list("pk", flat=True))
        for split in ("", Split.HOLDOUT)
        if not split or is_holdout or not file_format.is_training
    }
    version = project.schema_version
    rows = chain.from_iterable(
        _project_rows(project, split_keys, split, part, version, pages=file_format.has_pages, blind=blind)
        for split, split_keys in keys.items()
    )
    return file_format.write(rows, ExportContext(project.name, project.contract.instruction, version.compiled))


def _project_rows(
    project: Project, keys: list[int], split: str, part: str, version: SchemaVersion, *, pages: bool, blind: int | None
) -> Iterator[ExportRow]:
    """``pages``: include the line boxes of pages. A label of an earlier schema must be valid under ``version``."""
    compiled = version.compiled
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        golds = list(Gold.objects.current(project).filter(document__in=chunk).values_list("pk", flat=True))
        with connection.cursor() as cursor:
            some: dict[str, Any] = {
                "keys": chunk,
                "golds": golds,
                "newest": version.pk,
                "labels": part != "gold",
                "pages": pages,
                "blind": blind,
            }
            cursor.execute(_ROWS, some)
            labels = cursor.fetchall()
        for external_id, text, tags, metadata, origin, value, is_earlier, boxes in labels:
            label = None if value is None else loads(value)
            if label is not None and is_earlier and compiled.validate_exact(label):
                label = None
            if label is None and part != "all":
                continue
            gold = None if label is None else compiled.ordered(label)
            extra = loads(metadata) if metadata != "{}" else {}
            if boxes is not None:
                extra.setdefault("page", _page_of(text, loads(boxes, max_characters=None)))
            yield ExportRow(external_id, text, gold, tags, "" if gold is None else origin, split, extra)


def _page_of(text: str, pages: list[list[Any]]) -> Any:
    """The pages of a document in a row, as ``labeling.imports.formats.page_text.pages_of`` reads them."""
    boxes = [
        {
            "width": width,
            "height": height,
            "lines": [{"text": text[start:end], "bbox": box} for start, end, *box in lines],
        }
        for width, height, lines in pages
    ]
    return boxes[0] if len(boxes) == 1 else boxes


def count_project(project: Project, documents: QuerySet[Document] | None = None) -> dict[str, int]:
    """The number of documents in an export of each part."""
    chosen = Document.objects.filter(project=project) if documents is None else documents
    gold = Gold.objects.current(project)
    return {
        "gold": (gold if documents is None else gold.filter(document__in=chosen)).count(),
        "all": chosen.count(),
        "holdout": chosen.filter(holdout=True).count(),
    }


def file_name(parts: Iterable[str], file_format: Format) -> str:
    """The file name of an export, of letters, digits and dashes."""
    return f"{'-'.join(slugify(part) for part in parts if part) or 'export'}.{file_format.extension}"
