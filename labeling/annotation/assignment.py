"""Assigning documents to people, and asking several people for a label."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from labeling.models import Document, Membership
from labeling.models.documents import QUEUE
from slmstudio.errors import Refused

MOST_PEOPLE = 10

__all__ = ["MOST_PEOPLE", "Changed", "ask_for_several", "assign"]


@dataclass(frozen=True, slots=True)
class Changed:
    """``changed`` documents were set; ``left_alone`` do not wait to be labelled, so that nothing was done to them."""

    changed: int
    left_alone: int


@transaction.atomic
def assign(*, documents: QuerySet[Document], user: User | None) -> Changed:
    """Assigns the documents of one project that wait to be labelled to a person, or (None) to nobody. Others leave them
    alone from then on; who has one open finishes it.

    Raises:
        Refused: the person is not a member of the documents' project.
    """
    rows = documents.order_by()
    if user is not None:
        members = Membership.objects.filter(user=user).values("project")
        if rows.exclude(project__in=members).exists():
            raise Refused(f"{user.get_username()} is not a member of this project.")
    total = rows.count()
    changed = Document.objects.filter(pk__in=rows.values("pk"), state__in=QUEUE).update(assigned_to=user)
    return Changed(changed, total - changed)


@transaction.atomic
def ask_for_several(*, documents: QuerySet[Document], people: int) -> Changed:
    """Sets how many people label the documents, each unseen by the others; 1: one. Those that do not wait to be
    labelled any more are left alone: their label counts already.

    Raises:
        Refused: no such number of people.
    """
    if not 1 <= people <= MOST_PEOPLE:
        raise Refused(f"From 1 to {MOST_PEOPLE} people can label one document.")
    rows = documents.order_by()
    total = rows.count()
    changed = Document.objects.filter(pk__in=rows.values("pk"), state__in=QUEUE).update(wanted=people)
    return Changed(changed, total - changed)
