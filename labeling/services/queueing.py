"""Who labels which document: the queue, its locks, who else is at work, and what is put aside or flagged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from labeling.models import Annotation, Document, DocumentState, Project
from labeling.tags import FAILURE_TAGS

#: how long a document stays with a person whose tab is silent; an open tab renews it
LOCK = timedelta(minutes=10)
QUEUE = (DocumentState.NEW, DocumentState.IN_PROGRESS, DocumentState.REJECTED)
_CANDIDATES = 8
#: others are looked for this many documents around the one that is open: a queue is worked in order
_NEARBY = 500


class Refused(ValueError):
    """What was asked for cannot be done; the message says why."""


def free_for(user: Any) -> Q:
    """Documents that nobody else holds."""
    return Q(locked_until__isnull=True) | Q(locked_until__lt=timezone.now()) | Q(locked_by=user)


def next_document(*, project: Project, user: Any, after: int | None = None) -> Document | None:
    """Takes the next document of a person's queue for ten minutes; None where nothing is left.

    Without ``after`` their own unfinished work comes first; with it the queue goes on behind that document and then
    starts again from the front (the document itself is not given again). Two people never get the same one.
    """
    if after is None:
        mine = _take(_unfinished(project, user), user)
        if mine is not None:
            return mine
    for low, high in ((after or 0, None), (0, after)) if after else ((0, None),):
        for _ in range(5):
            candidates = _waiting(project, user, low, high)
            if not candidates:
                break
            taken = _take(candidates, user)
            if taken is not None:
                return taken
    return None


def _unfinished(project: Project, user: Any) -> list[int]:
    drafts = Annotation.objects.filter(
        user=user, submitted=False, document__project=project, document__state__in=QUEUE
    ).order_by("document_id")
    return list(drafts.values_list("document_id", flat=True)[:_CANDIDATES])


def _waiting(project: Project, user: Any, low: int, high: int | None) -> list[int]:
    """The first free documents of the queue by id: a scan of the index for each state, never of the finished."""
    between = Q(pk__gt=low) if high is None else Q(pk__gt=low, pk__lt=high)
    parts = [
        Document.objects.filter(free_for(user), between, project=project, state=state)
        .order_by("pk")
        .values_list("pk", flat=True)[:_CANDIDATES]
        for state in QUEUE
    ]
    return sorted(parts[0].union(*parts[1:], all=True))[:_CANDIDATES]


@transaction.atomic
def _take(candidates: Sequence[int], user: Any) -> Document | None:
    document = (
        Document.objects.filter(free_for(user), pk__in=candidates, state__in=QUEUE)
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )
    if document is not None:
        document.locked_by, document.locked_until = user, timezone.now() + LOCK
        document.save(update_fields=["locked_by", "locked_until"])
    return document


def previous_document(*, project: Project, user: Any, before: int) -> Document | None:
    """The nearest document before this one that the person labelled or that nobody else holds."""
    return (
        Document.objects.filter(free_for(user) | Q(annotations__user=user), project=project, pk__lt=before)
        .order_by("-pk")
        .first()
    )


def hold(*, document: Document, user: Any) -> Any:
    """Takes or renews a document for a person. Returns the other person who holds it, or None."""
    mine = Document.objects.filter(free_for(user), pk=document.pk).update(
        locked_by=user, locked_until=timezone.now() + LOCK
    )
    if mine:
        return None
    fresh = Document.objects.select_related("locked_by").only("locked_by").filter(pk=document.pk).first()
    return fresh.locked_by if fresh is not None else None


def release(*, document: Document, user: Any) -> None:
    """Lets a document go, where this person holds it."""
    Document.objects.filter(pk=document.pk, locked_by=user).update(locked_by=None, locked_until=None)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another person at work, and the document they hold."""

    name: str
    document: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands in the queue. ``left`` counts what waits and nobody else holds."""

    position: int
    total: int
    left: int
    others: tuple[Neighbour, ...]


def standing(*, document: Document, user: Any) -> Standing:
    """Position of a document in its project, what is left for this person, and who else is at work nearby."""
    counts = Document.objects.filter(project_id=document.project_id).aggregate(
        total=Count("pk"),
        position=Count("pk", filter=Q(pk__lte=document.pk)),
        left=Count("pk", filter=Q(state__in=QUEUE)),
    )
    held = (
        Document.objects.filter(
            project_id=document.project_id,
            pk__range=(document.pk - _NEARBY, document.pk + _NEARBY),
            locked_until__gt=timezone.now(),
            locked_by__isnull=False,
        )
        .exclude(locked_by=user)
        .select_related("locked_by")
        .only("external_id", "state", "locked_by__username")
        # A tab renews the document that is open, not the next one it has taken: the latest lock is where they are.
        .order_by("-locked_until")[:50]
    )
    people: dict[str, Neighbour] = {}
    taken = 0
    for other in held:
        taken += other.state in QUEUE
        assert other.locked_by is not None  # the query asks for it
        name = other.locked_by.get_username()
        people.setdefault(name, Neighbour(name, other.external_id))
    return Standing(counts["position"], counts["total"], counts["left"] - taken, tuple(people.values())[:3])


def skip(*, document: Document, user: Any, reason: str) -> None:
    """Takes a document out of the queue, with the reason why it cannot be labelled.

    Raises:
        Refused: no reason, or the document is submitted already.
    """
    reason = " ".join(reason.split())[:300]
    if not reason:
        raise Refused("Say why this document cannot be labelled.")
    skipped = Document.objects.filter(pk=document.pk, state__in=[*QUEUE, DocumentState.SKIPPED]).update(
        state=DocumentState.SKIPPED, skip_reason=reason, locked_by=None, locked_until=None
    )
    if not skipped:
        raise Refused("This document is submitted already, so it cannot be skipped.")


def flag(*, document: Document, user: Any, tags: Iterable[str]) -> list[str]:
    """Sets a document's failure tags; returns them in the order of the vocabulary. Tags that an import brought stay
    possible.

    Raises:
        Refused: a tag that neither the vocabulary nor the document knows.
    """
    with transaction.atomic():
        row = Document.objects.select_for_update().only("tags").get(pk=document.pk)
        known = list(dict.fromkeys([*FAILURE_TAGS, *row.tags]))
        wanted = set(tags)
        unknown = sorted(wanted.difference(known))
        if unknown:
            raise Refused(f"There is no failure tag {', '.join(unknown)}.")
        row.tags = [tag for tag in known if tag in wanted]
        row.save(update_fields=["tags"])
    return list(row.tags)
