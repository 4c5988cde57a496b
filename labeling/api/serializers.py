"""Documents, labels and revisions as JSON values."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.db.models.functions import Left

from labeling.annotation.locked_document import sees_own_only
from labeling.annotation.services import OpenDocument, SaveResult
from labeling.api.wire import at
from labeling.form.merge import MISSING
from labeling.models import Annotation, AnnotationRevision, Comment, Document, Gold, Prediction
from labeling.review.services import ReviewDocument
from slmstudio.contract.schema.compiled import Problem

MAX_PREDICTIONS = 20
_LISTED = (
    "external_id",
    "state",
    "returned",
    "tags",
    "holdout",
    "synthetic",
    "source",
    "created_at",
    "assigned_to__username",
)


def name_of(user: User | None) -> str | None:
    """The user name; None if there is no user."""
    return None if user is None else user.get_username()


def problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """The problems of a value by field."""
    return [{"field": problem.path, "message": problem.message, "rule": problem.rule} for problem in problems]


def for_listing(rows: QuerySet[Document]) -> QuerySet[Document]:
    """Documents with the columns of ``listed``; only the beginning of texts, which can be 1 MB long."""
    return rows.select_related("assigned_to").only(*_LISTED).annotate(beginning=Left("text", 240))


def listed(document: Any) -> dict[str, Any]:
    """A document in a list."""
    beginning = getattr(document, "beginning", None)
    return {
        "id": document.pk,
        "external_id": document.external_id,
        "state": document.state,
        "returned": document.requeue_reason or None,
        "tags": document.tags,
        "holdout": document.holdout,
        "synthetic": document.synthetic,
        "source": document.source,
        "assigned_to": name_of(document.assigned_to),
        "created_at": at(document.created_at),
        "beginning": document.text[:240] if beginning is None else beginning,
    }


def document_detail(project: Any, document: Document, user: User) -> dict[str, Any]:
    """A document with its gold, labels and predictions."""
    own = sees_own_only(project, document)
    rows = Annotation.objects.filter(document=document).select_related("schema_version", "user")
    labels = list((rows.filter(user=user) if own else rows).order_by("-schema_version__number", "-version", "-pk"))
    golds = Gold.objects.current(project).filter(document=document)
    gold = None if own else golds.select_related("revision", "schema_version", "approved_by").first()
    predictions: Iterable[Prediction] = ()
    if not document.holdout:
        usable = Prediction.objects.filter(document=document, withheld=False).select_related("schema_version")
        predictions = usable.order_by("-pk")[:MAX_PREDICTIONS]
    return {
        **listed(document),
        "text": document.text,
        "metadata": document.metadata,
        "skip_reason": document.skip_reason,
        "overlap": document.overlap,
        "disputed": document.disputed,
        "page_count": document.page_count,
        "url": document.get_absolute_url(),
        "gold": None if gold is None else _gold(gold),
        "labels": [_label(row) for row in labels],
        "predictions": [_prediction(row) for row in predictions],
    }


def _gold(gold: Gold) -> dict[str, Any]:
    return {
        "value": gold.schema_version.compiled.ordered(gold.revision.value),
        "schema_number": gold.schema_version.number,
        "origin": gold.origin,
        "revision": gold.revision_id,
        "approved_by": name_of(gold.approved_by),
        "created_at": at(gold.created_at),
    }


def _label(row: Annotation) -> dict[str, Any]:
    return {
        "user": name_of(row.user),
        "schema_number": row.schema_version.number,
        "version": row.version,
        "value": row.schema_version.compiled.ordered(row.value),
        "evidence": row.evidence,
        "valid": row.valid,
        "submitted": row.submitted,
        "origin": row.origin,
        "updated_at": at(row.updated_at),
    }


def _prediction(row: Prediction) -> dict[str, Any]:
    value = None if row.value is None else row.schema_version.compiled.ordered(row.value)
    return {
        "id": row.pk,
        "model": row.model,
        "source": row.source,
        "schema_number": row.schema_version.number,
        "value": value,
        "valid": row.valid,
        "confidence": row.confidence,
        "created_at": at(row.created_at),
    }


def revision_row(row: AnnotationRevision) -> dict[str, Any]:
    """A revision."""
    version = row.annotation.schema_version
    return {
        "id": row.pk,
        "number": row.number,
        "action": row.action,
        "user": name_of(row.user),
        "schema_number": version.number,
        "value": version.compiled.ordered(row.value),
        "created_at": at(row.created_at),
    }


def comment_row(row: Comment) -> dict[str, Any]:
    """A comment."""
    return {
        "id": row.pk,
        "user": name_of(row.user),
        "field": row.path,
        "text": row.text,
        "created_at": at(row.created_at),
        "resolved_at": at(row.resolved_at),
        "resolved_by": name_of(row.resolved_by),
    }


def opened_row(opened: OpenDocument, user: User) -> dict[str, Any]:
    """A document that a user opened."""
    document, shown, rejection = opened.document, opened.prediction, opened.rejection
    prediction = shown and {
        "id": shown.id,
        "model": shown.model,
        "value": shown.value,
        "confidence": dict(shown.confidence),
    }
    return {
        "id": document.pk,
        "external_id": document.external_id,
        "state": document.state,
        "text": document.text,
        "source": document.source,
        "tags": document.tags,
        "holdout": document.holdout,
        "synthetic": document.synthetic,
        "skip_reason": document.skip_reason,
        "instruction": opened.instruction,
        "schema_number": opened.schema_version.number,
        "version": opened.version,
        "value": opened.value,
        "evidence": opened.evidence,
        "submitted": bool(opened.annotation and opened.annotation.submitted),
        "author": name_of(opened.author),
        "problems": problem_rows(opened.checks.problems),
        "warnings": problem_rows(opened.checks.warnings),
        "prediction": prediction,
        "rejection": rejection
        and {
            "by": name_of(rejection.reviewer) or "a reviewer",
            "reason": rejection.reason,
            "at": at(rejection.created_at),
        },
        "returned": document.requeue_reason or None,
        "open_comments": opened.open_comments,
        "own_only": opened.is_blind,
        "held_by": name_of(opened.locked_by_other),
        "url": document.get_absolute_url(),
    }


def reviewed_row(opened: ReviewDocument) -> dict[str, Any]:
    """A label under review."""
    document, revision = opened.document, opened.revision
    return {
        "id": document.pk,
        "external_id": document.external_id,
        "state": document.state,
        "text": document.text,
        "schema_number": opened.schema_version.number,
        "version": opened.version,
        "value": opened.schema_version.compiled.ordered(revision.value) if revision is not None else {},
        "evidence": revision.evidence if revision is not None else {},
        "author": name_of(opened.author),
        "problems": problem_rows(opened.checks.problems),
        "warnings": problem_rows(opened.checks.warnings),
        "refusal": opened.refusal,
        "held_by": name_of(opened.held_by),
    }


def saved_row(saved: SaveResult) -> dict[str, Any]:
    """The result of a save."""
    return {
        "version": saved.version,
        "schema_number": saved.schema_version.number,
        "state": saved.state,
        "submitted": saved.submitted,
        "approved": saved.approved,
        "value": saved.value,
        "valid": saved.checks.valid,
        "problems": problem_rows(saved.checks.problems),
        "warnings": problem_rows(saved.checks.warnings),
        "merged": saved.merged,
        "merged_with": saved.merged_with,
        "clashes": [
            {
                "field": clash.path,
                "theirs": None if clash.theirs is MISSING else clash.theirs,
                "absent": clash.theirs is MISSING,
            }
            for clash in saved.conflicts
        ],
    }
