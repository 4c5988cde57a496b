"""What a submit of a person amounts to: a label, or a reviewer's approval at once; and what it first asks about."""

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User

from labeling.annotation.locked_document import SETTLED, answered_of, is_own_only
from labeling.annotation.state import Submission
from labeling.form.validation import Checks
from labeling.models import Document, SchemaVersion
from labeling.review import challenges
from slmstudio.access import Action, may
from slmstudio.contract.schema.compiled import Problem


def would_approve(document: Any, schema_version: SchemaVersion, user: User) -> bool:
    """Whether a submit of this person would approve the document; no query for those who may not review.

    ``document`` comes from ``annotating.openable()``, with the project as ``slmstudio.access`` gives it.
    """
    known = Document._meta.get_field("project").is_cached(document)
    role = getattr(document.project, "role", "") if known else ""
    if not role or not may(role, Action.REVIEW) or is_own_only(document, document.decision):
        return False
    answered = answered_of(document, schema_version).values_list("annotation__user").first()
    if answered is None:
        return False
    submission = Submission(
        has_label=True,
        is_own=answered[0] == user.pk,
        may_review=True,
        is_reviewed=document.decision in SETTLED,
        review_required=document.project.review_required,
        four_eyes=document.project.four_eyes,
    )
    return submission.is_approval and not challenges.is_party(document, user)


def open_points(checks: Checks, asked: Collection[str] | None) -> list[Problem]:
    """What keeps a label from being submitted: what the schema rejects, doubts that nobody confirmed, and, once there
    are none of these, optional fields that nobody answered and that are not among ``asked`` (None: nobody to ask).
    """
    found = [*checks.problems, *checks.warnings]
    if found or asked is None:
        return found
    return [
        Problem(path, "unanswered", "was not answered: fill it, or say that it is not in the document")
        for path in checks.unanswered
        if path not in asked
    ]
