"""Permits to send documents to an external model, granted by the owner of the project.

A permit is an entry in the append-only audit log. It is valid for the URL and model name that it was granted for; an
endpoint that is edited needs another one.
"""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import TextChoices

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry, Endpoint
from labeling.models import Membership, Project
from slmstudio.access import Action, Role, require
from slmstudio.errors import Refused

GIVEN, WITHDRAWN = "allowed", "withdrew"


class Purpose(TextChoices):
    """What is sent."""

    HOLDOUT = "holdout", "hold-out documents"
    DOCUMENTS = "documents", "documents"


def grant(*, endpoint: Endpoint, user: User, purpose: Purpose = Purpose.HOLDOUT) -> bool:
    """Permits documents of a purpose for the current endpoint. False if it is permitted already."""
    require(endpoint.project, user, Action.ADMINISTER)
    if permit_for(endpoint, purpose) is not None:
        return False
    _record(endpoint, user, GIVEN, purpose)
    return True


def withdraw(*, endpoint: Endpoint, user: User, purpose: Purpose = Purpose.HOLDOUT) -> bool:
    """Revokes the permit, of hold-out documents for running evaluations too. False if there is none."""
    require(endpoint.project, user, Action.ADMINISTER, Action.RUN)  # removing the endpoint ends it too
    if permit_for(endpoint, purpose) is None:
        return False
    _record(endpoint, user, WITHDRAWN, purpose)
    return True


def require_permit(endpoint: Endpoint, user: User | None, field: str) -> None:
    """Before documents are pre-labeled by an endpoint, or it answers callers. An owner who starts that permits it.

    ``user``: None for a command on the server.

    Raises:
        Refused: the owner has not permitted it; ``field`` is that of the form.
    """
    if user is None or permit_for(endpoint, Purpose.DOCUMENTS) is not None:
        return
    if not Membership.objects.filter(project=endpoint.project_id, user=user, role=Role.OWNER).exists():
        raise Refused(
            f"Documents would be sent to {endpoint}. Ask the project owner to permit this on the page of the endpoint.",
            field=field,
            code="not_permitted",
        )
    grant(endpoint=endpoint, user=user, purpose=Purpose.DOCUMENTS)


def _record(endpoint: Endpoint, user: User, action: str, purpose: Purpose) -> None:
    audit_services.record(
        project=endpoint.project,
        user=user,
        action=action,
        about=f"{purpose.label} to endpoint {endpoint.name}",
        details={"endpoint": endpoint.pk, "url": endpoint.url, "model": endpoint.model, "purpose": purpose.value},
    )


def permit_for(endpoint: Endpoint, purpose: Purpose = Purpose.HOLDOUT) -> AuditEntry | None:
    """The valid permit of an endpoint; None if there is none."""
    rows = _entries(endpoint.project_id).filter(details__endpoint=endpoint.pk).select_related("user")
    entry = next((row for row in reversed(rows) if _is_of(row, purpose)), None)
    return entry if entry is not None and _is_valid(entry, endpoint) else None


def permitted_endpoints(project: Project, endpoints: list[Endpoint]) -> set[int]:
    """Keys of the endpoints to which hold-out documents can be sent, in one query."""
    entries = [entry for entry in _entries(project.pk) if _is_of(entry, Purpose.HOLDOUT)]
    newest = {entry.details.get("endpoint"): entry for entry in entries}
    return {row.pk for row in endpoints if row.pk in newest and _is_valid(newest[row.pk], row)}


def _entries(project_id: int) -> Any:
    rows = AuditEntry.objects.filter(project=project_id, action__in=[GIVEN, WITHDRAWN], details__has_key="endpoint")
    return rows.order_by("pk")


def _is_of(entry: AuditEntry, purpose: Purpose) -> bool:
    """Whether an entry is about a purpose; those without one are older and about the hold-out."""
    return bool(entry.details.get("purpose", Purpose.HOLDOUT) == purpose)


def _is_valid(entry: AuditEntry, endpoint: Endpoint) -> bool:
    same = entry.details.get("url") == endpoint.url and entry.details.get("model") == endpoint.model
    return entry.action == GIVEN and same
