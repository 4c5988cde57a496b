"""Whether hold-out documents may leave the studio for a model elsewhere: the owner of the project says so.

A permit is an entry in the audit log, where nobody can change it: it says who gave it and when, and it holds for the
address and the model it was given for. An endpoint that is asked elsewhere, or for another model, needs another one.
"""

from typing import Any

from django.contrib.auth.models import User

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry, Endpoint
from labeling.models import Project

GIVEN, WITHDRAWN = "allowed", "withdrew"


def give(*, endpoint: Endpoint, user: User) -> bool:
    """Lets hold-out documents be sent to an endpoint as it is now. False where they may be already."""
    if of(endpoint) is not None:
        return False
    _record(endpoint, user, GIVEN)
    return True


def withdraw(*, endpoint: Endpoint, user: User) -> bool:
    """No hold-out document is sent any more, by an evaluation that is at work either. False where none was before."""
    if of(endpoint) is None:
        return False
    _record(endpoint, user, WITHDRAWN)
    return True


def _record(endpoint: Endpoint, user: User, action: str) -> None:
    audit_services.record(
        project=endpoint.project,
        user=user,
        action=action,
        about=f"hold-out documents to endpoint {endpoint.name}",
        details={"endpoint": endpoint.pk, "url": endpoint.url, "model": endpoint.model},
    )


def of(endpoint: Endpoint) -> AuditEntry | None:
    """The entry that permits it; None where nothing does."""
    entry = _entries(endpoint.project_id).filter(details__endpoint=endpoint.pk).select_related("user").last()
    return entry if entry is not None and _holds(entry, endpoint) else None


def given(project: Project, endpoints: list[Endpoint]) -> set[int]:
    """Keys of those of these endpoints that hold-out documents may be sent to, in one query."""
    newest = {entry.details.get("endpoint"): entry for entry in _entries(project.pk)}
    return {one.pk for one in endpoints if one.pk in newest and _holds(newest[one.pk], one)}


def _entries(project_id: int) -> Any:
    rows = AuditEntry.objects.filter(project=project_id, action__in=[GIVEN, WITHDRAWN], details__has_key="endpoint")
    return rows.order_by("pk")


def _holds(entry: AuditEntry, endpoint: Endpoint) -> bool:
    same = entry.details.get("url") == endpoint.url and entry.details.get("model") == endpoint.model
    return entry.action == GIVEN and same
