"""The queue of an annotator, its locks, skipping and failure tags.

Order of a queue: own labels that were rejected, documents assigned to the annotator, then unassigned documents; each by
id. Unassigned documents with a place in the order of the project (``labeling.queue_order``) come before the others, by
place. A locked document (``LOCK``) is in no other annotator's queue. A document with an overlap (``Document.overlap``)
goes to several annotators, once each, one after the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import connection, transaction
from django.db.models import BigIntegerField, F, Func, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.utils import timezone

from labeling.annotation import presence, state
from labeling.failure_tags import tags_of
from labeling.integrations.events import emit_document_event
from labeling.models import Annotation, Document, DocumentPlace, DocumentState, Membership, Project
from labeling.models.documents import QUEUE
from slmstudio.access import Action, require
from slmstudio.errors import Refused

#: how long a lock lasts without a renewal; an open tab renews it
LOCK = timedelta(minutes=10)
_CANDIDATES = 8
_ATTEMPTS = 5
#: other locks are searched this many documents around the open one
_NEARBY = 500


def unlocked_for(user: User) -> Q:
    """Documents that no other user has locked."""
    return Q(locked_until__isnull=True) | Q(locked_until__lt=timezone.now()) | Q(locked_by=user)


# -- the next document -------------------------------------------------------------------------------------------------


def next_document(
    *, project: Project, user: User, after: int | None = None, rows: QuerySet[Document] | None = None
) -> Document | None:
    """Locks the next document of a user's queue for ten minutes; None if the queue is empty. ``rows``: the query that
    reads it (``services.with_open_data()`` saves a query if the document is opened next).

    Without ``after``, the user's own drafts follow their rejected labels. With it, the queue continues after that
    document, which is not returned again, and wraps around at the end. Two users never lock the same document.
    """
    require(project, user, Action.LABEL)
    for _ in range(_ATTEMPTS):
        empty = True
        for candidates in _candidates(project, user, after):
            empty = False
            taken = claim_first(candidates, user, QUEUE, rows)
            if taken is not None:
                return taken
        if empty:
            return None
    return None


# One statement finds the candidates of all parts of the queue, each by its own index: no single index has the order of
# a queue. ``d`` is the document, ``a`` an annotation of the user.
QueuePart = tuple[tuple[str, str], ...]
_LABELS = "labeling_annotation a JOIN labeling_document d ON d.id = a.document_id"
_STARTED = (
    "a.project_id = %(project)s AND a.user_id = %(user)s AND NOT a.submitted "
    "AND (d.assigned_to_id IS NULL OR d.assigned_to_id = %(user)s)"
)
_ASSIGNED_TO_USER = "d.project_id = %(project)s AND d.assigned_to_id = %(user)s"
_UNLABELED = "d.state IN ('new', 'in_progress', 'rejected')"
_REJECTED = (
    ("labeling_document d", f"{_ASSIGNED_TO_USER} AND {_UNLABELED} AND d.state = 'rejected'"),
    (_LABELS, f"{_STARTED} AND d.state = 'rejected'"),
)
_UNFINISHED = ((_LABELS, f"{_STARTED} AND d.state IN ('new', 'in_progress')"),)
_ASSIGNED = (("labeling_document d", f"{_ASSIGNED_TO_USER} AND {_UNLABELED} AND d.state <> 'rejected'"),)
_UNASSIGNED = (("labeling_document d", f"d.project_id = %(project)s AND d.assigned_to_id IS NULL AND {_UNLABELED}"),)
_PLACED: QueuePart = (
    (
        "labeling_documentplace p JOIN labeling_document d ON d.id = p.document_id",
        f"p.run_id = %(order)s AND p.open AND d.project_id = %(project)s AND d.assigned_to_id IS NULL AND {_UNLABELED}",
    ),
)
_TIERS = (_REJECTED, _ASSIGNED, _PLACED, _UNASSIGNED)
_FREE = "(d.locked_until IS NULL OR d.locked_until < %(now)s OR d.locked_by_id = %(user)s)"
# With an overlap: the user has not labeled it under the newest schema, and fewer others than needed have. Annotators
# whose label was rejected keep their place while they are members. An aggregate, not EXISTS, for which the planner
# would hash all annotations of the user.
_NEWEST = "(SELECT v.id FROM labeling_schemaversion v WHERE v.project_id = %(project)s ORDER BY v.number DESC LIMIT 1)"
_WANTED_FROM_USER = (
    "(d.overlap <= 1 OR (SELECT NOT COALESCE(bool_or(o.user_id = %(user)s AND o.submitted), false) "  # noqa: S608
    "AND (COALESCE(bool_or(o.user_id = %(user)s), false) OR d.overlap > count(DISTINCT o.user_id) "
    "FILTER (WHERE o.user_id <> %(user)s AND (o.submitted OR o.submitted_at IS NOT NULL AND m.id IS NOT NULL))) "
    "FROM labeling_annotation o "
    "LEFT JOIN labeling_membership m ON m.project_id = %(project)s AND m.user_id = o.user_id "
    f"WHERE o.document_id = d.id AND o.schema_version_id = {_NEWEST}))"
)


def _candidates(project: Project, user: User, after: int | None) -> Iterator[list[int]]:
    """Unlocked documents in the order of the queue, a few of each part."""
    order = project.order_run_id
    known = {"project": project.pk, "user": user.pk, "now": timezone.now(), "after": after or 0, "order": order}
    if after is None:
        parts = (_REJECTED, _UNFINISHED, _ASSIGNED, _PLACED, _UNASSIGNED)
        yield from _find([(part, "true") for part in parts if order or part is not _PLACED], known)
        return
    here, known["after_place"] = _tier_of(project, user, after)
    # A document that the user left within the last minutes is not offered again yet.
    left = "(d.locked_by_id IS NULL OR d.locked_by_id <> %(user)s)"
    later = "p.place > %(after_place)s" if _TIERS[here] is _PLACED else "d.id > %(after)s"
    tiers = [
        (part, left if tier < here else later if tier == here else "true")
        for tier, part in enumerate(_TIERS)
        if order or part is not _PLACED
    ]
    yield from _find(tiers, known)
    yield from _find([(part, "d.id <> %(after)s") for part, _ in tiers], known)


def _find(parts: Sequence[tuple[QueuePart, str]], known: dict[str, Any]) -> list[list[int]]:
    """The first ids of each part of the queue that is not empty: by place, or the lowest."""
    selects = [
        f"(SELECT {rank} AS rank, {key} AS key, d.id FROM {rows} WHERE {condition} AND {where} AND {_FREE} "  # noqa: S608
        f"AND {_WANTED_FROM_USER} ORDER BY {key} LIMIT {_CANDIDATES})"
        for rank, (part, where) in enumerate(parts)
        for key in ("p.place" if part is _PLACED else "d.id",)
        for rows, condition in part
    ]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), known)
        candidates = cursor.fetchall()
    ranked: dict[int, set[tuple[int, int]]] = {}
    for rank, key, pk in candidates:
        ranked.setdefault(rank, set()).add((key, pk))
    return [[pk for _, pk in sorted(ranked[rank])[:_CANDIDATES]] for rank in sorted(ranked)]


def _tier_of(project: Project, user: User, pk: int) -> tuple[int, int]:
    """The part of the queue that a document is or was in, as a number of ``_TIERS``, and its place in the order of the
    project (0: none).
    """
    place = DocumentPlace.objects.filter(run=project.order_run_id, document=OuterRef("pk")).values("place")[:1]
    rows: Any = Document.objects.filter(project=project, pk=pk)
    row = rows.values_list("state", "assigned_to", Subquery(place)).first()
    number = (row[2] if row else None) or 0
    # After a new order was computed, the queue starts with its first place.
    unassigned = _TIERS.index(_PLACED if project.order_run_id else _UNASSIGNED)
    if row is None or row[0] not in QUEUE:
        return unassigned, number
    if row[0] == DocumentState.REJECTED and row[1] is not None:
        return _TIERS.index(_REJECTED), number
    return _TIERS.index(_ASSIGNED) if row[1] == user.pk else unassigned, number


class _Position(Func):
    """The position of a document's key in a list."""

    function = "array_position"
    output_field = IntegerField()

    def __init__(self, keys: Sequence[int]) -> None:
        super().__init__(Value(list(keys), output_field=ArrayField(BigIntegerField())), F("pk"))


@transaction.atomic
def claim_first(
    candidates: Sequence[int], user: User, states: Iterable[str], rows: QuerySet[Document] | None = None
) -> Document | None:
    """Locks the first of some documents that is unlocked and in one of these states; None where none is.

    Skips rows that another transaction has locked instead of waiting for them.
    """
    document: Document | None = (
        (Document.objects.all() if rows is None else rows)
        .filter(unlocked_for(user), pk__in=candidates, state__in=states)
        .order_by(_Position(candidates))
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )
    if document is not None:
        document.locked_by, document.locked_until = user, timezone.now() + LOCK
        document.save(update_fields=["locked_by", "locked_until"])
    return document


def previous_document(*, project: Project, user: User, before: int) -> Document | None:
    """The nearest document before this one that the user labeled or that no other user has locked."""
    # Not EXISTS: the planner would hash all annotations of the user.
    own = Annotation.objects.filter(document=OuterRef("pk"), user=user).values("document")[:1]
    rows = Document.objects.filter(unlocked_for(user) | Q(pk=Subquery(own)), project=project, pk__lt=before)
    document: Document | None = rows.order_by("-pk").first()
    return document


@transaction.atomic
def assign(*, documents: QuerySet[Document], user: User | None) -> int:
    """Assigns the documents of a project that are in the queue to a user, or to no one (None), and returns how many.
    They leave the queues of others; a user who has one open can finish it.

    Raises:
        Refused: the user is not a member of the project.
    """
    rows = documents.order_by()
    if user is not None:
        members = Membership.objects.filter(user=user).values("project")
        if rows.exclude(project__in=members).exists():
            raise Refused(f"{user.get_username()} is not a member of this project.", code="member")
    return Document.objects.filter(pk__in=rows.values("pk"), state__in=QUEUE).update(assigned_to=user)


# -- locks -------------------------------------------------------------------------------------------------------------


def acquire_lock(*, document: Document, user: User, shared: bool = False) -> User | None:
    """Acquires or renews a user's lock. Returns the other user who has it, or None.

    ``shared``: several annotators label it independently, so locks do not block.
    """
    require(document.project, user, Action.LABEL)
    mine = Document.objects.filter(unlocked_for(user), pk=document.pk).update(
        locked_by=user, locked_until=timezone.now() + LOCK
    )
    if mine or shared:
        return None
    fresh = Document.objects.select_related("locked_by").only("locked_by").filter(pk=document.pk).first()
    return fresh.locked_by if fresh is not None else None


def release_lock(*, document: Document, user: User) -> None:
    """Releases the lock, where this user has it."""
    require(document.project, user, Action.LABEL)
    Document.objects.filter(pk=document.pk, locked_by=user).update(locked_by=None, locked_until=None)


# -- position ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActiveUser:
    """Another active user and the document they have open."""

    name: str
    document: str


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A user's position in the queue. ``left`` counts documents that wait for them and are not locked by others.

    ``place``: in the order of the project; None if it has none. ``is_random``: that place was drawn at random.
    """

    position: int
    total: int
    left: int
    others: tuple[ActiveUser, ...]
    place: int | None = None
    is_random: bool = False


# Each count reads one narrow index and not the rows, which contain the texts.
_COUNT_UNASSIGNED = (
    "SELECT count(*) FROM labeling_document WHERE project_id = %s AND assigned_to_id IS NULL "
    "AND state IN ('new', 'in_progress', 'rejected')"
)
_COUNT_ASSIGNED = (
    "SELECT count(*) FROM labeling_document WHERE project_id = %s AND assigned_to_id = %s "
    "AND state IN ('new', 'in_progress', 'rejected')"
)
_PLACE_OF = (
    "SELECT ARRAY[p.place, p.chosen::int] FROM labeling_documentplace p "
    "JOIN labeling_project o ON o.order_run_id = p.run_id WHERE o.id = %s AND p.document_id = %s"
)
_COUNT_ALL = "SELECT count(*) FROM labeling_document WHERE project_id = %s"


def queue_position(*, document: Document, user: User) -> QueuePosition:
    """The position of a document in its project, what is left for the user, and other users nearby."""
    project = document.project_id
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT ({_COUNT_ALL} AND id <= %s), ({_COUNT_ALL}), ({_COUNT_UNASSIGNED}), ({_COUNT_ASSIGNED}), "
            f"({_PLACE_OF})",
            [project, document.pk, project, project, project, user.pk, project, document.pk],
        )
        position, total, unassigned, assigned, place = cursor.fetchone()
    locked = (
        Document.objects.filter(
            project_id=project,
            pk__range=(document.pk - _NEARBY, document.pk + _NEARBY),
            locked_until__gt=timezone.now(),
            locked_by__isnull=False,
        )
        .exclude(locked_by=user)
        .select_related("locked_by")
        .only("external_id", "state", "assigned_to", "locked_by__username")
        .order_by("-locked_until")[:50]
    )
    people = presence.active_users(project_id=project, user=user)
    taken = 0
    for other in locked:
        taken += other.state in QUEUE and other.assigned_to_id in (None, user.pk)
        assert other.locked_by is not None  # the query asks for it
        # Users of the REST API have no open tab.
        people.setdefault(other.locked_by.get_username(), other.external_id)
    left = max(0, unassigned + assigned - taken)
    others = tuple(ActiveUser(name, where) for name, where in people.items())
    number, chosen = place or (None, True)
    return QueuePosition(position, total, left, others[:3], number, not chosen)


# -- skipping, failure tags --------------------------------------------------------------------------------------------


@transaction.atomic
def skip(*, document: Document, user: User, reason: str) -> None:
    """Removes a document from the queue, with the reason why it cannot be labeled.

    Raises:
        Refused: no reason, or the document is already submitted.
    """
    require(document.project, user, Action.LABEL)
    reason = " ".join(reason.replace("\x00", "").split())[:300]
    if not reason:
        raise Refused("Enter a reason for skipping this document.", field="reason", code="reason")
    if not Document.objects.filter(pk=document.pk, state__in=state.SKIPPABLE).update(**state.skip(reason)):
        raise Refused("This document is already submitted and cannot be skipped.", code="submitted")
    emit_document_event("document.skipped", document, user)


def flag(*, document: Document, user: User, tags: Iterable[str]) -> list[str]:
    """Sets a document's failure tags and returns them in the order of the vocabulary. Imported tags stay valid.

    Raises:
        Refused: a tag that is neither in the project's vocabulary nor on the document.
    """
    require(document.project, user, Action.LABEL)
    with transaction.atomic():
        row = Document.objects.select_for_update(of=("self",)).select_related("project").get(pk=document.pk)
        known = list(dict.fromkeys([*tags_of(row.project), *row.tags]))
        requested = set(tags)
        unknown = sorted(requested.difference(known))
        if unknown:
            raise Refused(f"Unknown tag: {', '.join(unknown)[:200]}.", field="tags", code="tag")
        row.tags = [tag for tag in known if tag in requested]
        row.save(update_fields=["tags"])
    return list(row.tags)
