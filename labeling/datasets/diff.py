"""The differences between two dataset versions: documents, labels, splits, schema, instruction."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from django.db import connection

from labeling.annotation.diffs import DiffLine, FieldChange, compare_lines, field_changes
from labeling.contract.schema_text import pretty
from labeling.models import AnnotationRevision, DatasetVersion
from slmstudio.contract.schema.compiled import pattern_of

Kind = Literal["changed", "added", "removed", "moved"]
KINDS: dict[Kind, str] = {
    "changed": "labels changed",
    "added": "added",
    "removed": "removed",
    "moved": "moved to another split",
}
#: maximum number of changed labels that are compared field by field
MAX_COMPARED = 5_000
_CHUNK = 500

_BOTH = """
WITH both_sides AS (
    SELECT COALESCE(a.document_id, b.document_id) AS document_id, a.split AS before, b.split AS after,
           a.revision_id AS old, b.revision_id AS new, a.origin AS old_origin, b.origin AS new_origin
    FROM (SELECT * FROM labeling_datasetitem WHERE dataset_id = %(a)s) a
    FULL JOIN (SELECT * FROM labeling_datasetitem WHERE dataset_id = %(b)s) b ON a.document_id = b.document_id
)
"""
# As texts: in jsonb, 1.5 and 1.50 are equal.
_CHANGED = """
    s.old <> s.new AND (SELECT value::text FROM labeling_annotationrevision r WHERE r.id = s.old)
        IS DISTINCT FROM (SELECT value::text FROM labeling_annotationrevision r WHERE r.id = s.new)
"""
_WHERE: dict[Kind, str] = {
    "changed": _CHANGED,
    "added": "s.old IS NULL",
    "removed": "s.new IS NULL",
    "moved": "s.before <> s.after",
}


@dataclass(frozen=True)
class DocumentDifference:
    """A document that differs. ``before`` and ``after``: its splits; "" if the version does not have it."""

    document_id: int
    external_id: str
    before: str
    after: str
    old: int | None
    new: int | None
    old_origin: str
    new_origin: str
    changes: list[FieldChange] = field(default_factory=list)


@dataclass
class Diff:
    """``counts`` by kind; ``moves`` (from, to, count); ``fields`` (pattern, number of labels), most first.

    ``uncounted``: number of changed labels over ``MAX_COMPARED``, which are not in ``fields``.
    """

    counts: dict[Kind, int]
    moves: list[tuple[str, str, int]]
    fields: list[tuple[str, int]]
    uncounted: int
    schema: list[DiffLine]
    instruction: list[DiffLine]


def diff(a: DatasetVersion, b: DatasetVersion) -> Diff:
    """The changes from version ``a`` to version ``b``."""
    with connection.cursor() as cursor:
        filters = ", ".join(f"count(*) FILTER (WHERE {where})" for where in _WHERE.values())
        cursor.execute(f"{_BOTH} SELECT {filters} FROM both_sides s", {"a": a.pk, "b": b.pk})
        counts = dict(zip(_WHERE, cursor.fetchone(), strict=True))
        cursor.execute(
            f"{_BOTH} SELECT before, after, count(*) FROM both_sides s WHERE {_WHERE['moved']} "
            "GROUP BY 1, 2 ORDER BY 3 DESC, 1",
            {"a": a.pk, "b": b.pk},
        )
        moves = [(before, after, count) for before, after, count in cursor.fetchall()]
    same_schema = a.schema_version_id == b.schema_version_id
    return Diff(
        counts=counts,
        moves=moves,
        fields=_fields(a, b) if counts["changed"] else [],
        uncounted=max(0, counts["changed"] - MAX_COMPARED),
        schema=[]
        if same_schema
        else compare_lines(pretty(a.schema_version.schema_text), pretty(b.schema_version.schema_text)),
        instruction=compare_lines(a.instruction, b.instruction),
    )


def differences(
    a: DatasetVersion, b: DatasetVersion, kind: Kind, *, start: int = 0, count: int = 20
) -> list[DocumentDifference]:
    """``count`` documents of a kind, by id, from number ``start``; changed labels with the changes of their fields."""
    rows = _rows(a, b, kind, start, count)
    if kind != "changed":
        return [DocumentDifference(*row) for row in rows]
    values = _values([key for row in rows for key in row[4:6]])
    order = b.schema_version.compiled.ordered
    return [
        replace(DocumentDifference(*row), changes=field_changes(values[row[4]], order(values[row[5]]))) for row in rows
    ]


def _rows(a: DatasetVersion, b: DatasetVersion, kind: Kind, start: int, count: int) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""{_BOTH}
            SELECT s.document_id, d.external_id, COALESCE(s.before, ''), COALESCE(s.after, ''), s.old, s.new,
                   COALESCE(s.old_origin, ''), COALESCE(s.new_origin, '')
            FROM both_sides s JOIN labeling_document d ON d.id = s.document_id
            WHERE {_WHERE[kind]} ORDER BY d.external_id, d.id OFFSET %(start)s LIMIT %(count)s""",
            {"a": a.pk, "b": b.pk, "start": start, "count": count},
        )
        return list(cursor.fetchall())


def _fields(a: DatasetVersion, b: DatasetVersion) -> list[tuple[str, int]]:
    """The number of labels in which each field changed; once per label, whatever the number of rows."""
    pairs = [row[4:6] for row in _rows(a, b, "changed", 0, MAX_COMPARED)]
    counted: Counter[str] = Counter()
    for start in range(0, len(pairs), _CHUNK):
        part = pairs[start : start + _CHUNK]
        values = _values([key for pair in part for key in pair])
        for old, new in part:
            counted.update({pattern_of(change.path) for change in field_changes(values[old], values[new])})
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _values(keys: list[int]) -> dict[int, Any]:
    return dict(AnnotationRevision.objects.filter(pk__in=keys).values_list("pk", "value"))
