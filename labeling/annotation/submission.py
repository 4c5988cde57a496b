"""Before a submit: whether it would approve the document, and what prevents it."""

from collections.abc import Collection, Sequence
from typing import Any

from django.contrib.auth.models import User

from labeling.annotation import challenges
from labeling.annotation.locked_document import REVIEWED_DECISIONS, is_blind_overlap, label_revisions
from labeling.annotation.state import Submission
from labeling.form.validation import Checks
from labeling.models import Document, SchemaVersion
from slmstudio.access import Action, may
from slmstudio.contract.schema.compiled import CompiledSchema, Problem
from slmstudio.contract.scoring.scorer import count_differences


def would_approve(document: Any, schema_version: SchemaVersion, user: User) -> bool:
    """Whether a submit of this user would approve the document; no query for users without the right to review.

    ``document`` comes from ``services.with_open_data()``, with its project from ``slmstudio.access``.
    """
    known = Document._meta.get_field("project").is_cached(document)
    role = getattr(document.project, "role", "") if known else ""
    if not role or not may(role, Action.REVIEW) or is_blind_overlap(document, document.decision):
        return False
    author = label_revisions(document, schema_version).values_list("annotation__user").first()
    if author is None:
        return False
    submission = Submission(
        has_label=True,
        is_own=author[0] == user.pk,
        may_review=True,
        is_reviewed=document.decision in REVIEWED_DECISIONS,
        review_required=document.project.review_required,
        four_eyes=document.project.four_eyes,
    )
    return submission.is_approval and not challenges.is_involved(document, user)


def submit_problems(checks: Checks, asked: Collection[str] | None) -> list[Problem]:
    """What prevents a submit: errors of the schema and unconfirmed warnings; without these, empty optional fields that
    are not marked as absent and not in ``asked`` (None: do not ask).
    """
    found = [*checks.problems, *checks.warnings]
    if found or asked is None:
        return found
    return [
        Problem(path, "unanswered", "is empty: fill it, or mark it as not in the document")
        for path in checks.unanswered
        if path not in asked
    ]


def labels_agree(compiled: CompiledSchema, values: Sequence[Any]) -> bool:
    """Whether all labels are equal in every field: after normalization, with rows paired by similarity."""
    return all(count_differences(compiled, values[0], value)[0] == 0 for value in values[1:])
