"""Permits to send hold-out documents to an external model, granted by the owner of the project.

A permit is an entry in the append-only audit log. It is valid for the URL and model name that it was granted for; an
endpoint that is edited needs another one.
"""

from typing import Any

from django.contrib.auth.models import User

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry, Endpoint
from labeling.models import Project
from slmstudio.access import Action, require

GIVEN, WITHDRAWN = "allowed", "withdrew"


def grant(*, endpoint: Endpoint, user: User) -> bool:
    """Permits hold-out documents for the current endpoint. False if it is permitted already."""
    require(endpoint.project, user, Action.ADMINISTER)
    if permit_for(endpoint) is not None:
        return False
    _record(endpoint, user, GIVEN)
    return True


def withdraw(*, endpoint: Endpoint, user: User) -> bool:
    """Revokes the permit, for running evaluations too. False if there is none."""
    require(endpoint.project, user, Action.ADMINISTER, Action.RUN)  # removing the endpoint ends it too
    if permit_for(endpoint) is None:
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


def permit_for(endpoint: Endpoint) -> AuditEntry | None:
    """The valid permit of an endpoint; None if there is none."""
    entry = _entries(endpoint.project_id).filter(details__endpoint=endpoint.pk).select_related("user").last()
    return entry if entry is not None and _is_valid(entry, endpoint) else None


def permitted_endpoints(project: Project, endpoints: list[Endpoint]) -> set[int]:
    """Keys of the endpoints with a valid permit, in one query."""
    newest = {entry.details.get("endpoint"): entry for entry in _entries(project.pk)}
    return {row.pk for row in endpoints if row.pk in newest and _is_valid(newest[row.pk], row)}


def _entries(project_id: int) -> Any:
    rows = AuditEntry.objects.filter(project=project_id, action__in=[GIVEN, WITHDRAWN], details__has_key="endpoint")
    return rows.order_by("pk")


def _is_valid(entry: AuditEntry, endpoint: Endpoint) -> bool:
    same = entry.details.get("url") == endpoint.url and entry.details.get("model") == endpoint.model
    return entry.action == GIVEN and same
