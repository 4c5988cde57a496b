"""Every filter as SQL, in two shapes: a check of one document, and the documents that fit.

The planner cannot know how many documents hold a text or a value. So the list asks twice: the check, row after row in
the order of the list, finds what is frequent at once; the index behind ``candidates`` finds what is rare. See
``finding``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from labeling.annotation.locked_document import IS_REVIEWED_SQL
from labeling.documents.list.field_filters import FieldCondition, like
from labeling.documents.list.filters import ANYBODY, NOBODY, Filters
from labeling.models import DocumentSearch, ImportRun, Project
from slmstudio.access import Action, Role, may

SQL = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Condition:
    """A filter. ``check``: boolean SQL where ``{id}`` is a document's id, written so that it is asked row by row.

    ``candidates``: SQL for the ids of all documents that fit. ``indexed``: an index finds those. ``rare``: the same SQL
    for where few are expected, so written that the planner has that index alone to choose.
    """

    check: str
    check_params: tuple[Any, ...]
    candidates: str
    candidates_params: tuple[Any, ...]
    indexed: bool = True
    rare: str = ""


@dataclass(frozen=True)
class Plain:
    """Filters on columns of the document itself, whose frequency the planner knows. ``d`` is the document."""

    where: str
    params: tuple[Any, ...]


def plain_of(project: Project, filters: Filters) -> Plain:
    """The filters that an index of documents serves in the order of ids."""
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
    if filters.assigned == NOBODY:
        parts.append(("d.assigned_to_id IS NULL", ()))
    elif filters.assigned == ANYBODY:
        parts.append(("d.assigned_to_id IS NOT NULL", ()))
    elif filters.assigned:
        parts.append(("d.assigned_to_id = (SELECT u.id FROM auth_user u WHERE u.username = %s)", (filters.assigned,)))
    return Plain(" AND ".join(sql for sql, _ in parts), tuple(value for _, values in parts for value in values))


def _imported(project: Project, key: str) -> SQL:
    """What one import brought in: documents of its file from between its start and its end."""
    run = ImportRun.objects.filter(project=project, pk=key).first()
    if run is None:
        return "false", ()
    end = run.finished_at or timezone.now()
    return "(d.source = %s AND d.created_at BETWEEN %s AND %s)", (run.file_name, run.created_at, end)


def conditions_of(project: Project, filters: Filters) -> list[Condition]:
    """The filters beyond the document's own columns, those first whose index finds the fewest by experience."""
    found: list[Condition] = []
    found += [_field(project, condition) for condition in filters.fields if condition.indexed]
    if filters.q:
        found.append(_text(project, filters.q))
    if filters.tag:
        found.append(_tag(project, filters.tag))
    if filters.by:
        found.append(_by(project, filters.by))
    if filters.split:
        found.append(_split(project, filters.split))
    if filters.below is not None or filters.above is not None or filters.wrong:
        found.append(_score(project, filters))
    found += [_field(project, condition) for condition in filters.fields if not condition.indexed]
    return found


def as_condition(plain: Plain) -> Condition:
    """The plain filters as a condition, for orders that do not start at the documents."""
    return Condition(
        f"(SELECT {plain.where} FROM labeling_document d WHERE d.id = {{id}})",
        plain.params,
        f"SELECT d.id FROM labeling_document d WHERE {plain.where}",
        plain.params,
    )


def _text(project: Project, text: str) -> Condition:
    """Id and text hold these characters. Documents that the index does not know yet are read themselves.

    Up to two characters no trigram helps, so they are looked for in ids alone.
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
        # A sum is no column: the index of projects, which would compare every text of the project, is out.
        rare=candidates.replace("s.project_id =", "s.project_id + 0 ="),
    )


def _field(project: Project, condition: FieldCondition) -> Condition:
    predicate = condition.predicate.replace("{value}", "a.value")
    if may(getattr(project, "role", Role.OWNER), Action.REVIEW):  # a job has no role
        seen = ""
    else:
        # Who labels a document unseen by the others must not learn their values by looking for them.
        seen = f" AND (SELECT d.wanted = 1 OR ({IS_REVIEWED_SQL}) FROM labeling_document d WHERE d.id = a.document_id)"
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
    if name in (ANYBODY, NOBODY):
        sign = "NOT " if name == NOBODY else ""
        exists = "EXISTS (SELECT 1 FROM labeling_annotation a WHERE a.document_id = d.id AND a.user_id IS NOT NULL)"
        return Condition(
            f"(SELECT count(*) {'=' if name == NOBODY else '>'} 0 FROM labeling_annotation a "
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
    where = " AND ".join(sql for sql, _ in parts)
    params = tuple(value for _, values in parts for value in values)
    return Condition(
        f"COALESCE((SELECT {where} FROM labeling_documentscore s WHERE s.document_id = {{id}}), false)",
        params,
        f"SELECT s.document_id FROM labeling_documentscore s WHERE s.project_id = %s AND {where}",
        (project.pk, *params),
    )


def joined(checks: Iterable[Condition], reference: str) -> SQL:
    """All checks of one document, in the order given."""
    found = list(checks)
    if not found:
        return "true", ()
    sql = " AND ".join(check.check.replace("{id}", reference) for check in found)
    return sql, tuple(value for check in found for value in check.check_params)
