"""The choices of the filters, and chips of those that are set, each with a link that removes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.utils.timezone import localtime

from labeling.documents.list.field_filters import OPERATORS
from labeling.documents.list.filters import ANY_USER, ORDERS, SPLITS, UNASSIGNED, Filters
from labeling.failure_tags import tags_of
from labeling.models import DocumentState, ImportRun, Membership, Project, Split
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.text.formatting import exact_percent, format_date_time

MAX_SOURCES = 100


#: a value and its label
Choice = tuple[str, str]


def choices(project: Project, filters: Filters, compiled: CompiledSchema) -> dict[str, list[Choice]]:
    """Choices per filter. A value in the URL stays a choice if it no longer exists."""
    people = [(name, name) for name in members(project)]
    offered = {
        "state": [(value, str(label)) for value, label in DocumentState.choices],
        "by": [(ANY_USER, "Any user"), (UNASSIGNED, "No user"), *people],
        "assigned": [(ANY_USER, "Any user"), (UNASSIGNED, "No user"), *people],
        "tag": [(name, tag.title) for name, tag in tags_of(project).items()],
        "split": [(name, "No split" if name == "none" else str(Split(name).label)) for name in SPLITS],
        "source": [(name, name) for name in sources(project)],
        "imported": _import(project, filters.imported),
        "wrong": [(field.pattern, _title(field)) for field in compiled.fields],
        "field": [(field.pattern, _title(field)) for field in compiled.fields],
        "op": list(OPERATORS.items()),
        "order": list(ORDERS.items()),
    }
    for name in ("by", "assigned", "tag", "source", "wrong"):
        chosen = getattr(filters, name)
        if chosen and chosen not in dict(offered[name]):
            offered[name].append((chosen, chosen))
    return offered


def _import(project: Project, key: str) -> list[Choice]:
    """The import in the filter, with its file name."""
    rows = ImportRun.objects.filter(project=project, pk=key) if key else ImportRun.objects.none()
    return [(str(run.pk), f"{run.file_name}, {format_date_time(localtime(run.created_at))}") for run in rows]


def members(project: Project) -> list[str]:
    """The user names of the members of a project."""
    rows = Membership.objects.filter(project=project).order_by("user__username")
    return list(rows.values_list("user__username", flat=True))


def sources(project: Project) -> list[str]:
    """The first hundred sources by name, each found with one index lookup."""
    first = (
        "SELECT d.source FROM labeling_document d WHERE d.project_id = %s AND d.source > {0} ORDER BY d.source LIMIT 1"
    )
    sql = (
        f"WITH RECURSIVE s(source, n) AS (SELECT ({first.format(chr(39) * 2)}), 1 UNION ALL "
        f"SELECT ({first.format('s.source')}), s.n + 1 FROM s WHERE s.source IS NOT NULL AND s.n < {MAX_SOURCES}) "
        "SELECT source FROM s WHERE source IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [project.pk, project.pk])
        return [row[0] for row in cursor.fetchall()]


def _title(field: Any) -> str:
    return field.title if "[]" not in field.pattern else f"{field.title} ({field.pattern})"


# -- chips -------------------------------------------------------------------------------------------------------------

_TITLES = {
    "q": "Contains",
    "state": "State",
    "by": "Labeled by",
    "assigned": "Assigned to",
    "tag": "Tag",
    "holdout": "Hold-out",
    "split": "Split",
    "source": "Source",
    "imported": "Import",
    "synthetic": "Synthetic",
    "below": "Score below",
    "above": "Score at least",
    "wrong": "Wrong field",
}


def chips(filters: Filters, offered: Mapping[str, Sequence[Choice]]) -> list[tuple[str, str, str]]:
    """One chip per filter that is set, in the order of the form: title, label, and the query string without it."""
    shown = []
    for name, title in _TITLES.items():
        value = getattr(filters, name)
        if value in ("", None):
            continue
        is_share = name in ("below", "above")
        label = exact_percent(value / 100) if is_share else dict(offered.get(name, ())).get(value, value)
        shown.append((title, label, filters.without(name).query()))
    for condition in filters.fields:
        shown.append(("", condition.label, filters.without("fields", condition).query()))
    return shown
