"""Writing a label: under the document's row lock, merged with newer saves of others, as one more revision.

Shared by ``services`` (drafts and submits) and ``labeling.review`` (decisions).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from labeling.annotation.locked_document import LABEL_ACTIONS, LockedDocument
from labeling.form.codec import FormEntry, JsonEntry, Parsed, from_entry, from_json_entry
from labeling.form.merge import MergeConflict, merge
from labeling.form.validation import Checks, check
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Gold,
    Origin,
    Review,
    SchemaVersion,
)
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.contract.scoring.scorer import count_differences

#: maximum number of seconds that one save adds to a field's time
MAX_FIELD_SECONDS = 600.0


@dataclass(slots=True)
class SaveResult:
    """The result of a save.

    ``merged``: paths that take a newer value; ``conflicts``: paths that both changed, where this user's value stays.
    ``merged_with``: the other user, "you" for another tab of the same. ``submitted`` is False where a submit was
    merged: the user must see the result first. ``approved``: a reviewer's submit approved the document.
    ``understood``: path -> how a typed text was read, where that differs.
    ``submitted_value``: the value before the merge. ``prediction``: the pre-label that filled the form.
    ``source_origins``: origins of the labels that a reviewer made this one from.
    """

    version: int
    value: Any
    checks: Checks
    schema_version: SchemaVersion
    state: str
    submitted: bool = False
    approved: bool = False
    merged: list[str] = field(default_factory=list)
    conflicts: list[MergeConflict] = field(default_factory=list)
    merged_with: str = ""
    understood: dict[str, str] = field(default_factory=dict)
    submitted_value: Any = None
    prediction: int | None = None
    source_origins: tuple[str, ...] = ()

    @property
    def problems(self) -> list[ValueProblem]:
        """Errors of the schema."""
        return self.checks.problems


def merge_save(
    locked: LockedDocument,
    user: User,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    schema_number: int | None,
) -> SaveResult:
    """Merges a save with newer saves of others; it is not written. ``value``: JSON, FormEntry or JsonEntry."""
    document = locked.document
    parsed = _parsed(locked, value)
    mine = parsed.value
    if schema_number not in (None, locked.schema_version.number):
        # Versions are counted per schema.
        base_version = 0
    last_version = document.head_version or 0
    # Independent labels merge only with the user's own saves; the versions are one series anyway.
    head_pk, head_version = (
        (document.own_pk, document.own_version or 0) if locked.is_blind else (document.head_pk, last_version)
    )
    merged_with, taken, clashes = "", [], []
    if head_version not in (0, base_version):
        head = Annotation.objects.get(pk=head_pk)
        of = {"annotation": head_pk} if locked.is_blind else {"annotation__document": document}
        revisions = AnnotationRevision.objects.filter(**of, annotation__schema_version=locked.schema_version)
        start = revisions.filter(number=base_version).first()
        base, since = (start.value, start.number) if start is not None else ({}, 0)
        result = merge(base, mine, head.value)
        taken = result.taken
        # Another user's value conflicts even if a later save of this user overwrote it. Two tabs of one user never
        # conflict: this save is newer.
        others = revisions.filter(number__gt=since).exclude(annotation__user=user).select_related("annotation__user")
        other = others.order_by("-number").first()
        if other is not None:
            clashes = merge(base, mine, other.value).conflicts
        merged_with = "you" if other is None else author_name(other.annotation)
        evidence = {**head.evidence, **evidence}
        parsed = Parsed(result.value, parsed.problems, parsed.shown)
    return SaveResult(
        version=last_version + 1,
        value=locked.compiled.ordered(parsed.value),
        checks=check(locked.compiled, parsed, document.text, evidence),
        schema_version=locked.schema_version,
        state=document.state,
        merged=taken,
        conflicts=clashes,
        merged_with=merged_with if taken or clashes else "",
        understood=parsed.shown,
        submitted_value=mine,
        prediction=getattr(document, "filled_pk", None) or document.own_prediction,
    )


def _parsed(locked: LockedDocument, value: Any) -> Parsed:
    if isinstance(value, FormEntry):
        return from_entry(locked.node, value.entry, locked.document.text)
    return from_json_entry(locked.node, value, locked.document.text) if isinstance(value, JsonEntry) else Parsed(value)


def author_name(annotation: Annotation) -> str:
    """The name of the author."""
    return annotation.user.get_username() if annotation.user is not None else "an import"


def label_origin(locked: LockedDocument, saved: SaveResult) -> str:
    """The origin of a label: pre-labeled where its form, or a label that it continues, started from a pre-label, or
    where the user could see one before their first save. No argument of a client changes that.
    """
    document = locked.document
    if document.synthetic:
        return Origin.SYNTHETIC
    before = {document.own_origin, *saved.source_origins, *(() if locked.is_blind else (document.latest_origin,))}
    seen = document.proposed and document.own_origin is None
    began = saved.prediction is not None or Origin.PRELABELLED in before or seen
    return Origin.PRELABELLED if began else Origin.HUMAN


def write_revision(
    locked: LockedDocument,
    user: User,
    saved: SaveResult,
    action: str,
    seconds: float = 0,
    field_seconds: Mapping[str, float] | None = None,
) -> AnnotationRevision:
    """Writes the user's annotation and its revision. ``seconds``: time since the last save; ``field_seconds``: field
    pattern -> seconds with the focus there.
    """
    now = timezone.now()
    document = locked.document
    content = {"value": saved.value, "evidence": saved.checks.evidence}
    changes: dict[str, Any] = {
        **content,
        "valid": saved.checks.valid,
        "submitted": action in LABEL_ACTIONS,
        "origin": label_origin(locked, saved),
        "version": saved.version,
        "prediction_id": saved.prediction,
        "field_seconds": _add_field_seconds(locked, document.own_field_seconds or {}, field_seconds or {}),
        "updated_at": now,
    }
    if changes["submitted"]:
        changes["submitted_at"] = now
        changes.update(_prediction_difference(locked, saved))
    pk = document.own_pk
    if pk is None:
        pk = Annotation.objects.create(
            project_id=document.project_id,
            document=document,
            schema_version=locked.schema_version,
            user=user,
            seconds=seconds,
            **changes,
        ).pk
    else:
        Annotation.objects.filter(pk=pk).update(**changes, seconds=F("seconds") + seconds)
    return AnnotationRevision.objects.create(
        annotation_id=pk, number=saved.version, action=action, user=user, created_at=now, **content
    )


def _prediction_difference(locked: LockedDocument, saved: SaveResult) -> dict[str, int | None]:
    """The difference between the label and the newest prediction, shown or withheld."""
    if locked.document.compared_pk is None:
        return {"changed_fields": None, "predicted_fields": None}
    changed, total = count_differences(locked.compiled, saved.value, locked.document.compared_value)
    return {"changed_fields": min(changed, 32767), "predicted_fields": min(total, 32767)}


def _add_field_seconds(
    locked: LockedDocument, before: Mapping[str, float], more: Mapping[str, float]
) -> dict[str, float]:
    """Seconds per field pattern, summed. Unknown fields and invalid times, sent by a browser, are ignored."""
    total = dict(before)
    for pattern, seconds in more.items():
        known = pattern in locked.compiled.by_pattern and isinstance(seconds, int | float)
        if known and math.isfinite(seconds) and seconds > 0:
            total[pattern] = round(total.get(pattern, 0) + min(float(seconds), MAX_FIELD_SECONDS), 1)
    return total


def record_review(
    locked: LockedDocument,
    user: User,
    decision: str,
    *,
    annotation_id: int,
    revision_id: int,
    reason: str = "",
    replaced_gold: dict[str, Any] | None = None,
) -> Review:
    """Stores a reviewer's decision on a revision."""
    return Review.objects.create(
        document=locked.document,
        annotation_id=annotation_id,
        revision_id=revision_id,
        decision=decision,
        reason=reason,
        replaced_gold=replaced_gold,
        reviewer=user,
        created_at=timezone.now(),
    )


_GOLD_COLUMNS = ("revision_id", "origin", "approved_by_id", "created_at")


def stored_gold(locked: LockedDocument) -> dict[str, Any]:
    """The gold label of the document as JSON, for ``restore_gold``; {} without one."""
    rows = Gold.objects.filter(document=locked.document, schema_version=locked.schema_version)
    row = rows.values(*_GOLD_COLUMNS).first()
    return {} if row is None else {**row, "created_at": row["created_at"].isoformat()}


def restore_gold(locked: LockedDocument, stored: Mapping[str, Any]) -> None:
    """Makes the gold label what ``stored_gold`` returned."""
    rows = Gold.objects.filter(document=locked.document, schema_version=locked.schema_version)
    if stored:
        rows.update(**stored)
    else:
        rows.delete()


def set_gold(locked: LockedDocument, revision_id: int, origin: str, approved_by: User | None = None) -> None:
    """Makes a revision the gold label."""
    gold = Gold(
        document=locked.document,
        schema_version=locked.schema_version,
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
