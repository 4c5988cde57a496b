"""Reads of reviews: pending labels and conflicts, agreement, automation bias."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from labeling.annotation import challenged_labels
from labeling.annotation.locked_document import (
    REVIEWED_DECISIONS,
    Actions,
    label_revisions,
    newest_decision,
    newest_schema,
)
from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Prediction, Project, Review
from labeling.review import automation_bias
from labeling.review.agreement import NOT_LABELED, FieldAgreement, by_field
from labeling.review.progress import since
from slmstudio.web.paging import ApproximateCount

#: agreement is computed on this many newest documents
MAX_DOCUMENTS = 500
#: pending documents among which a place is looked up
MAX_POSITION = 1_000
#: how long a decision is shown and an approval can be undone
RECENT = timedelta(minutes=10)


def pending_review(project: Project) -> QuerySet[Document]:
    """Documents with a label to review. Disputed documents are adjudicated instead."""
    rows: QuerySet[Document] = Document.objects.filter(project=project, state=DocumentState.SUBMITTED, disputed=False)
    if project.review_required:
        return rows
    # Only labels from after a review. Few documents have one, so reviews lead the search.
    reviewed = Review.objects.filter(document__project=project, decision__in=REVIEWED_DECISIONS).values("document")
    return (
        rows.filter(pk__in=reviewed)
        .annotate(decision=newest_decision(OuterRef("pk")))
        .filter(decision__in=REVIEWED_DECISIONS)
    )


def reviewable(project: Project, user: User) -> QuerySet[Document]:
    """``pending_review`` without labels of the user where four-eyes review is on."""
    rows = pending_review(project)
    if project.four_eyes:
        rows = with_authors(rows).filter(Q(author_pk__isnull=True) | ~Q(author_pk=user.pk))
    return rows


def labeled_by(rows: QuerySet[Document], user: User) -> QuerySet[Document]:
    """Documents with a submitted label of the user."""
    return rows.filter(pk__in=Annotation.objects.filter(user=user, submitted=True).values("document"))


@dataclass(frozen=True)
class Position:
    """The place of a document in today's reviews of a user: "3 of 12"."""

    number: int
    total: ApproximateCount


def position(project: Project, user: User, document: Document, *, disputed: bool) -> Position | None:
    """Where a reviewer is: after what they decided today, among the pending documents. None: it is not pending."""
    rows = pending_adjudication(project) if disputed else reviewable(project, user)
    pending = list(rows.order_by("pk").values_list("pk", flat=True)[: MAX_POSITION + 1])
    if document.pk not in pending:
        return None
    adjudicated = Q(decision=Review.Decision.ADJUDICATE)
    done = Review.objects.filter(
        adjudicated if disputed else ~adjudicated, document__project=project, reviewer=user, created_at__gte=since(1)
    ).count()
    total = ApproximateCount(done + min(len(pending), MAX_POSITION), is_lower_bound=len(pending) > MAX_POSITION)
    return Position(done + pending.index(document.pk) + 1, total)


def last_decision(project: Project, user: User) -> Review | None:
    """The newest decision of a user within ``RECENT``."""
    rows = Review.objects.filter(document__project=project, reviewer=user, created_at__gt=timezone.now() - RECENT)
    review: Review | None = rows.select_related("document").order_by("-created_at").first()
    return review


def with_authors(rows: QuerySet[Document]) -> QuerySet[Document]:
    """Adds ``author`` and ``author_pk`` of the newest label (None: an import), and its time as ``labeled_at``."""
    schema = newest_schema(OuterRef(OuterRef("project_id"))).values("pk")[:1]
    labels = label_revisions(OuterRef("pk"), Subquery(schema))
    return rows.annotate(
        author_pk=Subquery(labels.values("annotation__user_id")[:1]),
        author=Subquery(labels.values("annotation__user__username")[:1]),
        labeled_at=Subquery(labels.values("created_at")[:1]),
    )


def pending_adjudication(project: Project) -> QuerySet[Document]:
    """Documents whose labels conflict or are challenged."""
    rows: QuerySet[Document] = Document.objects.filter(project=project, disputed=True)
    return rows


def with_annotators(documents: Sequence[Document]) -> None:
    """Adds to each document its ``annotators`` (names, as one text) and its open ``challenge``, if it has one."""
    rows = Annotation.objects.filter(document__in=documents, user__isnull=False, submitted=True)
    names: dict[int, list[str]] = {}
    for key, name in rows.order_by("pk").values_list("document", "user__username"):
        names.setdefault(key, []).append(name)
    by_document = challenged_labels.open_challenges([document.pk for document in documents])
    for document in documents:
        document.challenge = by_document.get(document.pk)  # type: ignore[attr-defined]
        document.annotators = ", ".join(dict.fromkeys(names.get(document.pk, [])))  # type: ignore[attr-defined]


def project_agreement(project: Project) -> list[FieldAgreement]:
    """Agreement per field on the newest 500 documents with an overlap under the newest schema; empty without any.

    Only independent labels count: labels from after a review, and those of the reviewer, are excluded. Three queries.
    """
    version = project.schema_version
    done = (DocumentState.SUBMITTED, DocumentState.APPROVED, DocumentState.REJECTED)
    documents = Document.objects.filter(project=project, overlap__gt=1, state__in=done).order_by("-pk")
    keys = list(documents.values_list("pk", flat=True)[:MAX_DOCUMENTS])
    if not keys:
        return []
    earlier = Review.objects.filter(
        document=OuterRef("annotation__document"),
        decision__in=REVIEWED_DECISIONS,
        created_at__lte=OuterRef("created_at"),
    )
    rows: Any = (
        AnnotationRevision.objects.filter(
            ~Exists(earlier),
            annotation__document__in=keys,
            annotation__schema_version=version,
            annotation__user__isnull=False,
            action=Actions.SUBMIT,
        )
        .order_by("annotation_id", "-number")
        .distinct("annotation_id")
        .values_list("annotation__document_id", "annotation__user_id", "value")
    )
    labels: dict[int, dict[int, Any]] = {}
    people: dict[int, None] = {}
    for document, user, value in rows:
        labels.setdefault(document, {})[user] = value
        people[user] = None
    order = sorted(people)
    return by_field(version.compiled, ([own.get(user, NOT_LABELED) for user in order] for own in labels.values()))


def project_automation_bias(project: Project) -> automation_bias.AutomationBias:
    """How often pre-labels are accepted without review, per annotator and overall, in one query.

    Counts submitted annotations that were compared with a prediction: shown where the form was filled from it, withheld
    where the document is in the withheld share.
    """
    hidden = Prediction.objects.filter(document=OuterRef("document"), withheld=True)
    rows = (
        Annotation.objects.filter(
            project=project, submitted_at__isnull=False, user__isnull=False, predicted_fields__isnull=False
        )
        .annotate(hidden=Exists(hidden), seen=Q(prediction__isnull=False))
        .values_list("user__username", "seen", "hidden", "changed_fields", "predicted_fields")
        .annotate(documents=Count("pk"))
        .order_by("user__username")
    )
    return automation_bias.aggregate(
        automation_bias.SubmissionGroup(person, seen, changed or 0, fields, documents)
        for person, seen, unseen, changed, fields, documents in rows
        if seen or unseen
    )
