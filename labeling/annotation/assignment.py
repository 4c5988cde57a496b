"""Assigning documents to annotators, and setting their overlap."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from labeling.models import Document, Membership
from labeling.models.documents import QUEUE
from slmstudio.errors import Refused

MAX_OVERLAP = 10

__all__ = ["MAX_OVERLAP", "AssignmentResult", "assign", "set_overlap"]


@dataclass(frozen=True, slots=True)
class AssignmentResult:
    """``changed`` documents; ``skipped`` ones are not in the queue."""

    changed: int
    skipped: int


@transaction.atomic
def assign(*, documents: QuerySet[Document], user: User | None) -> AssignmentResult:
    """Assigns the documents of a project that are in the queue to a user, or to no one (None). They leave the queues of
    others; a user who has one open can finish it.

    Raises:
        Refused: the user is not a member of the project.
    """
    rows = documents.order_by()
    if user is not None:
        members = Membership.objects.filter(user=user).values("project")
        if rows.exclude(project__in=members).exists():
            raise Refused(f"{user.get_username()} is not a member of this project.", code="member")
    total = rows.count()
    changed = Document.objects.filter(pk__in=rows.values("pk"), state__in=QUEUE).update(assigned_to=user)
    return AssignmentResult(changed, total - changed)


@transaction.atomic
def set_overlap(*, documents: QuerySet[Document], people: int) -> AssignmentResult:
    """Sets how many annotators label the documents independently. Skips documents that are not in the queue.

    Raises:
        Refused: the number is out of range.
    """
    if not 1 <= people <= MAX_OVERLAP:
        raise Refused(f"The overlap must be from 1 to {MAX_OVERLAP}.", code="overlap")
    rows = documents.order_by()
    total = rows.count()
    changed = Document.objects.filter(pk__in=rows.values("pk"), state__in=QUEUE).update(overlap=people)
    return AssignmentResult(changed, total - changed)
