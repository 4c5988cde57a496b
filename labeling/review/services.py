"""Reviews: opening a label, approving, fixing and rejecting it. Conflicts are in ``adjudication``.

A submitted label needs a review where the project requires reviews, and always after an earlier review. An approved
label is gold. With four-eyes review, no one reviews their own label. Every decision names the version it is about, so a
reviewer never approves a label that they have not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, Q
from django.utils import timezone

from labeling.annotation import state
from labeling.annotation.locked_document import (
    Actions,
    LockedDocument,
    is_blind_overlap,
    label_revisions,
    lock_document,
    newest_schema,
    schema_of,
)
from labeling.annotation.queue import acquire_lock, claim_first, unlocked_for
from labeling.annotation.revisions import (
    label_origin,
    merge_save,
    record_review,
    restore_gold,
    set_gold,
    stored_gold,
    write_revision,
)
from labeling.form.codec import Parsed
from labeling.form.validation import Checks, check
from labeling.integrations.events import emit_document_event
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Membership,
    Project,
    Review,
    SchemaVersion,
)
from labeling.review import queries
from slmstudio.access import Action, require
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.errors import Refused

MAX_REASON_LENGTH = 1000
NO_REASON = "Enter a reason for the annotator."
NO_LABEL = "No label has been submitted under the current schema."
OWN_LABEL = "This is your own label. Four-eyes review is on: another reviewer must decide."
_CANDIDATES = 8


class ConflictingChange(Refused):
    """Another user changed or decided it since the page was opened."""


class InvalidLabel(Refused):
    """The label cannot be gold. ``problems``: one message per field."""

    def __init__(self, problems: list[ValueProblem]) -> None:
        super().__init__("; ".join(f"{problem.path} {problem.message}".strip() for problem in problems))
        self.problems = problems


def next_to_review(*, project: Project, user: User, after: int | None = None) -> Document | None:
    """Locks the next label to review for ten minutes, oldest document first; None without one.

    With ``after``, continues after that document and wraps around; that document is not returned again.
    """
    rows = queries.reviewable(project, user).filter(unlocked_for(user))
    parts = (Q(pk__gt=after), Q(pk__lt=after)) if after else (Q(),)
    for part in parts:
        candidates = list(rows.filter(part).order_by("pk").values_list("pk", flat=True)[:_CANDIDATES])
        taken = claim_first(candidates, user, [DocumentState.SUBMITTED]) if candidates else None
        if taken is not None:
            return taken
    return None


@dataclass(slots=True)
class ReviewDocument:
    """A document opened by a reviewer. ``revision``: the newest label under the newest schema, if any. ``refusal``: why
    this user cannot decide, "" if they can.
    """

    document: Document
    schema_version: SchemaVersion
    revision: AnnotationRevision | None
    checks: Checks
    refusal: str
    held_by: User | None
    reviews: list[Review]
    rejection: Review | None

    @property
    def version(self) -> int:
        """The base version of a decision."""
        return self.revision.number if self.revision else 0

    @property
    def author(self) -> User | None:
        """The author of the label; None for an import."""
        return self.revision.annotation.user if self.revision else None


def open_review(*, document: Document, user: User) -> ReviewDocument:
    """Opens a document for a reviewer, and locks it if they can decide."""
    project = document.project
    newest = newest_schema(project).only("pk", "sha256")[0]
    version = schema_of(newest.pk, newest.sha256)
    revision = label_revisions(document, version).select_related("annotation__user").first()
    value = version.compiled.ordered(revision.value) if revision else {}
    reviews = list(document.reviews.select_related("reviewer", "annotation__user").order_by("-pk")[:20])
    refusal = _refusal(document, user, revision, reviews)
    evidence = dict(revision.evidence) if revision else {}
    last = reviews[0] if reviews else None
    return ReviewDocument(
        document=document,
        schema_version=version,
        revision=revision,
        checks=check(version.compiled, Parsed(value), document.text, evidence),
        refusal=refusal,
        held_by=None if refusal else acquire_lock(document=document, user=user),
        reviews=reviews,
        rejection=last if last is not None and last.decision == Review.Decision.REJECT else None,
    )


def _refusal(document: Document, user: User, revision: AnnotationRevision | None, reviews: list[Review]) -> str:
    if document.state != DocumentState.SUBMITTED:
        return _decided_message(document, reviews[0] if reviews else None)
    if revision is None:
        return NO_LABEL
    if document.project.four_eyes and revision.annotation.user_id == user.pk:
        return OWN_LABEL
    return ""


def _decided_message(document: Document, last: Review | None) -> str:
    """Why a document that is not submitted cannot be decided."""
    if last is not None and document.state in (DocumentState.APPROVED, DocumentState.REJECTED):
        name = last.reviewer.get_username() if last.reviewer is not None else "a former member"
        return f"Already {last.get_decision_display().lower()} by {name}."
    return f"There is no label to review: the document is {document.get_state_display().lower()}."


# -- decisions ---------------------------------------------------------------------------------------------------------


def approve(
    *,
    document: Document,
    user: User,
    base_version: int,
    value: Any = None,
    evidence: Mapping[str, Any] | None = None,
) -> Review:
    """Approves a submitted label, which makes it gold. With ``value`` (a JSON value or a ``FormEntry``) it is fixed
    first, as a revision of the reviewer. ``base_version``: the version that the reviewer saw.

    Raises:
        ConflictingChange: a newer label was submitted, or another reviewer decided.
        InvalidLabel: the schema rejects it, or a value is neither in the document nor confirmed.
        Refused: the user cannot decide, or there is no label to review.
    """
    require(document.project, user, Action.REVIEW)
    with transaction.atomic():
        locked = lock_for_decision(document, user, state.approve(), base_version)
        row = locked.document
        if value is None:
            problems = locked.compiled.validate(row.label_value)
            if problems:
                raise InvalidLabel(problems)
            annotation_id, revision_id, origin = row.label_annotation, row.label_pk, row.label_origin
            decision, replaced_gold = Review.Decision.APPROVE, stored_gold(locked)
        else:
            decision, replaced_gold = Review.Decision.FIX, None
            base = row.own_version if locked.is_blind else row.head_version
            saved = merge_save(locked, user, value, evidence or {}, base or 0, None)
            if problems := [*saved.problems, *saved.checks.unconfirmed]:
                raise InvalidLabel(problems)
            saved.checks.mark_rest_absent()
            saved.source_origins = (row.label_origin,)
            revision = write_revision(locked, user, saved, Actions.APPROVE)
            annotation_id, revision_id, origin = revision.annotation_id, revision.pk, label_origin(locked, saved)
        review = record_review(
            locked,
            user,
            decision,
            annotation_id=annotation_id,
            revision_id=revision_id,
            replaced_gold=replaced_gold,
        )
        set_gold(locked, revision_id, origin, user)
        emit_document_event("document.approved", row, user, annotation=annotation_id, revision=revision_id)
    return review


def undo_approval(*, review: Review, user: User) -> Document:
    """Undoes a recent approval of the user: the label is to be reviewed again, and gold is what it was before.

    Raises:
        Refused: it is another user's, too old, a fix, or the document was changed since.
    """
    require(review.document.project, user, Action.REVIEW)
    if not can_undo(review, user):
        raise Refused("This decision can no longer be undone. Return the document to the queue instead.", code="ended")
    newer = Review.objects.filter(document=review.document_id, pk__gt=review.pk)
    unchanged = Q(~Exists(newer), state=DocumentState.APPROVED)
    with transaction.atomic():
        try:
            locked = lock_document(review.document, user, state.undo_approval(), only_if=unchanged)
        except Document.DoesNotExist as gone:
            raise Refused("The document has changed since the approval, so the approval was not undone.") from gone
        if locked.document.label_pk != review.revision_id:
            raise Refused("The document has changed since the approval, so the approval was not undone.")
        restore_gold(locked, review.replaced_gold or {})
        emit_document_event(
            "document.approval_undone",
            locked.document,
            user,
            annotation=review.annotation_id,
            revision=review.revision_id,
        )
        Review.objects.filter(pk=review.pk).delete()
    return review.document


def can_undo(review: Review, user: User) -> bool:
    """Whether a user can undo a decision: their own approval, while it is recent."""
    is_recent = review.created_at > timezone.now() - queries.RECENT
    return review.reviewer_id == user.pk and review.replaced_gold is not None and is_recent


def reject(*, document: Document, user: User, reason: str, base_version: int | None = None) -> Review:
    """Rejects a submitted label with a reason for its author. The document moves to the front of their queue; with an
    overlap, all annotators label it again. An earlier approved label stays stored as gold, but datasets exclude it
    until a newer label is approved.

    Raises:
        ConflictingChange: a newer label was submitted, or another reviewer decided.
        Refused: no reason, the user cannot decide, or there is no label to review.
    """
    require(document.project, user, Action.REVIEW)
    reason = _normalize_text(reason)
    if not reason:
        raise Refused(NO_REASON, field="reason")
    if len(reason) > MAX_REASON_LENGTH:
        raise Refused(
            f"The reason is {len(reason):,} characters long; the maximum is {MAX_REASON_LENGTH:,}.", field="reason"
        )
    with transaction.atomic():
        locked = lock_for_decision(document, user, state.reject(), base_version, disputed=None)
        row = locked.document
        review = record_review(
            locked,
            user,
            Review.Decision.REJECT,
            annotation_id=row.label_annotation,
            revision_id=row.label_pk,
            reason=reason,
        )
        labels = Annotation.objects.filter(document=row, schema_version=locked.schema_version, submitted=True)
        labels.update(submitted=False)
        author = None if locked.is_blind else row.label_by
        member = Membership.objects.filter(project=row.project_id, user=author) if author is not None else None
        if member is not None and member.exists():
            Document.objects.filter(pk=row.pk).update(assigned_to=author)
        emit_document_event("document.rejected", row, user, annotation=row.label_annotation, revision=row.label_pk)
    return review


def _normalize_text(text: str) -> str:
    """A text without extra spaces and repeated empty lines."""
    lines = [" ".join(line.split()) for line in text.replace("\x00", "").splitlines()]
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before).strip()


def lock_for_decision(
    document: Document,
    user: User,
    changes: state.StateChange,
    base_version: int | None,
    *,
    disputed: bool | None = False,
    prediction: int | None = None,
) -> LockedDocument:
    """Locks a submitted document for a decision about version ``base_version``, inside a transaction.

    Raises:
        ConflictingChange: there is a newer version or decision, or ``disputed`` does not match (None: either).
        Refused: the user cannot decide.
    """
    only_if = Q(state=state.DECIDABLE)
    if disputed is not None:
        only_if &= Q(disputed=disputed)
    try:
        locked = lock_document(document, user, changes, prediction=prediction, only_if=only_if)
    except Document.DoesNotExist as gone:
        raise ConflictingChange(_conflict_message(document), code="conflict") from gone
    row = locked.document
    if row.label_pk is None:
        raise Refused(NO_LABEL, code="no_label")
    if base_version is not None and base_version != row.label_number:
        raise ConflictingChange("The label has changed. Reload the page and review it again.", code="conflict")
    own = row.own_pk is not None if is_blind_overlap(row, row.decision) else row.label_by == user.pk
    if row.project.four_eyes and own:
        raise Refused(OWN_LABEL, code="own_label")
    return locked


def _conflict_message(document: Document) -> str:
    row = Document.objects.select_related("project").filter(pk=document.pk).first()
    if row is None:
        return "This document was deleted."
    if row.state == DocumentState.SUBMITTED:
        return "The labels conflict: adjudicate them." if row.disputed else "The conflict was already resolved."
    return _decided_message(row, row.reviews.select_related("reviewer").order_by("-pk").first())
