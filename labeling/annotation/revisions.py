"""How a label is written: under the document's row lock, merged with what others saved since, as one more revision.

The shared inside of ``annotating`` (what people write) and ``reviewing`` (what reviewers decide).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from labeling.annotation.locked_document import ANSWERED, LockedDocument
from labeling.annotation.predictions import difference
from labeling.form.codec import Parsed, Typed, Written, from_entry, from_written
from labeling.form.merge import Clash, merge
from labeling.form.validation import Checks, check
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Gold,
    Origin,
    Review,
    SchemaVersion,
)
from slmstudio.contract.schema.compiled import Problem

#: the most seconds that one save adds to the time of one field
MOST_SECONDS = 600.0


@dataclass(slots=True)
class Saved:
    """What a save left. ``merged``: paths that somebody else changed meanwhile and that are now theirs; ``clashes``:
    paths that both changed, where this person's value stays. ``submitted`` is False where a submit had to be merged
    first: the person must see the result before it counts. ``read``: what was sent, as it was read, before others'
    changes were merged into it. ``prediction``: the pre-label the form was filled with.
    ``approved``: a reviewer's submit, which approves at once. ``made_of``: origins of labels that a reviewer made this
    one of, beside those of their own.
    """

    version: int
    value: Any
    checks: Checks
    schema_version: SchemaVersion
    state: str
    submitted: bool = False
    approved: bool = False
    merged: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    merged_with: str = ""
    shown: dict[str, str] = field(default_factory=dict)
    read: Any = None
    prediction: int | None = None
    made_of: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """What the schema rejects."""
        return self.checks.problems


@dataclass(frozen=True, slots=True)
class Work:
    """What comes with a save beside its value: time spent since the last one, and the pre-label the form was filled
    with. ``field_seconds``: field pattern -> seconds with the focus there.
    """

    seconds: float = 0
    field_seconds: Mapping[str, float] = field(default_factory=dict)
    prediction: int | None = None


@dataclass(slots=True)
class Change:
    """A save about to be written. ``mine`` is the value as the person has it."""

    saved: Saved
    mine: Any


def merged(
    held: LockedDocument,
    user: User,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    schema_number: int | None,
) -> Change:
    """What a save makes of the document. ``value`` is a JSON value, ``Typed(entry)``, or ``Written``."""
    document = held.document
    parsed = _parsed(held, value)
    mine = parsed.value
    if schema_number not in (None, held.schema_version.number):
        # Another schema counts its own versions.
        base_version = 0
    last_version = document.head_version or 0
    # Where others are unseen one merges with oneself alone; the versions are one series all the same.
    head_pk, head_version = (
        (document.own_pk, document.own_version or 0) if held.is_blind else (document.head_pk, last_version)
    )
    merged_with, taken, clashes = "", [], []
    if head_version not in (0, base_version):
        head = Annotation.objects.get(pk=head_pk)
        of = {"annotation": head_pk} if held.is_blind else {"annotation__document": document}
        revisions = AnnotationRevision.objects.filter(**of, annotation__schema_version=held.schema_version)
        start = revisions.filter(number=base_version).first()
        base, since = (start.value, start.number) if start is not None else ({}, 0)
        result = merge(base, mine, head.value)
        taken = result.taken
        # What somebody else put clashes although a later save of this person went over it. Between two tabs of one
        # person nothing clashes: what this one says is newer.
        others = revisions.filter(number__gt=since).exclude(annotation__user=user).select_related("annotation__user")
        other = others.order_by("-number").first()
        if other is not None:
            clashes = merge(base, mine, other.value).clashes
        merged_with = "you, in another window" if other is None else author_of(other.annotation)
        evidence = {**head.evidence, **evidence}
        parsed = Parsed(result.value, parsed.problems, parsed.shown)
    saved = Saved(
        version=last_version + 1,
        value=held.compiled.ordered(parsed.value),
        checks=check(held.compiled, parsed, document.text, evidence),
        schema_version=held.schema_version,
        state=document.state,
        merged=taken,
        clashes=clashes,
        merged_with=merged_with if taken or clashes else "",
        shown=parsed.shown,
        read=mine,
        prediction=getattr(document, "filled_pk", None) or document.own_prediction,
    )
    return Change(saved, held.compiled.ordered(mine))


def _parsed(held: LockedDocument, value: Any) -> Parsed:
    if isinstance(value, Typed):
        return from_entry(held.node, value.entry, held.document.text)
    return from_written(held.node, value, held.document.text) if isinstance(value, Written) else Parsed(value)


def author_of(annotation: Annotation) -> str:
    """Who wrote it, in words."""
    return annotation.user.get_username() if annotation.user is not None else "an import"


def origin_of(held: LockedDocument, saved: Saved) -> str:
    """Where a label of this save comes from: a pre-label, where its form or a label it goes on from began as one, or
    where the person could see one before their first save. What a client says about it cannot make it less.
    """
    document = held.document
    if document.synthetic:
        return Origin.SYNTHETIC
    before = {document.own_origin, *saved.made_of, *(() if held.is_blind else (document.latest_origin,))}
    seen = document.proposed and document.own_origin is None
    began = saved.prediction is not None or Origin.PRELABELLED in before or seen
    return Origin.PRELABELLED if began else Origin.HUMAN


def write(held: LockedDocument, user: User, saved: Saved, action: str, work: Work) -> AnnotationRevision:
    """Writes the annotation of this person and its revision."""
    now = timezone.now()
    document = held.document
    content = {"value": saved.value, "evidence": saved.checks.evidence}
    changes: dict[str, Any] = {
        **content,
        "valid": saved.checks.valid,
        "submitted": action in ANSWERED,
        "origin": origin_of(held, saved),
        "version": saved.version,
        "prediction_id": saved.prediction,
        "field_seconds": _added(held, document.own_field_seconds or {}, work.field_seconds),
        "updated_at": now,
    }
    if changes["submitted"]:
        changes["submitted_at"] = now
        changes.update(_compared(held, saved))
    pk = document.own_pk
    if pk is None:
        pk = Annotation.objects.create(
            project_id=document.project_id,
            document=document,
            schema_version=held.schema_version,
            user=user,
            seconds=work.seconds,
            **changes,
        ).pk
    else:
        Annotation.objects.filter(pk=pk).update(**changes, seconds=F("seconds") + work.seconds)
    return AnnotationRevision.objects.create(
        annotation_id=pk, number=saved.version, action=action, user=user, created_at=now, **content
    )


def _compared(held: LockedDocument, saved: Saved) -> dict[str, int | None]:
    """How far the label is from the newest prediction, shown or withheld."""
    if held.document.compared_pk is None:
        return {"changed_fields": None, "predicted_fields": None}
    changed, total = difference(held.compiled, saved.value, held.document.compared_value)
    return {"changed_fields": min(changed, 32767), "predicted_fields": min(total, 32767)}


def _added(held: LockedDocument, before: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Seconds per field pattern, summed. What is no field or no time is dropped: it comes from a browser."""
    total = dict(before)
    for pattern, seconds in more.items():
        known = pattern in held.compiled.by_pattern and isinstance(seconds, int | float)
        if known and math.isfinite(seconds) and seconds > 0:
            total[pattern] = round(total.get(pattern, 0) + min(float(seconds), MOST_SECONDS), 1)
    return total


def decide(
    held: LockedDocument, user: User, decision: str, *, annotation_id: int, revision_id: int, reason: str = ""
) -> Review:
    """Writes what a reviewer decided about a revision."""
    return Review.objects.create(
        document=held.document,
        annotation_id=annotation_id,
        revision_id=revision_id,
        decision=decision,
        reason=reason,
        reviewer=user,
        created_at=timezone.now(),
    )


def make_gold(held: LockedDocument, revision_id: int, origin: str, approved_by: Any = None) -> None:
    """Makes a revision the label that counts."""
    gold = Gold(
        document=held.document,
        schema_version=held.schema_version,
        revision_id=revision_id,
        origin=origin,
        approved_by=approved_by,
        created_at=timezone.now(),
    )
    Gold.objects.bulk_create(
        [gold],
        update_conflicts=True,
        unique_fields=["document", "schema_version"],
        update_fields=["revision", "origin", "approved_by", "created_at"],
    )
