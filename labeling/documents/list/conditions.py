"""Filters as SQL, in two forms: a check of one document, and a query for all matching documents.

``search`` uses the check while it scans rows in order (fast for frequent matches), and the query, which an index can
answer (fast for rare matches).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from labeling.annotation.locked_document import IS_REVIEWED_SQL
from labeling.documents.list.field_filters import FieldCondition, like
from labeling.documents.list.filters import ANY_USER, UNASSIGNED, Filters
from labeling.models import DocumentSearch, ImportRun, Project
from slmstudio.access import Action, Role, may

SQL = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Condition:
    """A filter. ``check`` is boolean SQL for the document ``{id}``, written so that it is evaluated row by row.

    ``candidates`` is SQL for the ids of all matching documents; ``indexed``: an index answers it. ``rare`` is the same
    SQL in a form for which the planner can only use that index.
    """

    check: str
    check_params: tuple[Any, ...]
    candidates: str
    candidates_params: tuple[Any, ...]
    indexed: bool = True
    rare: str = ""


def column_filter(project: Project, filters: Filters) -> SQL:
    """The filters on columns of the document (``d``), for which the planner has statistics: an index of documents
    answers them in the order of ids.
    """
    parts: list[SQL] = [("d.project_id = %s", (project.pk,))]
    if filters.state:
        parts.append(("d.state = %s", (filters.state,)))
    if filters.source:
        parts.append(("d.source = %s", (filters.source,)))
    if filters.imported:
        parts.append(_imported(project, filters.imported))
    if filters.holdout:
        parts.append(("d.holdout" if filters.holdout == "yes" else "NOT d.holdout", ()))
    if filters.synthetic:
        parts.append(("d.synthetic" if filters.synthetic == "yes" else "NOT d.synthetic", ()))
    if filters.assigned == UNASSIGNED:
        parts.append(("d.assigned_to_id IS NULL", ()))
    elif filters.assigned == ANY_USER:
        parts.append(("d.assigned_to_id IS NOT NULL", ()))
    elif filters.assigned:
        parts.append(("d.assigned_to_id = (SELECT u.id FROM auth_user u WHERE u.username = %s)", (filters.assigned,)))
    return _all(parts)


def _imported(project: Project, key: str) -> SQL:
    """The documents of an import: of its file, created between its start and end."""
    run = ImportRun.objects.filter(project=project, pk=key).first()
    if run is None:
        return "false", ()
    end = run.finished_at or timezone.now()
    return "(d.source = %s AND d.created_at BETWEEN %s AND %s)", (run.file_name, run.created_at, end)


def conditions_of(project: Project, filters: Filters) -> list[Condition]:
    """The filters on other tables, the most selective indexes first."""
    conditions: list[Condition] = []
    conditions += [_field(project, condition) for condition in filters.fields if condition.indexed]
    if filters.q:
        conditions.append(_text(project, filters.q))
    if filters.tag:
        conditions.append(_tag(project, filters.tag))
    if filters.by:
        conditions.append(_by(project, filters.by))
    if filters.split:
        conditions.append(_split(project, filters.split))
    if filters.below is not None or filters.above is not None or filters.wrong:
        conditions.append(_score(project, filters))
    conditions += [_field(project, condition) for condition in filters.fields if not condition.indexed]
    return conditions


def _all(parts: Iterable[SQL]) -> SQL:
    listed = list(parts)
    return " AND ".join(sql for sql, _ in listed), tuple(value for _, values in listed for value in values)


def as_condition(columns: SQL) -> Condition:
    """The column filter as a condition, for orders of other tables."""
    where, params = columns
    return Condition(
        f"(SELECT {where} FROM labeling_document d WHERE d.id = {{id}})",
        params,
        f"SELECT d.id FROM labeling_document d WHERE {where}",
        params,
    )


def _text(project: Project, text: str) -> Condition:
    """Id or text contains these characters. Documents that are not indexed yet are read.

    One or two characters have no trigram, so they are searched for in ids only.
    """
    if len(text) < 3:
        own = "d.project_id = %s AND upper(d.external_id) LIKE upper(%s)"
        params: tuple[Any, ...] = (project.pk, f"%{like(text)}%")
        return Condition(
            f"(SELECT {own} FROM labeling_document d WHERE d.id = {{id}})",
            params,
            f"SELECT d.id FROM labeling_document d WHERE {own}",
            params,
            indexed=False,
        )
    pattern = f"%{like(text)}%"
    read = "upper(d.external_id || E'\\n' || d.text) LIKE upper(%s)"
    newest = (
        DocumentSearch.objects.filter(project=project).order_by("-document_id").values_list("document_id", flat=True)
    )
    known = newest.first() or 0
    candidates = (
        "SELECT s.document_id FROM labeling_documentsearch s WHERE s.project_id = %s AND s.content LIKE upper(%s) "
        f"UNION ALL SELECT d.id FROM labeling_document d WHERE d.project_id = %s AND d.id > %s AND {read}"
    )
    return Condition(
        "COALESCE((SELECT s.content LIKE upper(%s) FROM labeling_documentsearch s WHERE s.document_id = {id}), "
        f"(SELECT {read} FROM labeling_document d WHERE d.id = {{id}}))",
        (pattern, pattern),
        candidates,
        (project.pk, pattern, project.pk, known, pattern),
        # The sum rules out the index on projects, which would compare every text of the project.
        rare=candidates.replace("s.project_id =", "s.project_id + 0 ="),
    )


def _field(project: Project, condition: FieldCondition) -> Condition:
    predicate = condition.predicate.replace("{value}", "a.value")
    if may(getattr(project, "role", Role.OWNER), Action.REVIEW):  # a job has no role
        seen = ""
    else:
        # Annotators of a document with overlap must not find the labels of others by searching.
        seen = f" AND (SELECT d.overlap = 1 OR ({IS_REVIEWED_SQL}) FROM labeling_document d WHERE d.id = a.document_id)"
    predicate += seen
    return Condition(
        f"COALESCE((SELECT bool_or({predicate}) FROM labeling_annotation a WHERE a.document_id = {{id}}), false)",
        condition.params,
        f"SELECT a.document_id FROM labeling_annotation a WHERE a.project_id = %s AND {predicate}",
        (project.pk, *condition.params),
        indexed=condition.indexed,
    )


def _tag(project: Project, tag: str) -> Condition:
    return Condition(
        "(SELECT d.tags @> ARRAY[%s]::varchar[] FROM labeling_document d WHERE d.id = {id})",
        (tag,),
        "SELECT d.id FROM labeling_document d WHERE d.project_id = %s AND d.tags @> ARRAY[%s]::varchar[]",
        (project.pk, tag),
    )


def _by(project: Project, name: str) -> Condition:
    if name in (ANY_USER, UNASSIGNED):
        sign = "NOT " if name == UNASSIGNED else ""
        exists = "EXISTS (SELECT 1 FROM labeling_annotation a WHERE a.document_id = d.id AND a.user_id IS NOT NULL)"
        return Condition(
            f"(SELECT count(*) {'=' if name == UNASSIGNED else '>'} 0 FROM labeling_annotation a "
            "WHERE a.document_id = {id} AND a.user_id IS NOT NULL)",
            (),
            f"SELECT d.id FROM labeling_document d WHERE d.project_id = %s AND {sign}{exists}",
            (project.pk,),
            indexed=False,
        )
    person = "(SELECT u.id FROM auth_user u WHERE u.username = %s)"
    return Condition(
        f"COALESCE((SELECT bool_or(a.user_id = {person}) FROM labeling_annotation a WHERE a.document_id = {{id}}), "
        "false)",
        (name,),
        f"SELECT a.document_id FROM labeling_annotation a WHERE a.project_id = %s AND a.user_id = {person}",
        (project.pk, name),
    )


def _split(project: Project, split: str) -> Condition:
    newest = "(SELECT v.id FROM labeling_datasetversion v WHERE v.project_id = %s ORDER BY v.number DESC LIMIT 1)"
    item = f"labeling_datasetitem i WHERE i.dataset_id = {newest}"
    if split == "none":
        return Condition(
            f"(SELECT count(*) = 0 FROM {item} AND i.document_id = {{id}})",
            (project.pk,),
            "SELECT d.id FROM labeling_document d WHERE d.project_id = %s "
            f"AND NOT EXISTS (SELECT 1 FROM {item} AND i.document_id = d.id)",
            (project.pk, project.pk),
            indexed=False,
        )
    return Condition(
        f"COALESCE((SELECT i.split = %s FROM {item} AND i.document_id = {{id}}), false)",
        (split, project.pk),
        f"SELECT i.document_id FROM {item} AND i.split = %s",
        (project.pk, split),
    )


def _score(project: Project, filters: Filters) -> Condition:
    parts: list[SQL] = []
    if filters.below is not None:
        parts.append(("s.score < %s", (filters.below / 100,)))
    if filters.above is not None:
        parts.append(("s.score >= %s", (filters.above / 100,)))
    if filters.wrong:
        parts.append(("s.wrong_fields @> ARRAY[%s]::varchar[]", (filters.wrong,)))
    where, params = _all(parts)
    return Condition(
        f"COALESCE((SELECT {where} FROM labeling_documentscore s WHERE s.document_id = {{id}}), false)",
        params,
        f"SELECT s.document_id FROM labeling_documentscore s WHERE s.project_id = %s AND {where}",
        (project.pk, *params),
    )


def all_checks(checks: Iterable[Condition], reference: str) -> SQL:
    """All checks of a document, combined in this order."""
    conditions = list(checks)
    if not conditions:
        return "true", ()
    return _all((check.check.replace("{id}", reference), check.check_params) for check in conditions)
