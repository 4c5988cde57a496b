"""Labels: opening a document, saving drafts, submitting, restoring.

Every save is one transaction that holds the document's row. A version number, one series for a document and schema
whoever saves, travels with each save: a save that was made from an older version is merged with what others saved since
(``labeling.form.merge``), never put over it. Nothing that the schema rejects is ever submitted or gold.

Where several people label a document each unseen by the others (``Document.wanted``), everybody opens and merges only
what they wrote themselves; once all have submitted, labels that mean the same count, others wait for adjudication.

What a reviewer approved stays what counts until a reviewer approves something newer: a submit after an approval puts
the document back to "submitted" and into the review, whether or not the project requires one. A submit by somebody who
may review, over a label that somebody else answered for, approves at once; not so, with four eyes, by who doubts the
label that counts, or wrote it and it is doubted: theirs waits beside it, disputed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, Case, Count, Exists, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from labeling.annotation import predictions, state
from labeling.annotation.locked_document import (
    Actions,
    LockedDocument,
    is_own_only,
    lock_document,
    newest_decision,
    newest_schema,
    schema_of,
)
from labeling.annotation.predictions import Shown
from labeling.annotation.queue import (
    LOCK,
    flag,
    free_for,
    hold,
    next_document,
    previous_document,
    release,
    skip,
    standing,
)
from labeling.annotation.revisions import Saved, Work, decide, make_gold, merged, origin_of, write
from labeling.annotation.submission import open_points, would_approve
from labeling.form.codec import Parsed
from labeling.form.merge import same
from labeling.form.tree import tree_of
from labeling.form.unanswered import answered
from labeling.form.validation import Checks, check
from labeling.integrations.events import tell
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Comment,
    Contract,
    Document,
    DocumentState,
    Prediction,
    Review,
    SchemaVersion,
)
from labeling.review import challenges
from labeling.review.agreement import agree
from slmstudio.access import Action, may
from slmstudio.contract.schema.compiled import Problem
from slmstudio.errors import Refused

__all__ = [
    "Checks",
    "Invalid",
    "Opened",
    "Saved",
    "flag",
    "hold",
    "next_document",
    "open_document",
    "openable",
    "previous_document",
    "release",
    "restore",
    "save_draft",
    "skip",
    "standing",
    "submit",
]


class Invalid(ValueError):
    """The value cannot be submitted. It was kept as a draft: ``saved``. ``problems`` has a sentence per field."""

    def __init__(self, saved: Saved, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path} {problem.message}".strip() for problem in problems))
        self.saved, self.problems = saved, problems


@dataclass(slots=True)
class Opened:
    """A document as a person finds it. ``annotation`` is the newest of anybody for the newest schema (the person's own,
    with ``own_only``); without one the value is that of an older schema, or the prediction's, or nothing. ``version``
    is what a save must name as its base.

    ``prediction``: the newest that may be shown. ``rejection``: why the label came back, until it is submitted again.
    ``approves``: a submit of this person approves the document.
    """

    document: Document
    schema_version: SchemaVersion
    annotation: Annotation | None
    value: Any
    evidence: dict[str, Any]
    version: int
    locked_by_other: Any
    checks: Checks
    prediction: Shown | None = None
    rejection: Review | None = None
    open_comments: int = 0
    own_only: bool = False
    instruction: str = ""
    approves: bool = False

    @property
    def author(self) -> Any:
        """Whose value it is; None for an import, or where there is none."""
        return self.annotation.user if self.annotation else None

    @property
    def filled_from(self) -> int | None:
        """The prediction that the value shown began as; None where it did not."""
        if self.annotation is not None:
            return self.annotation.prediction_id
        return self.prediction.id if self.prediction is not None and self.value == self.prediction.value else None


def openable() -> Any:
    """Documents with all that opening one needs beside its columns. A view that fetches its document from here saves
    ``open_document`` a query.
    """
    newest = newest_schema(OuterRef("project_id"))
    usable = Prediction.objects.filter(
        document=OuterRef("pk"), schema_version=OuterRef("schema_pk"), value__isnull=False
    )
    comments = Comment.objects.filter(document=OuterRef("pk"), resolved_at__isnull=True).order_by().values("document")
    return Document.objects.annotate(
        schema_pk=Subquery(newest.values("pk")[:1]),
        schema_sha256=Subquery(newest.values("sha256")[:1]),
        decision=newest_decision(OuterRef("pk")),
        predicted=Exists(usable),
        open_comments=Coalesce(Subquery(comments.annotate(total=Count("pk")).values("total")), 0),
        instruction=Subquery(Contract.objects.filter(project=OuterRef("project_id")).values("instruction")[:1]),
    )


def open_document(*, document: Document, user: User) -> Opened:
    """Opens a document for a person and holds it for them; where somebody else does, ``locked_by_other`` says who."""
    found: Any = document if hasattr(document, "schema_pk") else openable().get(pk=document.pk)
    own_only = is_own_only(found, found.decision)
    fresh = timezone.now() + LOCK - timedelta(seconds=5)  # taken a moment ago, by what led here
    just_taken = found.locked_by_id == user.pk and found.locked_until is not None and found.locked_until > fresh
    other = None if just_taken else hold(document=document, user=user, shared=own_only)
    schema_version = schema_of(found.schema_pk, found.schema_sha256)
    annotations = Annotation.objects.filter(document=document)
    latest = (
        (annotations.filter(user=user) if own_only else annotations)
        .select_related("user")
        .order_by("-schema_version__number", "-version", "-updated_at")
        .first()
    )
    current = latest if latest is not None and latest.schema_version_id == schema_version.pk else None
    shown = predictions.shown(document, schema_version) if found.predicted else None
    compiled = schema_version.compiled
    value: Any = compiled.ordered(latest.value) if latest is not None else shown.value if shown is not None else {}
    evidence = dict(latest.evidence) if latest is not None else {}
    if (latest is None and value) or (current is not None and current.user_id is None):
        # What a model or an import left out is its answer.
        evidence = answered(tree_of(compiled), value, evidence)
    return Opened(
        document=document,
        schema_version=schema_version,
        annotation=current,
        value=value,
        evidence=evidence,
        version=current.version if current else 0,
        locked_by_other=other,
        checks=check(compiled, Parsed(value), document.text, evidence),
        prediction=shown,
        rejection=None if own_only and current and current.submitted else _rejection(document, found.decision),
        open_comments=found.open_comments,
        own_only=own_only,
        instruction=found.instruction or "",
        approves=latest is not None and would_approve(found, schema_version, user),
    )


def _rejection(document: Document, decision: str | None) -> Review | None:
    if document.state != DocumentState.REJECTED or decision != Review.Decision.REJECT:
        return None
    newest: Review | None = document.reviews.select_related("reviewer").order_by("-pk").first()
    return newest


# -- saving ------------------------------------------------------------------------------------------------------------


#: states that the first draft ends
_STARTS = [before for before in DocumentState if state.draft(before) != before]


def _draft_changes(user: User, now: datetime) -> dict[str, Any]:
    mine = free_for(user)
    return {
        "state": Case(When(state__in=_STARTS, then=Value(DocumentState.IN_PROGRESS)), default=F("state")),
        "locked_by": Case(When(mine, then=Value(user.pk)), default=F("locked_by"), output_field=BigIntegerField()),
        "locked_until": Case(When(mine, then=Value(now + LOCK)), default=F("locked_until")),
    }


def _expects_approval(document: Document) -> bool:
    """Whether a submit most likely approves: a reviewer mostly decides about labels of others. The role is known where
    a view fetched the project.
    """
    known = Document._meta.get_field("project").is_cached(document)
    role = getattr(document.project, "role", "") if known else ""
    return bool(role) and may(role, Action.REVIEW)


def save_draft(
    *,
    document: Document,
    user: User,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    seconds: float = 0,
    schema_number: int | None = None,
    prediction: int | None = None,
    field_seconds: Mapping[str, float] | None = None,
    action: str = Actions.DRAFT,
) -> Saved:
    """Saves what a person has so far; it may be invalid. ``value`` is a JSON value, or ``Typed(entry)``.

    ``base_version`` is the version it was made from, under the schema of ``schema_number`` (None: the newest); where
    others saved since, the two are merged field by field. ``seconds``: spent since the last save; ``field_seconds``:
    of it with the focus in each field, by pattern. ``prediction``: the one that the form was filled from; it is kept
    from then on, and one that is not shown for this document is ignored.
    """
    with transaction.atomic():
        changes = _draft_changes(user, timezone.now())
        held = lock_document(document, user, changes, prediction=prediction, whole=False)
        change = merged(held, user, value, evidence, base_version, schema_number)
        write(held, user, change.saved, action, Work(seconds, field_seconds or {}))
        return change.saved


def submit(
    *,
    document: Document,
    user: User,
    value: Any,
    evidence: Mapping[str, Any],
    base_version: int,
    seconds: float = 0,
    schema_number: int | None = None,
    prediction: int | None = None,
    field_seconds: Mapping[str, float] | None = None,
    asked: Collection[str] | None = None,
) -> Saved:
    """Submits a label; where the project has review off it is gold at once. Arguments as in ``save_draft``.

    ``asked``: a person submits, and was asked already about these optional fields that nobody answered; others are
    asked about. None: a program submits, and what is absent is its answer.

    Where others changed something meanwhile, or the schema is no longer number ``schema_number``, the merged value is
    saved as a draft and not submitted.

    Raises:
        Invalid: the schema rejects the value, or a doubt of it (a value that is nowhere in the document, a broken
            invariant) is not confirmed, or optional fields are to be asked about; saved as a draft.
    """
    problems: list[Problem] = []
    changes = state.before_submit(may_review=_expects_approval(document))
    try:
        with transaction.atomic():
            held = lock_document(document, user, changes, prediction=prediction)
            change = merged(held, user, value, evidence, base_version, schema_number)
            saved = change.saved
            unseen = bool(saved.clashes) or not same(change.mine, saved.value)
            if unseen or schema_number not in (None, held.schema_version.number):
                raise _NotYet
            problems = open_points(saved.checks, asked)
            if problems:
                raise _NotYet
            if asked is None:
                saved.checks.answer_all()
            _count(held, user, saved, Work(seconds, field_seconds or {}))
            saved.submitted = True
            return saved
    except _NotYet:
        # Everything above is rolled back, the document's state with it.
        saved = save_draft(
            document=document,
            user=user,
            value=value,
            evidence=evidence,
            base_version=base_version,
            seconds=seconds,
            schema_number=schema_number,
            prediction=prediction,
            field_seconds=field_seconds,
        )
    if problems:
        raise Invalid(saved, problems)
    return saved


class _NotYet(Exception):
    """What was to be submitted becomes a draft."""


def _count(held: LockedDocument, user: User, saved: Saved, work: Work) -> None:
    """Writes a submitted label and decides what it counts for."""
    document = held.document
    outcome = state.submit(_submission(held, user, saved))
    revision = write(held, user, saved, Actions.APPROVE if outcome.is_approval else Actions.SUBMIT, work)
    if outcome.is_approval:
        saved.approved = True
        unchanged = same(held.compiled.ordered(document.answered_value), saved.value)
        decision = Review.Decision.APPROVE if unchanged else Review.Decision.FIX
        decide(held, user, decision, annotation_id=revision.annotation_id, revision_id=revision.pk)
    saved.state = outcome.state
    if len(outcome.change) > 1 or saved.state != document.state:
        Document.objects.filter(pk=document.pk).update(**outcome.change)
    if outcome.is_gold:
        make_gold(held, revision.pk, origin_of(held, saved), user if outcome.is_approval else None)
    tell(
        "document.approved" if outcome.is_approval else "document.submitted",
        document,
        user,
        annotation=revision.annotation_id,
        revision=revision.pk,
    )


def _submission(held: LockedDocument, user: User, saved: Saved) -> state.Submission:
    document = held.document
    others = (document.others_values or []) if held.is_blind else []
    has_label = document.answered_pk is not None
    return state.Submission(
        has_label=has_label,
        is_own=document.answered_by == user.pk,
        is_involved=has_label and challenges.is_party(document, user),
        may_review=held.may_review,
        is_reviewed=held.settled,
        was_rejected=document.decision == Review.Decision.REJECT,
        is_blind=held.is_blind,
        missing_labels=document.wanted - len(others) - 1,
        labels_agree=agree(held.compiled, [saved.value, *others]),
        review_required=document.review_required,
        four_eyes=has_label and document.project.four_eyes,
    )


def restore(*, document: Document, user: User, revision_id: int, base_version: int) -> Saved:
    """Writes what an old revision of a document said as a new one of this person; it counts once it is submitted.

    ``base_version``: the version the person saw; what others saved since is merged, as with any save.

    Raises:
        Refused: there is no such revision, or it is somebody else's while everybody labels unseen by the others.
    """
    revision = (
        AnnotationRevision.objects.select_related("annotation")
        .annotate(decision=newest_decision(OuterRef("annotation__document")))
        .filter(pk=revision_id, annotation__document=document)
        .first()
    )
    if revision is None:
        raise Refused("This document has no such revision.")
    row = Document.objects.only("wanted").get(pk=document.pk)
    if is_own_only(row, revision.decision) and revision.annotation.user_id != user.pk:
        raise Refused("Several people label this document unseen by each other, so only your own labels are restored.")
    return save_draft(
        document=document,
        user=user,
        value=revision.value,
        evidence=revision.evidence,
        base_version=base_version,
        action=Actions.RESTORE,
    )
