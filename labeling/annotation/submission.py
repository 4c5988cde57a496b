"""What a submit of a person amounts to: a label, or a reviewer's approval at once; and what it first asks about."""

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import User

from labeling.annotation.locked_document import SETTLED, answered_of, is_own_only
from labeling.form.validation import Checks
from labeling.models import Document, SchemaVersion
from labeling.review import challenges
from slmstudio.access import Action, may
from slmstudio.contract.schema.compiled import Problem


def approves(*, document: Any, reviewer: bool, own: bool, own_only: bool) -> bool:
    """Whether a submit over a label that somebody answers for is an approval, doubts of the label aside.

    ``document`` carries its project and ``decision``, the newest review's. ``own``: the label is the person's own.
    """
    project = document.project
    settled = document.decision in SETTLED
    # A reviewer may go on with a label of their own that a colleague approved, but not where four eyes are on.
    retouched = settled and not project.review_required and not project.four_eyes
    return reviewer and not own_only and (not own or retouched)


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
    own = answered[0] == user.pk
    return approves(document=document, reviewer=True, own=own, own_only=False) and not challenges.is_party(
        document, user
    )


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
