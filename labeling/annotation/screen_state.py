"""What the labeling screen is told about a document and about a save, as JSON."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.annotation import predictions, presence, services
from labeling.annotation.payloads import SavePayload
from labeling.documents.failure_tags import tags_of
from labeling.form.attention import exceptions
from labeling.form.codec import pretty, to_entry
from labeling.form.merge import MISSING
from labeling.form.tree import node_at, tree_of
from labeling.form.validation import Checks
from labeling.models import Comment, Document, Page, Project
from slmstudio.contract.schema.compiled import Problem


def state_of(opened: services.Opened, user: User) -> dict[str, Any]:
    """Everything about one document that the screen needs to open it."""
    document, annotation = opened.document, opened.annotation
    project: Project = document.project
    node = tree_of(opened.schema_version.compiled)
    addresses = {
        name: reverse(f"label_{name}", args=[project.slug, document.pk])
        for name in (
            *("document", "save", "skip", "flag", "here", "release"),
            *("comments", "resolve", "history", "restore"),
        )
    }
    author = opened.author
    # The pre-label this form was filled with; one that came later, beside what a person wrote, is not told.
    filled = opened.prediction if opened.prediction and opened.filled_from == opened.prediction.id else None
    to_look_at = None if annotation is not None and annotation.submitted else filled
    return {
        "id": document.pk,
        "name": document.external_id,
        "text": document.text,
        "source": document.source,
        "state": document.state,
        "skip_reason": document.skip_reason,
        "holdout": document.holdout,
        "synthetic": document.synthetic,
        "tags": tags_in_words(project, document.tags),
        "urls": {**addresses, "page": document.get_absolute_url()},
        "schema": opened.schema_version.number,
        "version": opened.version,
        "submitted": bool(annotation and annotation.submitted),
        "saved_at": annotation.updated_at.isoformat() if annotation else None,
        "author": author.get_username() if author is not None and author != user else "",
        "origin": annotation.origin if annotation else "",
        "held_by": _held_by(opened),
        "own_only": opened.own_only,
        "approves": opened.approves,
        "rejection": _rejection(opened.rejection),
        "returned": "" if opened.own_only and annotation and annotation.submitted else document.why_returned,
        "comments": opened.open_comments,
        "commented": commented(document) if opened.open_comments else {},
        "pages": _pages(document),
        "entry": to_entry(node, opened.value),
        "json": pretty(opened.value),
        "shown": {},
        "prediction": {"id": filled.id, "model": filled.model} if filled else None,
        "exceptions": _exceptions(to_look_at, opened.schema_version, opened.value, opened.checks, project),
        **_checks(opened.checks),
    }


def saved_of(saved: services.Saved, payload: SavePayload, document: Document) -> dict[str, Any]:
    """What a save left."""
    node = tree_of(saved.schema_version.compiled)
    answer = {
        "version": saved.version,
        "schema": saved.schema_version.number,
        "state": saved.state,
        "submitted": saved.submitted,
        "json": pretty(saved.value),
        "shown": saved.shown,
        "merged": saved.merged,
        "merged_with": saved.merged_with,
        "clashes": [
            {
                "path": clash.path,
                "absent": clash.theirs is MISSING,
                "entry": None if clash.theirs is MISSING else to_entry(node_at(node, clash.path), clash.theirs),
                "shown": "nothing" if clash.theirs is MISSING else pretty(clash.theirs),
            }
            for clash in saved.clashes
        ],
        "exceptions": None,
        **_checks(saved.checks),
    }
    if payload.prediction is not None and not saved.submitted:
        shown = predictions.shown(document, saved.schema_version)
        if shown is not None and shown.id == payload.prediction:
            answer["exceptions"] = _exceptions(shown, saved.schema_version, saved.value, saved.checks, document.project)
    if payload.was_raw or saved.merged:
        answer["entry"] = to_entry(node, saved.value)
        answer["read"] = to_entry(node, saved.read)
    return answer


def tags_in_words(project: Project, tags: list[str]) -> list[dict[str, str]]:
    """Failure tags as people read them."""
    known = tags_of(project)
    return [{"name": tag, "title": known[tag].title if tag in known else tag} for tag in tags]


def commented(document: Document) -> dict[str, int]:
    """How many open comments each field has; the document itself is ""."""
    counts: dict[str, int] = {}
    for path in Comment.objects.filter(document=document, resolved_at=None).values_list("path", flat=True):
        counts[path] = counts.get(path, 0) + 1
    return counts


def _problems(problems: list[Problem]) -> list[dict[str, str]]:
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
        "doubts": checks.doubts,
        "unanswered": checks.unanswered,
    }


def _exceptions(
    shown: predictions.Shown | None, schema_version: Any, value: Any, checks: Checks, project: Project
) -> dict[str, list[str]] | None:
    """The fields of a pre-filled form that a person must look at, with reasons; None where it was not pre-filled.

    What a person said is right is left out, as long as the schema accepts it.
    """
    if shown is None:
        return None
    found = exceptions(
        schema_version.compiled, value, checks, shown.confidence, project.confidence_floor, predicted=shown.value
    )
    wrong = {problem.path for problem in checks.problems}
    return {
        path: reasons
        for path, reasons in found.items()
        if reasons and (path in wrong or "seen" not in checks.evidence.get(path, {}))
    }


def _held_by(opened: services.Opened) -> str:
    """Who else took the document; nobody, where it is only the next one of somebody at work on another."""
    other = opened.locked_by_other
    if other is None or presence.is_at_another(document=opened.document, other=other):
        return ""
    return str(other.get_username())


def _rejection(review: Any) -> dict[str, str] | None:
    if review is None:
        return None
    by = review.reviewer.get_username() if review.reviewer is not None else "a reviewer"
    return {"by": by, "reason": review.reason, "at": review.created_at.isoformat()}


def _pages(document: Document) -> list[dict[str, Any]]:
    """The pages of a document with their line boxes; no query where there are none."""
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
