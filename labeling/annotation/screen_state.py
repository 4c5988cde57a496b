"""JSON for the labeling screen: the state of a document, and the result of a save."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.annotation import predictions, presence, services
from labeling.failure_tags import tags_of
from labeling.form.attention import attention_reasons
from labeling.form.codec import pretty, to_entry
from labeling.form.merge import MISSING
from labeling.form.tree import node_at, tree_of
from labeling.form.validation import Checks
from labeling.models import Comment, Document, Page, Prediction, Project
from slmstudio.contract.schema.compiled import ValueProblem


def document_state(opened: services.OpenDocument, user: User) -> dict[str, Any]:
    """Everything that the screen needs to open a document."""
    document, annotation = opened.document, opened.annotation
    project: Project = document.project
    node = tree_of(opened.schema_version.compiled)
    addresses = {
        name: reverse(f"label_{name}", args=[project.slug, document.pk])
        for name in (
            *("document", "save", "skip", "flag", "presence", "release"),
            *("comments", "resolve", "history", "restore"),
        )
    }
    author = opened.author
    # The pre-label that filled this form; one that came after the user's label is not shown.
    filled = opened.prediction if opened.prediction and opened.filled_from == opened.prediction.pk else None
    attention_source = None if annotation is not None and annotation.submitted else filled
    return {
        "id": document.pk,
        "name": document.external_id,
        "text": document.text,
        "source": document.source,
        "state": document.state,
        "skip_reason": document.skip_reason,
        "holdout": document.holdout,
        "synthetic": document.synthetic,
        "tags": tag_titles(project, document.tags),
        "urls": {**addresses, "page": document.get_absolute_url()},
        "schema": opened.schema_version.number,
        "version": opened.version,
        "submitted": bool(annotation and annotation.submitted),
        "saved_at": annotation.updated_at.isoformat() if annotation else None,
        "author": author.get_username() if author is not None and author != user else "",
        "origin": annotation.origin if annotation else "",
        "held_by": _held_by(opened),
        "own_only": opened.is_blind,
        "approves": opened.approves,
        "rejection": _rejection(opened.rejection),
        "returned": "" if opened.is_blind and annotation and annotation.submitted else document.requeue_reason,
        "comments": opened.open_comments,
        "commented": open_comment_counts(document) if opened.open_comments else {},
        "pages": _pages(document),
        "entry": to_entry(node, opened.value),
        "json": pretty(opened.value),
        "shown": {},
        "prediction": {"id": filled.pk, "model": filled.model} if filled else None,
        "exceptions": _exceptions(attention_source, opened.schema_version, opened.value, opened.checks, project),
        **_checks(opened.checks),
    }


def save_state(
    saved: services.SaveResult, document: Document, *, prediction: int | None, whole: bool
) -> dict[str, Any]:
    """The result of a save. ``prediction``: what filled the form; ``whole``: the form takes all values from it."""
    node = tree_of(saved.schema_version.compiled)
    answer = {
        "version": saved.version,
        "schema": saved.schema_version.number,
        "state": saved.state,
        "submitted": saved.submitted,
        "json": pretty(saved.value),
        "shown": saved.understood,
        "merged": saved.merged,
        "merged_with": saved.merged_with,
        "clashes": [
            {
                "path": clash.path,
                "absent": clash.theirs is MISSING,
                "entry": None if clash.theirs is MISSING else to_entry(node_at(node, clash.path), clash.theirs),
                "shown": "nothing" if clash.theirs is MISSING else pretty(clash.theirs),
            }
            for clash in saved.conflicts
        ],
        "exceptions": None,
        **_checks(saved.checks),
    }
    if prediction is not None and not saved.submitted:
        shown = predictions.visible_prediction(document, saved.schema_version)
        if shown is not None and shown.pk == prediction:
            answer["exceptions"] = _exceptions(shown, saved.schema_version, saved.value, saved.checks, document.project)
    if whole or saved.merged:
        answer["entry"] = to_entry(node, saved.value)
        answer["read"] = to_entry(node, saved.submitted_value)
    return answer


def tag_titles(project: Project, tags: list[str]) -> list[dict[str, str]]:
    """Failure tags with their titles."""
    known = tags_of(project)
    return [{"name": tag, "title": known[tag].title if tag in known else tag} for tag in tags]


def open_comment_counts(document: Document) -> dict[str, int]:
    """Number of open comments per field path; "" for the document itself."""
    counts: dict[str, int] = {}
    for path in Comment.objects.filter(document=document, resolved_at=None).values_list("path", flat=True):
        counts[path] = counts.get(path, 0) + 1
    return counts


def _problems(problems: list[ValueProblem]) -> list[dict[str, str]]:
    return [problem.as_dict() for problem in problems]


def _checks(checks: Checks) -> dict[str, Any]:
    return {
        "valid": checks.valid,
        "problems": _problems(checks.problems),
        "warnings": _problems(checks.warnings),
        "evidence": checks.evidence,
        "spans": checks.spans,
        "missing": checks.missing,
        "readings": checks.readings,
        "doubts": checks.broken_invariants,
        "unanswered": checks.unanswered,
    }


def _exceptions(
    shown: Prediction | None, schema_version: Any, value: Any, checks: Checks, project: Project
) -> dict[str, list[str]] | None:
    """The fields of a pre-filled form that need attention, with reasons; None where it was not pre-filled.

    Fields that the user confirmed are left out, unless the schema rejects them.
    """
    if shown is None:
        return None
    by_path = attention_reasons(
        schema_version.compiled, value, checks, shown.confidence, project.confidence_floor, predicted=shown.value
    )
    wrong = {problem.path for problem in checks.problems}
    return {
        path: reasons
        for path, reasons in by_path.items()
        if reasons and (path in wrong or "seen" not in checks.evidence.get(path, {}))
    }


def _held_by(opened: services.OpenDocument) -> str:
    """The other user who has the lock; "" if they have only prefetched the document."""
    other = opened.locked_by_other
    if other is None or presence.works_elsewhere(document=opened.document, other=other):
        return ""
    return str(other.get_username())


def _rejection(review: Any) -> dict[str, str] | None:
    if review is None:
        return None
    by = review.reviewer.get_username() if review.reviewer is not None else "a reviewer"
    return {"by": by, "reason": review.reason, "at": review.created_at.isoformat()}


def _pages(document: Document) -> list[dict[str, Any]]:
    """The pages of a document with their line boxes; no query if there are none."""
    if not document.page_count:
        return []
    rows = Page.objects.filter(document=document).order_by("number")
    return [
        {
            "number": row.number,
            "url": reverse("page_image", args=[document.project.slug, document.pk, row.number])
            if row.image_key
            else "",
            "width": row.width,
            "height": row.height,
            "start": row.start,
            "end": row.end,
            "lines": row.lines,
        }
        for row in rows
    ]
