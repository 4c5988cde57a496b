"""Label challenges, raised by a higher app, and how they reach a reviewer.

A challenge is no label: it names the value that a user claims is wrong, and another value for it. The app that stores
challenges registers with ``challenge_sources`` when Django starts. The label stays gold until a reviewer has decided
(``labeling.review.adjudication``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from labeling.annotation import state
from labeling.models import AnnotationRevision, Document, DocumentState, Gold
from slmstudio.errors import Refused
from slmstudio.hooks import Hook


@dataclass(frozen=True, slots=True)
class ChallengedLabel:
    """``path`` is the challenged value, "" for the whole label. ``value`` is the whole label with the value that
    ``suggested_by`` (the name of a model) gives there. ``created_by`` is the key of the user, ``name`` their name.
    """

    path: str
    value: Any
    suggested_by: str
    created_by: int | None
    name: str
    reason: str = ""


#: keys of documents -> their open challenges, by key
challenge_sources: Hook[[Sequence[int]], Mapping[int, ChallengedLabel]] = Hook()


def open_challenges(documents: Sequence[int]) -> dict[int, ChallengedLabel]:
    """The open challenges of some documents, by their keys."""
    return {key: challenge for by_key in challenge_sources.call(documents) for key, challenge in by_key.items()}


def challenge_for(document: Document) -> ChallengedLabel | None:
    """The open challenge of a document; no query where it is not disputed."""
    return open_challenges([document.pk]).get(document.pk) if document.disputed else None


def is_involved(document: Document, user: User) -> bool:
    """Whether a user cannot decide about a label, because they challenged it or wrote the challenged gold label.

    What they submit is disputed, and gold stays. Without four-eyes review, their submit is a decision like any other.
    """
    if not document.project.four_eyes:
        return False
    challenge = open_challenges([document.pk]).get(document.pk)
    if challenge is None:
        return False
    gold = Gold.objects.current(document.project).filter(document=document)
    return challenge.created_by == user.pk or gold.filter(revision__annotation__user=user).exists()


@transaction.atomic
def send_to_adjudication(*, document: Document) -> AnnotationRevision:
    """Sends a gold label to adjudication and returns its revision. It stays gold until a reviewer decides.

    A document in the queue stays there: its new label is the decision.

    Raises:
        Refused: it is disputed or skipped, or has no gold label under the newest schema.
    """
    row = Document.objects.select_for_update(of=("self",), no_key=True).get(pk=document.pk)
    if row.disputed:
        raise Refused("This document is already in adjudication.", code="conflict")
    if row.state == DocumentState.SKIPPED:
        raise Refused("This document is skipped, so its label is not used.")
    gold = Gold.objects.current(row.project).select_related("revision__annotation").filter(document=row).first()
    if gold is None:
        raise Refused("This document has no gold label under the current schema. Label it instead.")
    if changes := state.challenge(row.state):
        Document.objects.filter(pk=row.pk).update(**changes)
    return gold.revision
