"""The audit log: who decided what, when. Rows are only ever added; the database refuses anything else."""

from typing import Any

from evaluation.models import AuditEntry
from labeling.models import Project


def record(
    *, project: Project, user: Any, action: str, about: str, details: dict[str, Any] | None = None
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
    entry.full_clean()
    entry.save(force_insert=True)
    return entry


def entries(*, project: Project, about: str = "") -> Any:
    """The project's entries, newest first; only those about one thing where it is named."""
    rows = AuditEntry.objects.filter(project=project).select_related("user").order_by("-pk")
    return rows.filter(about=about) if about else rows
