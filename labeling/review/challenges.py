"""Doubts about labels that count, raised by an app above, and how they come before a reviewer.

A doubt is no label: it says which value somebody doubts, and what else was said there. The app that keeps doubts
registers with ``doubts_raised`` when Django starts. The label counts as before until a reviewer has decided
(``adjudicating``).
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

__all__ = ["Doubt", "dispute", "doubt_of", "doubts", "doubts_raised", "is_party"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """``path`` is the value that is doubted, "" for the whole label. ``value`` is the whole label as it would be with
    what ``said_by`` (a model, in words) says there. ``asked_by`` is the key of the person who doubts, ``name`` theirs.
    """

    path: str
    value: Any
    said_by: str
    asked_by: int | None
    name: str
    reason: str = ""


#: keys of documents -> the doubts that wait for a decision, by key
doubts_raised: Hook[[Sequence[int]], Mapping[int, Doubt]] = Hook()


def doubts(documents: Sequence[int]) -> dict[int, Doubt]:
    """The doubts about some documents, by their keys."""
    return {key: doubt for found in doubts_raised.call(documents) for key, doubt in found.items()}


def doubt_of(document: Document) -> Doubt | None:
    """The doubt about a document that waits for a decision."""
    return doubts([document.pk]).get(document.pk) if document.disputed else None


def is_party(document: Document, user: User) -> bool:
    """Whether somebody else has to decide about a label, because this person doubts it, or wrote it and it is doubted.

    What they submit waits beside the label that counts. Without four eyes it is a decision like any other.
    """
    if not document.project.four_eyes:
        return False
    doubt = doubts([document.pk]).get(document.pk)
    if doubt is None:
        return False
    counting = Gold.objects.current(document.project).filter(document=document)
    return doubt.asked_by == user.pk or counting.filter(revision__annotation__user=user).exists()


@transaction.atomic
def dispute(*, document: Document) -> AnnotationRevision:
    """Sends a label that counts to adjudication and returns it; it counts on until somebody has decided.

    A document that is being labelled anew already stays where it is: the new label is the decision.

    Raises:
        Refused: it is disputed already, put aside, or no label of it counts under the newest schema.
    """
    row = Document.objects.select_for_update(of=("self",), no_key=True).get(pk=document.pk)
    if row.disputed:
        raise Refused("This document is disputed already: a reviewer decides about its label.")
    if row.state == DocumentState.SKIPPED:
        raise Refused("This document is put aside, so nothing is trained on it or judged by it.")
    gold = Gold.objects.current(row.project).select_related("revision__annotation").filter(document=row).first()
    if gold is None:
        raise Refused("No label of this document counts under the newest schema. Label it under Label instead.")
    if changes := state.challenge(row.state):
        Document.objects.filter(pk=row.pk).update(**changes)
    return gold.revision
