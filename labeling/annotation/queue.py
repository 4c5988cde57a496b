"""Who labels which document: the queue, its locks, who else is at work, and what is put aside or flagged.

A person's queue in its order: labels of theirs that a reviewer sent back, documents assigned to them, then what nobody
is assigned to; within each by id. A document is out of everybody else's queue while somebody holds it (``LOCK``).
Where several people label a document (``Document.wanted``), each gets it once, one after the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from labeling.annotation import presence, state
from labeling.documents.failure_tags import tags_of
from labeling.integrations.events import tell
from labeling.models import Annotation, Document, DocumentState, Project
from labeling.models.documents import QUEUE
from slmstudio.errors import Refused

#: how long a document stays with a person whose tab is silent; an open tab renews it
LOCK = timedelta(minutes=10)
_CANDIDATES = 8
_ATTEMPTS = 5
#: others are looked for this many documents around the one that is open: a queue is worked in order
_NEARBY = 500


def free_for(user: User) -> Q:
    """Documents that nobody else holds."""
    return Q(locked_until__isnull=True) | Q(locked_until__lt=timezone.now()) | Q(locked_by=user)


# -- the next document -------------------------------------------------------------------------------------------------


def next_document(*, project: Project, user: User, after: int | None = None, rows: Any = None) -> Document | None:
    """Takes the next document of a person's queue for ten minutes; None where nothing is left. ``rows``: the query it
    is read by (``annotating.openable()`` saves one where it is opened at once).

    Without ``after``, the person's own unfinished drafts come right behind what was sent back to them. With it the
    queue goes on behind that document, which is not given again, and at its end starts from the front. Two people never
    hold the same document.
    """
    for _ in range(_ATTEMPTS):
        empty = True
        for candidates in _candidates(project, user, after):
            empty = False
            taken = take(candidates, user, QUEUE, rows)
            if taken is not None:
                return taken
        if empty:
            return None
    return None


# One statement finds the candidates of all parts of the queue, each by an index of its own: the order of a queue is
# that of its parts, which no single index has. ``d`` is the document, ``a`` a label of the person.
_LABELS = "labeling_annotation a JOIN labeling_document d ON d.id = a.document_id"
_BEGUN = (
    "a.project_id = %(project)s AND a.user_id = %(user)s AND NOT a.submitted "
    "AND (d.assigned_to_id IS NULL OR d.assigned_to_id = %(user)s)"
)
_MINE = "d.project_id = %(project)s AND d.assigned_to_id = %(user)s"
_WAITS = "d.state IN ('new', 'in_progress', 'rejected')"
_SENT_BACK = (
    ("labeling_document d", f"{_MINE} AND {_WAITS} AND d.state = 'rejected'"),
    (_LABELS, f"{_BEGUN} AND d.state = 'rejected'"),
)
_UNFINISHED = ((_LABELS, f"{_BEGUN} AND d.state IN ('new', 'in_progress')"),)
_ASSIGNED = (("labeling_document d", f"{_MINE} AND {_WAITS} AND d.state <> 'rejected'"),)
_UNASSIGNED = (("labeling_document d", f"d.project_id = %(project)s AND d.assigned_to_id IS NULL AND {_WAITS}"),)
_TIERS = (_SENT_BACK, _ASSIGNED, _UNASSIGNED)
_FREE = "(d.locked_until IS NULL OR d.locked_until < %(now)s OR d.locked_by_id = %(user)s)"
# Where several label a document: not labelled under the newest schema by this person yet, nor by as many others as are
# wanted. Who was sent back keeps their place, unless they have left. An aggregate, not EXISTS: the planner would hash
# all labels of the person for it.
_NEWEST = "(SELECT v.id FROM labeling_schemaversion v WHERE v.project_id = %(project)s ORDER BY v.number DESC LIMIT 1)"
_NOT_DONE = (
    "(d.wanted <= 1 OR (SELECT NOT COALESCE(bool_or(o.user_id = %(user)s AND o.submitted), false) "  # noqa: S608
    "AND (COALESCE(bool_or(o.user_id = %(user)s), false) OR d.wanted > count(DISTINCT o.user_id) "
    "FILTER (WHERE o.user_id <> %(user)s AND (o.submitted OR o.submitted_at IS NOT NULL AND m.id IS NOT NULL))) "
    "FROM labeling_annotation o "
    "LEFT JOIN labeling_membership m ON m.project_id = %(project)s AND m.user_id = o.user_id "
    f"WHERE o.document_id = d.id AND o.schema_version_id = {_NEWEST}))"
)
Part = tuple[tuple[str, str], ...]


def _candidates(project: Project, user: User, after: int | None) -> Iterator[list[int]]:
    """Free documents in the order of the queue, a handful of each part that has some."""
    known = {"project": project.pk, "user": user.pk, "now": timezone.now(), "after": after or 0}
    if after is None:
        yield from _find([(part, "true") for part in (_SENT_BACK, _UNFINISHED, _ASSIGNED, _UNASSIGNED)], known)
        return
    here = _tier_of(project, user, after)
    # What was looked at within the last minutes and left is not pressed on a person again at once.
    left = "(d.locked_by_id IS NULL OR d.locked_by_id <> %(user)s)"
    where = [left if tier < here else "d.id > %(after)s" if tier == here else "true" for tier in range(len(_TIERS))]
    yield from _find(list(zip(_TIERS, where, strict=True)), known)
    yield from _find([(part, "d.id <> %(after)s") for part in _TIERS], known)


def _find(parts: Sequence[tuple[Part, str]], known: dict[str, Any]) -> list[list[int]]:
    """The lowest ids of each part of the queue that has any."""
    selects = [
        f"(SELECT {rank} AS rank, d.id FROM {rows} WHERE {condition} AND {where} AND {_FREE} AND {_NOT_DONE} "  # noqa: S608
        f"ORDER BY d.id LIMIT {_CANDIDATES})"
        for rank, (part, where) in enumerate(parts)
        for rows, condition in part
    ]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), known)
        found = cursor.fetchall()
    ranked: dict[int, set[int]] = {}
    for rank, pk in found:
        ranked.setdefault(rank, set()).add(pk)
    return [sorted(ranked[rank])[:_CANDIDATES] for rank in sorted(ranked)]


def _tier_of(project: Project, user: User, pk: int) -> int:
    """Where in the queue a document stands: 0 sent back, 1 assigned, 2 neither, or not waiting any more."""
    row = Document.objects.filter(project=project, pk=pk).values_list("state", "assigned_to").first()
    if row is None or row[0] not in QUEUE:
        return 2
    if row[0] == DocumentState.REJECTED and row[1] is not None:
        return 0
    return 1 if row[1] == user.pk else 2


@transaction.atomic
def take(candidates: Sequence[int], user: User, states: Iterable[str], rows: Any = None) -> Document | None:
    """Takes the first of some documents that is still free and in one of these states; None where none is.

    Those that another transaction is just taking are passed over, not waited for.
    """
    document: Document | None = (
        (Document.objects.all() if rows is None else rows)
        .filter(free_for(user), pk__in=candidates, state__in=states)
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))
        .first()
    )
    if document is not None:
        document.locked_by, document.locked_until = user, timezone.now() + LOCK
        document.save(update_fields=["locked_by", "locked_until"])
    return document


def previous_document(*, project: Project, user: User, before: int) -> Document | None:
    """The nearest document before this one that the person labelled or that nobody else holds."""
    # Not EXISTS: the planner would hash all labels of the person for it.
    own = Annotation.objects.filter(document=OuterRef("pk"), user=user).values("document")[:1]
    rows = Document.objects.filter(free_for(user) | Q(pk=Subquery(own)), project=project, pk__lt=before)
    found: Document | None = rows.order_by("-pk").first()
    return found


# -- locks -------------------------------------------------------------------------------------------------------------


def hold(*, document: Document, user: User, shared: bool = False) -> Any:
    """Takes or renews a document for a person. Returns the other person who holds it, or None.

    ``shared``: several people label it side by side, so that nobody is in anybody's way.
    """
    mine = Document.objects.filter(free_for(user), pk=document.pk).update(
        locked_by=user, locked_until=timezone.now() + LOCK
    )
    if mine or shared:
        return None
    fresh = Document.objects.select_related("locked_by").only("locked_by").filter(pk=document.pk).first()
    return fresh.locked_by if fresh is not None else None


def release(*, document: Document, user: User) -> None:
    """Lets a document go, where this person holds it."""
    Document.objects.filter(pk=document.pk, locked_by=user).update(locked_by=None, locked_until=None)


# -- where one stands --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another person at work, and the document they have open."""

    name: str
    document: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands in the queue. ``left`` counts what waits for them and nobody else holds."""

    position: int
    total: int
    left: int
    others: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What waits in a project: ``unassigned`` for anybody, ``assigned`` to the person (with what was sent back)."""

    unassigned: int
    assigned: int


# Each count walks one narrow index and never touches the rows, which are wide: their texts are in them.
_COUNT_UNASSIGNED = (
    "SELECT count(*) FROM labeling_document WHERE project_id = %s AND assigned_to_id IS NULL "
    "AND state IN ('new', 'in_progress', 'rejected')"
)
_COUNT_ASSIGNED = (
    "SELECT count(*) FROM labeling_document WHERE project_id = %s AND assigned_to_id = %s "
    "AND state IN ('new', 'in_progress', 'rejected')"
)
_COUNT_ALL = "SELECT count(*) FROM labeling_document WHERE project_id = %s"


def counts(*, project: Project, user: User) -> Counts:
    """How much waits for a person."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({_COUNT_UNASSIGNED}), ({_COUNT_ASSIGNED})", [project.pk, project.pk, user.pk])
        unassigned, assigned = cursor.fetchone()
    return Counts(unassigned, assigned)


def standing(*, document: Document, user: User) -> Standing:
    """Position of a document in its project, what is left for this person, and who else is at work nearby."""
    project = document.project_id
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT ({_COUNT_ALL} AND id <= %s), ({_COUNT_ALL}), ({_COUNT_UNASSIGNED}), ({_COUNT_ASSIGNED})",
            [project, document.pk, project, project, project, user.pk],
        )
        position, total, unassigned, assigned = cursor.fetchone()
    held = (
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
    people = presence.elsewhere(project_id=project, user=user)
    taken = 0
    for other in held:
        taken += other.state in QUEUE and other.assigned_to_id in (None, user.pk)
        assert other.locked_by is not None  # the query asks for it
        # Who works without a browser has nothing open.
        people.setdefault(other.locked_by.get_username(), other.external_id)
    left = max(0, unassigned + assigned - taken)
    others = tuple(Neighbour(name, where) for name, where in people.items())
    return Standing(position, total, left, others[:3])


# -- put aside, flagged ------------------------------------------------------------------------------------------------


@transaction.atomic
def skip(*, document: Document, user: User, reason: str) -> None:
    """Takes a document out of the queue, with the reason why it cannot be labelled.

    Raises:
        Refused: no reason, or the document is submitted already.
    """
    reason = " ".join(reason.replace("\x00", "").split())[:300]
    if not reason:
        raise Refused("Say why this document cannot be labelled.")
    if not Document.objects.filter(pk=document.pk, state__in=state.SKIPPABLE).update(**state.skip(reason)):
        raise Refused("This document is submitted already, so it cannot be skipped.")
    tell("document.skipped", document, user)


def flag(*, document: Document, user: User, tags: Iterable[str]) -> list[str]:
    """Sets a document's failure tags; returns them in the order of the vocabulary. Tags that an import brought stay
    possible.

    Raises:
        Refused: a tag that neither the vocabulary of the project nor the document knows.
    """
    with transaction.atomic():
        row = Document.objects.select_for_update(of=("self",)).select_related("project").get(pk=document.pk)
        known = list(dict.fromkeys([*tags_of(row.project), *row.tags]))
        wanted = set(tags)
        unknown = sorted(wanted.difference(known))
        if unknown:
            raise Refused(f"There is no failure tag {', '.join(unknown)[:200]}.")
        row.tags = [tag for tag in known if tag in wanted]
        row.save(update_fields=["tags"])
    return list(row.tags)
