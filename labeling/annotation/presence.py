"""Presence: which users have which document open.

A lock (``queue``) is different: it reserves a document for a user, including the next one, which the browser
prefetches. A visible tab reports its document every few seconds.
"""

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils import timezone

from labeling.models import Document, Presence
from slmstudio.access import Action, require

#: how long a report is valid: a few intervals of ``PRESENCE_MS`` in static/js/annotation/queue.js
PRESENCE_DURATION = timedelta(seconds=45)
MAX_TAB_LENGTH = 64


def open_tab(*, document: Document, user: User, tab: str) -> None:
    """Stores that a user's tab shows this document and no other. ``tab`` is a name that the tab chose."""
    require(document.project, user, Action.LABEL)
    now = timezone.now()
    Presence.objects.bulk_create(
        [Presence(user=user, tab=tab[:MAX_TAB_LENGTH], document_id=document.pk, seen_at=now)],
        update_conflicts=True,
        unique_fields=["user", "tab"],
        update_fields=["document", "seen_at"],
    )


def close_tab(*, user: User, tab: str) -> None:
    """Removes a tab, and expired tabs of the user."""
    mine = Presence.objects.filter(user=user)
    (mine.filter(tab=tab[:MAX_TAB_LENGTH]) | mine.filter(seen_at__lt=timezone.now() - PRESENCE_DURATION)).delete()


def viewers(*, document: Document, user: User) -> list[str]:
    """Names of the other users who have a document open."""
    rows = _current(user).filter(document=document.pk).order_by("user__username")
    return list(rows.values_list("user__username", flat=True).distinct())


def active_users(*, project_id: int, user: User) -> dict[str, str]:
    """Other active users in a project: name -> id of the document that they opened last."""
    rows = _current(user).filter(document__project=project_id).order_by("seen_at")
    return dict(rows.values_list("user__username", "document__external_id"))


def works_elsewhere(*, document: Document, other: User) -> bool:
    """Whether a user has only other documents of the project open, so their lock on this one is a prefetch."""
    rows = Presence.objects.filter(
        user=other, document__project=document.project_id, seen_at__gte=timezone.now() - PRESENCE_DURATION
    )
    open_now = set(rows.values_list("document", flat=True))
    return bool(open_now) and document.pk not in open_now


def _current(user: User) -> QuerySet[Presence]:
    return Presence.objects.filter(seen_at__gte=timezone.now() - PRESENCE_DURATION).exclude(user=user)
