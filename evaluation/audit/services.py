"""The audit log: who decided what, when. Rows are only ever added; the database refuses anything else."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from io import StringIO
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.datasets.formats.table import escape_formula
from labeling.models import Project
from slmstudio.contract.json_text import dumps

#: the action by which an approval is taken back
WITHDRAWN = "withdrew the approval of"
COLUMNS = ("number", "when", "who", "action", "about", "details")


def record(
    *, project: Project, user: User | None, action: str, about: str, details: dict[str, Any] | None = None
) -> AuditEntry:
    """Adds one entry.

    Args:
        project: whose log it is.
        user: who did it; None for the application itself.
        action: a verb in the past, such as "approved".
        about: what it was done to, such as "gate report 3".
        details: JSON-ready particulars: hashes, reasons, old and new values.
    """
    entry = AuditEntry(project=project, user=user, action=action, about=about, details=details or {})
    entry.full_clean(validate_constraints=False)  # its place is given by the database
    entry.save(force_insert=True)
    return entry


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for; what is empty asks for nothing. ``user`` "-" is the application itself."""

    action: str = ""
    user: str = ""
    text: str = ""
    since: date | None = None
    until: date | None = None

    def conditions(self) -> Q:
        """As a condition on the rows. Days are those of the viewer's zone, the last one included."""
        found = Q()
        if self.action:
            found &= Q(action=self.action)
        if self.user == "-":
            found &= Q(user=None)
        elif self.user:
            found &= Q(user__username=self.user)
        for word in self.text.split():
            found &= Q(about__icontains=word) | Q(details__reason__icontains=word)
        if self.since is not None:
            found &= Q(created_at__gte=_begin(self.since))
        if self.until is not None and self.until < date.max:
            found &= Q(created_at__lt=_begin(self.until + timedelta(days=1)))
        return found


def _begin(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def entries(*, project: Project, about: str = "", wanted: Wanted | None = None) -> QuerySet[AuditEntry]:
    """The project's entries, newest first; only those about one thing where it is named."""
    rows = AuditEntry.objects.filter(project=project).select_related("user").order_by("-pk")
    if about:
        rows = rows.filter(about=about)
    return rows.filter(wanted.conditions()) if wanted is not None else rows


def actions(project: Project) -> list[str]:
    """What has been done so far, by name."""
    return sorted(AuditEntry.objects.filter(project=project).values_list("action", flat=True).distinct())


def people(project: Project) -> list[str]:
    """Who has done something so far, by name."""
    rows = AuditEntry.objects.filter(project=project, user__isnull=False)
    return sorted(rows.values_list("user__username", flat=True).distinct())


def decisions(project: Project, action: str) -> dict[str, dict[str, Any]]:
    """What was done by one kind of decision: about -> the particulars, with the person's key in ``user``.

    Of several entries about the same thing the first one counts: a decision is taken once.
    """
    found: dict[str, dict[str, Any]] = {}
    rows = AuditEntry.objects.filter(project=project, action=action).order_by("pk")
    for about, details, user in rows.values_list("about", "details", "user_id"):
        found.setdefault(about, {**details, "user": user})
    return found


def withdrawn(project: Project) -> dict[str, AuditEntry]:
    """Approvals that were taken back: the gate report, as it is called, -> the entry that says so."""
    return {entry.about: entry for entry in entries(project=project, wanted=Wanted(action=WITHDRAWN))}


def as_lines(rows: QuerySet[AuditEntry]) -> Iterator[str]:
    """Entries as JSON lines, oldest first. ``sha256`` is that of ``previous_sha256``, a line feed and ``content``."""
    content = RawSQL("evaluation_audit_content(evaluation_auditentry)", [], output_field=TextField())
    for entry in _oldest_first(rows.annotate(content=content)):
        chain = {name: getattr(entry, name) for name in ("position", "previous_sha256", "sha256", "content")}
        yield dumps({**_told(entry), "details": entry.details, **chain}) + "\n"


def as_table(rows: QuerySet[AuditEntry]) -> Iterator[str]:
    """Entries as CSV, oldest first, in a form that no spreadsheet runs as a formula; the details are JSON."""
    yield "\N{BYTE ORDER MARK}" + _row(list(COLUMNS))
    for entry in _oldest_first(rows):
        told = {**_told(entry), "details": dumps(entry.details) if entry.details else ""}
        yield _row([escape_formula(str(told[name])) for name in COLUMNS])


def _row(cells: list[str]) -> str:
    held = StringIO()
    csv.writer(held).writerow(cells)
    return held.getvalue()


def _oldest_first(rows: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    return rows.order_by("pk").iterator(chunk_size=500)


def _told(entry: AuditEntry) -> dict[str, Any]:
    return {
        "number": entry.pk,
        "when": entry.created_at.isoformat(),
        "who": entry.user.get_username() if entry.user else "",
        "action": entry.action,
        "about": entry.about,
    }
