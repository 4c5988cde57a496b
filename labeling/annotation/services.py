"""Annotating: opening a document, saving drafts, submitting, restoring.

Every save is one transaction that locks the document's row. Saves of a document under a schema have one series of
version numbers: a save that starts from an older version is merged with the newer ones (``labeling.form.merge``) and
never overwrites them. A value that the schema rejects is never submitted or gold.

With an overlap (``Document.overlap``), annotators open and merge only their own annotation. When all have submitted,
equal labels become gold, and conflicting ones are adjudicated. ``labeling.annotation.state`` decides what a submit
makes of the document.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import BigIntegerField, Case, Count, Exists, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from labeling.annotation import challenged_labels, predictions, state
from labeling.annotation.locked_document import (
    REVIEWED_DECISIONS,
    Actions,
    LockedDocument,
    is_blind_overlap,
    label_revisions,
    lock_document,
    newest_decision,
    newest_schema,
    schema_of,
)
from labeling.annotation.queue import (
    LOCK,
    acquire_lock,
    flag,
    next_document,
    previous_document,
    queue_position,
    release_lock,
    skip,
    unlocked_for,
)
from labeling.annotation.revisions import (
    SaveResult,
    label_origin,
    merge_save,
    record_review,
    set_gold,
    write_revision,
)
from labeling.form.codec import Parsed
from labeling.form.merge import same
from labeling.form.tree import tree_of
from labeling.form.validation import Checks, check, with_absent_evidence
from labeling.integrations.events import emit_document_event
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
from slmstudio.access import Action, may, require
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem
from slmstudio.contract.scoring.scorer import count_differences
from slmstudio.errors import Refused

__all__ = [
    "Checks",
    "InvalidLabel",
    "OpenDocument",
    "SaveResult",
    "acquire_lock",
    "flag",
    "labels_agree",
    "next_document",
    "open_document",
    "previous_document",
    "queue_position",
    "release_lock",
    "restore",
    "save_draft",
    "skip",
    "submit",
    "with_open_data",
]


class InvalidLabel(ValueError):
    """The value cannot be submitted and was saved as a draft (``saved``). ``problems``: one message per field."""

    def __init__(self, saved: SaveResult, problems: list[ValueProblem]) -> None:
        super().__init__("; ".join(f"{problem.path} {problem.message}".strip() for problem in problems))
        self.saved, self.problems = saved, problems


@dataclass(slots=True)
class OpenDocument:
    """A document opened by a user. ``annotation`` is the newest one under the newest schema (with ``is_blind`` the
    user's own); without one, the value is that of an older schema, the prediction's, or empty. ``version`` is the base
    version of the next save.

    ``prediction``: the newest visible one. ``rejection``: the review that rejected the label, until the next submit.
    ``approves``: a submit of this user approves the document.
    """

    document: Document
    schema_version: SchemaVersion
    annotation: Annotation | None
    value: Any
    evidence: dict[str, Any]
    version: int
    locked_by_other: User | None
    checks: Checks
    prediction: Prediction | None = None
    rejection: Review | None = None
    open_comments: int = 0
    is_blind: bool = False
    instruction: str = ""
    approves: bool = False

    @property
    def author(self) -> User | None:
        """The author of the value; None for an import or without an annotation."""
        return self.annotation.user if self.annotation else None

    @property
    def filled_from(self) -> int | None:
        """The prediction that the value started from, if any."""
        if self.annotation is not None:
            return self.annotation.prediction_id
        return self.prediction.pk if self.prediction is not None and self.value == self.prediction.value else None


def with_open_data() -> QuerySet[Document]:
    """Documents with everything ``open_document`` needs, which saves it a query."""
    newest = newest_schema(OuterRef("project_id"))
    usable = Prediction.objects.filter(
        document=OuterRef("pk"), schema_version=OuterRef("schema_pk"), value__isnull=False
    )
    comments = Comment.objects.filter(document=OuterRef("pk"), resolved_at__isnull=True).order_by().values("document")
    rows: QuerySet[Document] = Document.objects.annotate(
        schema_pk=Subquery(newest.values("pk")[:1]),
        schema_sha256=Subquery(newest.values("sha256")[:1]),
        decision=newest_decision(OuterRef("pk")),
        predicted=Exists(usable),
        open_comments=Coalesce(Subquery(comments.annotate(total=Count("pk")).values("total")), 0),
        instruction=Subquery(Contract.objects.filter(project=OuterRef("project_id")).values("instruction")[:1]),
    )
    return rows


def open_document(*, document: Document, user: User) -> OpenDocument:
    """Opens a document for a user and locks it; ``locked_by_other`` is the other user who has the lock."""
    row: Any = document if hasattr(document, "schema_pk") else with_open_data().get(pk=document.pk)
    own_only = is_blind_overlap(row, row.decision)
    fresh = timezone.now() + LOCK - timedelta(seconds=5)  # locked by the request that led here
    just_taken = row.locked_by_id == user.pk and row.locked_until is not None and row.locked_until > fresh
    other = None if just_taken else acquire_lock(document=document, user=user, shared=own_only)
    schema_version = schema_of(row.schema_pk, row.schema_sha256)
    annotations = Annotation.objects.filter(document=document)
    latest = (
        (annotations.filter(user=user) if own_only else annotations)
        .select_related("user")
        .order_by("-schema_version__number", "-version", "-updated_at")
        .first()
    )
    current = latest if latest is not None and latest.schema_version_id == schema_version.pk else None
    shown = predictions.visible_prediction(document, schema_version) if row.predicted else None
    compiled = schema_version.compiled
    value: Any = compiled.ordered(latest.value) if latest is not None else shown.value if shown is not None else {}
    evidence = dict(latest.evidence) if latest is not None else {}
    if (latest is None and value) or (current is not None and current.user_id is None):
        # A model or an import leaves out what is not in the document.
        evidence = with_absent_evidence(tree_of(compiled), value, evidence)
    return OpenDocument(
        document=document,
        schema_version=schema_version,
        annotation=current,
        value=value,
        evidence=evidence,
        version=current.version if current else 0,
        locked_by_other=other,
        checks=check(compiled, Parsed(value), document.text, evidence),
        prediction=shown,
        rejection=None if own_only and current and current.submitted else _rejection(document, row.decision),
        open_comments=row.open_comments,
        is_blind=own_only,
        instruction=row.instruction or "",
        approves=latest is not None and _would_approve(row, schema_version, user),
    )


def _rejection(document: Document, decision: str | None) -> Review | None:
    if document.state != DocumentState.REJECTED or decision != Review.Decision.REJECT:
        return None
    newest: Review | None = document.reviews.select_related("reviewer").order_by("-pk").first()
    return newest


def _would_approve(document: Any, schema_version: SchemaVersion, user: User) -> bool:
    """Whether a submit of this user would approve the document; no query for users without the right to review.

    ``document`` comes from ``with_open_data``, with its project from ``slmstudio.access``.
    """
    if not _may_review(document) or is_blind_overlap(document, document.decision):
        return False
    author = label_revisions(document, schema_version).values_list("annotation__user").first()
    if author is None:
        return False
    submission = state.Submission(
        has_label=True,
        is_own=author[0] == user.pk,
        may_review=True,
        is_reviewed=document.decision in REVIEWED_DECISIONS,
        review_required=document.project.review_required,
        four_eyes=document.project.four_eyes,
    )
    return submission.is_approval and not challenged_labels.is_involved(document, user)


# -- saving ------------------------------------------------------------------------------------------------------------


#: states that the first draft ends
_BEFORE_DRAFT = [before for before in DocumentState if state.draft(before) != before]


def _draft_changes(user: User, now: datetime) -> dict[str, Any]:
    mine = unlocked_for(user)
    return {
        "state": Case(When(state__in=_BEFORE_DRAFT, then=Value(DocumentState.IN_PROGRESS)), default=F("state")),
        "locked_by": Case(When(mine, then=Value(user.pk)), default=F("locked_by"), output_field=BigIntegerField()),
        "locked_until": Case(When(mine, then=Value(now + LOCK)), default=F("locked_until")),
    }


def _may_review(document: Document) -> bool:
    """Whether the user is a reviewer. The role is known if a view fetched the project."""
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
) -> SaveResult:
    """Saves a draft, which can be invalid. ``value`` is a JSON value, a ``FormEntry`` or a ``JsonEntry``.

    ``base_version`` is the version that it starts from, under the schema of ``schema_number`` (None: the newest); newer
    saves of others are merged field by field. ``seconds``: time since the last save; ``field_seconds``: of it with the
    focus in each field, by pattern. ``prediction``: the one that filled the form; ignored if it is not visible for this
    document.
    """
    require(document.project, user, Action.LABEL)
    with transaction.atomic():
        changes = _draft_changes(user, timezone.now())
        locked = lock_document(document, user, changes, prediction=prediction, whole=False)
        saved = merge_save(locked, user, value, evidence, base_version, schema_number)
        write_revision(locked, user, saved, action, seconds, field_seconds)
        return saved


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
) -> SaveResult:
    """Submits a label. It is gold immediately in a project without reviews. Arguments as in ``save_draft``.

    ``asked``: the empty optional fields that the user was already asked about; they are asked about others. None: a
    program submits, and absent values are not in the document.

    If others changed something since, or the schema is no longer number ``schema_number``, the merged value is saved as
    a draft and not submitted.

    Raises:
        InvalidLabel: the schema rejects the value, a warning (a value that is not in the document, a broken invariant)
            is not confirmed, or there are optional fields to ask about. The value is saved as a draft.
    """
    require(document.project, user, Action.LABEL)
    problems: list[ValueProblem] = []
    changes = state.before_submit(may_review=_may_review(document))
    try:
        with transaction.atomic():
            locked = lock_document(document, user, changes, prediction=prediction)
            saved = merge_save(locked, user, value, evidence, base_version, schema_number)
            unseen = bool(saved.conflicts) or not same(saved.submitted_value, saved.value)
            if unseen or schema_number not in (None, locked.schema_version.number):
                raise _SubmitBlocked
            problems = _submit_problems(saved.checks, asked)
            if problems:
                raise _SubmitBlocked
            if asked is None:
                saved.checks.mark_rest_absent()
            _store_submitted(locked, user, saved, seconds, field_seconds)
            saved.submitted = True
            return saved
    except _SubmitBlocked:
        # Everything above is rolled back, including the document's state.
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
        raise InvalidLabel(saved, problems)
    return saved


def _submit_problems(checks: Checks, asked: Collection[str] | None) -> list[ValueProblem]:
    """What prevents a submit: errors of the schema and unconfirmed warnings; without these, empty optional fields that
    are not marked as absent and not in ``asked`` (None: do not ask).
    """
    problems = [*checks.problems, *checks.warnings]
    if problems or asked is None:
        return problems
    return [
        ValueProblem(path, "unanswered", "is empty: fill it, or mark it as not in the document")
        for path in checks.unanswered
        if path not in asked
    ]


def labels_agree(compiled: CompiledSchema, values: Sequence[Any]) -> bool:
    """Whether all labels are equal in every field: after normalization, with rows paired by similarity."""
    return all(count_differences(compiled, values[0], value)[0] == 0 for value in values[1:])


class _SubmitBlocked(Exception):
    """The submit becomes a draft."""


def _store_submitted(
    locked: LockedDocument, user: User, saved: SaveResult, seconds: float, field_seconds: Mapping[str, float] | None
) -> None:
    """Writes a submitted label and the resulting state of the document."""
    document = locked.document
    outcome = state.submit(_submission(locked, user, saved))
    action = Actions.APPROVE if outcome.is_approval else Actions.SUBMIT
    revision = write_revision(locked, user, saved, action, seconds, field_seconds)
    if outcome.is_approval:
        saved.approved = True
        unchanged = same(locked.compiled.ordered(document.label_value), saved.value)
        decision = Review.Decision.APPROVE if unchanged else Review.Decision.FIX
        record_review(locked, user, decision, annotation_id=revision.annotation_id, revision_id=revision.pk)
    saved.state = outcome.state
    if len(outcome.change) > 1 or saved.state != document.state:
        Document.objects.filter(pk=document.pk).update(**outcome.change)
    if outcome.is_gold:
        set_gold(locked, revision.pk, label_origin(locked, saved), user if outcome.is_approval else None)
    emit_document_event(
        "document.approved" if outcome.is_approval else "document.submitted",
        document,
        user,
        annotation=revision.annotation_id,
        revision=revision.pk,
    )


def _submission(locked: LockedDocument, user: User, saved: SaveResult) -> state.Submission:
    document = locked.document
    others = (document.others_values or []) if locked.is_blind else []
    has_label = document.label_pk is not None
    return state.Submission(
        has_label=has_label,
        is_own=document.label_by == user.pk,
        is_involved=has_label and challenged_labels.is_involved(document, user),
        may_review=locked.may_review,
        is_reviewed=locked.is_reviewed,
        was_rejected=document.decision == Review.Decision.REJECT,
        is_blind=locked.is_blind,
        missing_labels=document.overlap - len(others) - 1,
        labels_agree=labels_agree(locked.compiled, [saved.value, *others]),
        review_required=document.review_required,
        four_eyes=has_label and document.project.four_eyes,
    )


def restore(*, document: Document, user: User, revision_id: int, base_version: int) -> SaveResult:
    """Saves an old revision's value as a new draft of this user.

    ``base_version``: the version that the user saw; newer saves of others are merged, as in any save.

    Raises:
        Refused: there is no such revision, or it is another annotator's while labels are independent.
    """
    require(document.project, user, Action.LABEL)
    revision = (
        AnnotationRevision.objects.select_related("annotation")
        .annotate(decision=newest_decision(OuterRef("annotation__document")))
        .filter(pk=revision_id, annotation__document=document)
        .first()
    )
    if revision is None:
        raise Refused("This document has no such revision.", code="revision")
    row = Document.objects.only("overlap").get(pk=document.pk)
    if is_blind_overlap(row, revision.decision) and revision.annotation.user_id != user.pk:
        raise Refused(
            "Annotators label this document independently. You can restore only your own labels.", code="independent"
        )
    return save_draft(
        document=document,
        user=user,
        value=revision.value,
        evidence=revision.evidence,
        base_version=base_version,
        action=Actions.RESTORE,
    )
