"""Who has which document open on their screen.

A lock (``queueing``) is another thing: it reserves a document for a person, also the next one that their browser loads
ahead. A tab reports the document on its screen every few seconds; a tab that is hidden or gone does not.
"""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from labeling.models import Document, Presence

#: how long a report counts: a few intervals of ``PRESENCE_MS`` in static/js/annotation/queue.js
FRESH = timedelta(seconds=45)
MOST_TAB = 64


def arrive(*, document: Document, user: User, tab: str) -> None:
    """Notes that a tab of a person shows a document, and so no other. ``tab`` is any name that the tab gave itself."""
    now = timezone.now()
    Presence.objects.bulk_create(
        [Presence(user=user, tab=tab[:MOST_TAB], document_id=document.pk, seen_at=now)],
        update_conflicts=True,
        unique_fields=["user", "tab"],
        update_fields=["document", "seen_at"],
    )


def leave(*, user: User, tab: str) -> None:
    """Notes that a tab shows no document any more; tabs of the person that ended without a word are forgotten, too."""
    mine = Presence.objects.filter(user=user)
    (mine.filter(tab=tab[:MOST_TAB]) | mine.filter(seen_at__lt=timezone.now() - FRESH)).delete()


def with_document(*, document: Document, user: User) -> list[str]:
    """The names of the other people who have a document open."""
    rows = _fresh(user).filter(document=document.pk).order_by("user__username")
    return list(rows.values_list("user__username", flat=True).distinct())


def elsewhere(*, project_id: int, user: User) -> dict[str, str]:
    """The other people at work in a project: name -> id of the document that they opened last."""
    rows = _fresh(user).filter(document__project=project_id).order_by("seen_at")
    return dict(rows.values_list("user__username", "document__external_id"))


def is_at_another(*, document: Document, other: Any) -> bool:
    """Whether a person works on other documents of the project, so that what they hold of this one is a reservation."""
    rows = Presence.objects.filter(
        user=other, document__project=document.project_id, seen_at__gte=timezone.now() - FRESH
    )
    open_now = set(rows.values_list("document", flat=True))
    return bool(open_now) and document.pk not in open_now


def _fresh(user: User) -> Any:
    return Presence.objects.filter(seen_at__gte=timezone.now() - FRESH).exclude(user=user)
