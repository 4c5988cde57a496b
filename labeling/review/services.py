"""Reviews: what waits for a reviewer, and their decisions. The queue of disputed documents is in ``adjudicating``.

A submitted label waits where the project requires reviews, and where it came after a reviewer's word in any case. What
a reviewer approves is gold. Nobody reviews a label of their own where the project has four eyes on. Every decision
names the version it is about, so that nobody approves what they have not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery

from labeling.annotation import state
from labeling.annotation.locked_document import (
    SETTLED,
    Actions,
    LockedDocument,
    answered_of,
    is_own_only,
    lock_document,
    newest_decision,
    newest_schema,
    schema_of,
)
from labeling.annotation.queue import free_for, hold, take
from labeling.annotation.revisions import Work, decide, make_gold, merged, origin_of, write
from labeling.form.codec import Parsed
from labeling.form.validation import Checks, check
from labeling.integrations.events import tell
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
from slmstudio.contract.schema.compiled import Problem
from slmstudio.errors import Refused

MOST_REASON = 1000
OWN = "This label is your own. Four eyes are on in this project, so somebody else reviews it."
_CANDIDATES = 8

__all__ = [
    "Invalid",
    "Stale",
    "UnderReview",
    "approve",
    "next_to_review",
    "open_review",
    "reject",
    "waiting",
]


class Stale(Refused):
    """Somebody changed or decided it since the person looked; they have to look again."""


class Invalid(Refused):
    """The label cannot be gold. ``problems`` has a sentence per field."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path} {problem.message}".strip() for problem in problems))
        self.problems = problems


# -- what waits --------------------------------------------------------------------------------------------------------


def waiting(project: Project) -> QuerySet[Document]:
    """Documents whose label waits for a reviewer, disputed ones left out."""
    rows: QuerySet[Document] = Document.objects.filter(project=project, state=DocumentState.SUBMITTED, disputed=False)
    if project.review_required:
        return rows
    # Only what came after a reviewer's word. Reviews are few there, so they lead the search.
    reviewed = Review.objects.filter(document__project=project, decision__in=SETTLED).values("document")
    return rows.filter(pk__in=reviewed).annotate(decision=newest_decision(OuterRef("pk"))).filter(decision__in=SETTLED)


def with_authors(rows: QuerySet[Document]) -> QuerySet[Document]:
    """Adds who wrote the label that waits (``author``, ``author_pk``; None: an import) and when (``answered_at``)."""
    schema = newest_schema(OuterRef(OuterRef("project_id"))).values("pk")[:1]
    answered = answered_of(OuterRef("pk"), Subquery(schema))
    return rows.annotate(
        author_pk=Subquery(answered.values("annotation__user_id")[:1]),
        author=Subquery(answered.values("annotation__user__username")[:1]),
        answered_at=Subquery(answered.values("created_at")[:1]),
    )


def next_to_review(*, project: Project, user: User, after: int | None = None) -> Document | None:
    """Takes the next label to review for ten minutes, the oldest document first; None where nothing is left for them.

    With ``after`` it goes on behind that document and then starts from the front; that one is not given again.
    """
    rows = waiting(project).filter(free_for(user))
    if project.four_eyes:
        rows = with_authors(rows).filter(Q(author_pk__isnull=True) | ~Q(author_pk=user.pk))
    parts = (Q(pk__gt=after), Q(pk__lt=after)) if after else (Q(),)
    for part in parts:
        candidates = list(rows.filter(part).order_by("pk").values_list("pk", flat=True)[:_CANDIDATES])
        taken = take(candidates, user, [DocumentState.SUBMITTED]) if candidates else None
        if taken is not None:
            return taken
    return None


@dataclass(slots=True)
class UnderReview:
    """A document as a reviewer finds it. ``revision``: the newest that somebody answers for, None where there is none
    under the newest schema. ``refusal``: why this person cannot decide, "" where they can.
    """

    document: Document
    schema_version: SchemaVersion
    revision: AnnotationRevision | None
    checks: Checks
    refusal: str
    held_by: Any
    reviews: list[Review]
    sent_back: Review | None

    @property
    def version(self) -> int:
        """What a decision must name as its base."""
        return self.revision.number if self.revision else 0

    @property
    def author(self) -> Any:
        """Whose label it is; None for an import."""
        return self.revision.annotation.user if self.revision else None


def open_review(*, document: Document, user: User) -> UnderReview:
    """Opens a document for a reviewer and holds it for them, where a decision is theirs to make."""
    project = document.project
    newest = newest_schema(project).only("pk", "sha256").first()
    version = schema_of(newest.pk, newest.sha256)
    revision = answered_of(document, version).select_related("annotation__user").first()
    value = version.compiled.ordered(revision.value) if revision else {}
    reviews = list(document.reviews.select_related("reviewer", "annotation__user").order_by("-pk")[:20])
    refusal = _refusal(document, user, revision, reviews)
    evidence = dict(revision.evidence) if revision else {}
    last = reviews[0] if reviews else None
    return UnderReview(
        document=document,
        schema_version=version,
        revision=revision,
        checks=check(version.compiled, Parsed(value), document.text, evidence),
        refusal=refusal,
        held_by=None if refusal else hold(document=document, user=user),
        reviews=reviews,
        sent_back=last if last is not None and last.decision == Review.Decision.REJECT else None,
    )


def _refusal(document: Document, user: User, revision: AnnotationRevision | None, reviews: list[Review]) -> str:
    if document.state != DocumentState.SUBMITTED:
        return _decided(document, reviews[0] if reviews else None)
    if revision is None:
        return "Nobody has submitted a label under the newest schema."
    if document.project.four_eyes and revision.annotation.user_id == user.pk:
        return OWN
    return ""


def _decided(document: Document, last: Review | None) -> str:
    """Why there is nothing to decide about a document that is not submitted."""
    if last is not None and document.state in (DocumentState.APPROVED, DocumentState.REJECTED):
        who = last.reviewer.get_username() if last.reviewer is not None else "Somebody"
        words = "sent it back" if last.decision == Review.Decision.REJECT else f"{last.get_decision_display()} it"
        return f"{who} {words} already."
    return f"This document is {document.get_state_display()}: there is nothing to decide."


# -- decisions ---------------------------------------------------------------------------------------------------------


def approve(
    *,
    document: Document,
    user: User,
    base_version: int,
    value: Any = None,
    evidence: Mapping[str, Any] | None = None,
) -> Review:
    """Approves a submitted label: it is gold. With ``value`` (a JSON value or ``Typed``) it is fixed first, as a
    revision of the reviewer's own. ``base_version``: the version that the reviewer saw.

    Raises:
        Stale: somebody submitted another one, or decided, meanwhile.
        Invalid: the schema rejects it, or a value is neither in the document nor confirmed.
        Refused: the person may not decide, or there is nothing to decide.
    """
    with transaction.atomic():
        held = hold_submitted(document, user, state.approve(), base_version)
        found = held.document
        if value is None:
            problems = held.compiled.validate(found.answered_value)
            if problems:
                raise Invalid(problems)
            annotation_id, revision_id, origin = found.answered_annotation, found.answered_pk, found.answered_origin
            decision = Review.Decision.APPROVE
        else:
            decision = Review.Decision.FIX
            base = found.own_version if held.is_blind else found.head_version
            saved = merged(held, user, value, evidence or {}, base or 0, None).saved
            if problems := [*saved.problems, *saved.checks.unconfirmed]:
                raise Invalid(problems)
            saved.checks.answer_all()
            saved.made_of = (found.answered_origin,)
            revision = write(held, user, saved, Actions.APPROVE, Work())
            annotation_id, revision_id, origin = revision.annotation_id, revision.pk, origin_of(held, saved)
        review = decide(held, user, decision, annotation_id=annotation_id, revision_id=revision_id)
        make_gold(held, revision_id, origin, user)
        tell("document.approved", found, user, annotation=annotation_id, revision=revision_id)
    return review


def reject(*, document: Document, user: User, reason: str, base_version: int | None = None) -> Review:
    """Sends a submitted label back, with a reason that its author sees. It goes to the front of their queue; where
    several label the document, everybody labels it again. What a reviewer approved before stays gold until a newer
    label is approved, but no dataset takes it meanwhile.

    Raises:
        Stale: somebody submitted another one, or decided, meanwhile.
        Refused: no reason, or the person may not decide, or there is nothing to decide.
    """
    reason = _tidy(reason)
    if not reason:
        raise Refused("Say what is wrong, so that it can be put right.")
    if len(reason) > MOST_REASON:
        raise Refused(f"The reason is {len(reason):,} characters long; {MOST_REASON:,} are possible.")
    with transaction.atomic():
        held = hold_submitted(document, user, state.reject(), base_version, disputed=None)
        found = held.document
        review = decide(
            held,
            user,
            Review.Decision.REJECT,
            annotation_id=found.answered_annotation,
            revision_id=found.answered_pk,
            reason=reason,
        )
        labels = Annotation.objects.filter(document=found, schema_version=held.schema_version, submitted=True)
        labels.update(submitted=False)
        author = None if held.is_blind else found.answered_by
        member = Membership.objects.filter(project=found.project_id, user=author) if author is not None else None
        if member is not None and member.exists():
            Document.objects.filter(pk=found.pk).update(assigned_to=author)
        tell("document.rejected", found, user, annotation=found.answered_annotation, revision=found.answered_pk)
    return review


def _tidy(text: str) -> str:
    """A text with its lines, without the spaces around them and empty lines but one."""
    lines = [" ".join(line.split()) for line in text.replace("\x00", "").splitlines()]
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before).strip()


def hold_submitted(
    document: Document,
    user: User,
    changes: state.StateChange,
    base_version: int | None,
    *,
    disputed: bool | None = False,
    prediction: int | None = None,
) -> LockedDocument:
    """Holds a submitted document for a decision of a person about version ``base_version``; inside a transaction.

    Raises:
        Stale: it is another version by now, or decided; ``disputed``: or it is, or is not, disputed any more.
        Refused: the person may not decide.
    """
    only_if = Q(state=state.DECIDABLE)
    if disputed is not None:
        only_if &= Q(disputed=disputed)
    try:
        held = lock_document(document, user, changes, prediction=prediction, only_if=only_if)
    except Document.DoesNotExist as gone:
        raise Stale(_why_gone(document)) from gone
    found = held.document
    if not held.may_review:
        raise Refused("Only those who may review in this project decide about a label.")
    if found.answered_pk is None:
        raise Refused("Nobody has submitted a label under the newest schema.")
    if base_version is not None and base_version != found.answered_number:
        raise Stale("The label was submitted anew since you looked at it. Nothing was decided; look again.")
    own = found.own_pk is not None if is_own_only(found, found.decision) else found.answered_by == user.pk
    if found.project.four_eyes and own:
        raise Refused(OWN)
    return held


def _why_gone(document: Document) -> str:
    row = Document.objects.select_related("project").filter(pk=document.pk).first()
    if row is None:
        return "This document is no longer there."
    if row.state == DocumentState.SUBMITTED:
        return "Those who labelled it disagree: it is adjudicated." if row.disputed else "It is not disputed any more."
    return _decided(row, row.reviews.select_related("reviewer").order_by("-pk").first())
