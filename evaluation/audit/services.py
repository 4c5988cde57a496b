"""The audit log: append-only entries of decisions; the database rejects changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.models import Project
from slmstudio.contract.json_text import dumps
from slmstudio.database.fields import validate_fields
from slmstudio.logs import audit
from slmstudio.text.spreadsheets import csv_lines

#: stored actions that a page shows in other words
ACTION_LABELS = {
    "answered": "decided",
    "doubted": "challenged",
    "fixed": "set",
    "judged": "created",
    "made": "issued",
    "scored again": "re-scored",
    "sent back": "rejected",
    "took back": "withdrew",
    "went on with": "resumed",
}
#: the actions of withdrawing an approval, and of confirming its waivers as a second person
WITHDRAWN, CONFIRMED = "withdrew the approval of", "confirmed the waivers of"
COLUMNS = ("number", "when", "who", "action", "about", "details")


def record(
    *, project: Project, user: User | None, action: str, about: str, details: dict[str, Any] | None = None
) -> AuditEntry:
    """Adds one entry.

    Args:
        project: the project of the log.
        user: the author; None for the application.
        action: a verb in the past tense, such as "approved".
        about: the object, such as "gate report 3".
        details: JSON-ready details: hashes, reasons, old and new values.
    """
    entry = AuditEntry(project=project, user=user, action=action, about=about, details=details or {})
    validate_fields(entry)
    entry.save(force_insert=True)
    line = {**_line_values(entry), "details": entry.details, "project": project.slug}
    audit.emit(f"{line['who'] or 'the application'} {action} {about}", kind="audit", **line)
    return entry


@dataclass(frozen=True)
class AuditFilter:
    """A filter of entries; empty values match all. ``action`` is a label, ``user`` "-" is the application."""

    action: str = ""
    user: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    def conditions(self) -> Q:
        """The filter as a condition. Days are in the viewer's time zone, the last one included."""
        condition = Q()
        if self.action:
            former = [stored for stored, label in ACTION_LABELS.items() if label == self.action]
            condition &= Q(action__in=[self.action, *former])
        if self.user == "-":
            condition &= Q(user=None)
        elif self.user:
            condition &= Q(user__username=self.user)
        for word in self.text.split():
            condition &= Q(about__icontains=word) | Q(details__reason__icontains=word)
        if self.since is not None:
            condition &= Q(created_at__gte=_begin(self.since))
        if self.until is not None and self.until < date.max:
            condition &= Q(created_at__lt=_begin(self.until + timedelta(days=1)))
        return condition


def _begin(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def entries(*, project: Project, about: str = "", filters: AuditFilter | None = None) -> QuerySet[AuditEntry]:
    """The entries of a project, newest first; ``about``: only those about one object."""
    rows = AuditEntry.objects.filter(project=project).select_related("user").order_by("-pk")
    if about:
        rows = rows.filter(about=about)
    return rows.filter(filters.conditions()) if filters is not None else rows


def action_names(project: Project) -> list[str]:
    """The actions in the log, sorted."""
    return sorted(AuditEntry.objects.filter(project=project).values_list("action", flat=True).distinct())


def user_names(project: Project) -> list[str]:
    """The names of users in the log, sorted."""
    rows = AuditEntry.objects.filter(project=project, user__isnull=False)
    return sorted(rows.values_list("user__username", flat=True).distinct())


def details_by_subject(project: Project, *actions: str) -> dict[str, dict[str, Any]]:
    """The entries of these actions: about -> details, with the user's key in ``user``.

    Of several entries about the same object the first one counts: a report is decided once.
    """
    details_of: dict[str, dict[str, Any]] = {}
    rows = AuditEntry.objects.filter(project=project, action__in=actions).order_by("pk")
    for about, details, user in rows.values_list("about", "details", "user_id"):
        details_of.setdefault(about, {**details, "user": user})
    return details_of


def entries_by_subject(project: Project, action: str) -> dict[str, AuditEntry]:
    """The entries of an action, such as ``WITHDRAWN``: ``str()`` of the gate report -> the entry."""
    return {entry.about: entry for entry in entries(project=project, filters=AuditFilter(action=action))}


def as_lines(rows: QuerySet[AuditEntry]) -> Iterator[str]:
    """Entries as JSON lines, oldest first. ``sha256`` is that of ``previous_sha256``, a line feed and ``content``."""
    content = RawSQL("evaluation_audit_content(evaluation_auditentry)", [], output_field=TextField())
    for entry in _oldest_first(rows.annotate(content=content)):
        chain = {name: getattr(entry, name) for name in ("position", "previous_sha256", "sha256", "content")}
        yield dumps({**_line_values(entry), "details": entry.details, **chain}) + "\n"


def as_table(rows: QuerySet[AuditEntry]) -> Iterator[str]:
    """Entries as CSV, oldest first, without formulas for spreadsheets; the details are JSON."""
    values = (
        {**_line_values(entry), "details": dumps(entry.details) if entry.details else ""}
        for entry in _oldest_first(rows)
    )
    return csv_lines(COLUMNS, ([row[name] for name in COLUMNS] for row in values))


def _oldest_first(rows: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    return rows.order_by("pk").iterator(chunk_size=500)


def _line_values(entry: AuditEntry) -> dict[str, Any]:
    return {
        "number": entry.pk,
        "when": entry.created_at.isoformat(),
        "who": entry.user.get_username() if entry.user else "",
        "action": entry.action,
        "about": entry.about,
    }
