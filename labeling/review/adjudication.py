"""Adjudication: documents that several people labelled differently, or whose label somebody doubts, and the one label
that a reviewer makes of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from labeling.annotation import state
from labeling.annotation.locked_document import Actions, answered_of, newest_schema, schema_of
from labeling.annotation.queue import free_for, hold, take
from labeling.annotation.revisions import Work, author_of, decide, make_gold, merged, origin_of, write
from labeling.integrations.events import tell
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    Project,
    Review,
    SchemaVersion,
)
from labeling.review.challenges import Doubt, doubt_of, doubts
from labeling.review.conflicts import Dispute, evidence_of, settle
from labeling.review.services import Invalid, Stale, hold_submitted
from slmstudio.errors import Refused

OWN = "One of these labels is your own. Four eyes are on in this project, so somebody else decides."
ASKED = "You doubted this label yourself. Four eyes are on in this project, so somebody else decides."
_CANDIDATES = 8
#: so many are gone through where each is held by somebody, or doubted by who asks
_LOOKED_AT = 400

__all__ = ["Invalid", "Stale", "UnderDispute", "adjudicate", "disputed", "next_disputed", "open_dispute"]


def disputed(project: Project) -> QuerySet[Document]:
    """Documents that wait for adjudication."""
    rows: QuerySet[Document] = Document.objects.filter(project=project, disputed=True)
    return rows


def next_disputed(*, project: Project, user: User, after: int | None = None) -> Document | None:
    """Takes the next disputed document that this person may decide; as ``reviewing.next_to_review``."""
    rows = disputed(project).filter(free_for(user))
    if project.four_eyes:
        rows = rows.exclude(Exists(Annotation.objects.filter(document=OuterRef("pk"), user=user)))
    for part in (Q(pk__gt=after), Q(pk__lt=after)) if after else (Q(),):
        keys = list(rows.filter(part).order_by("pk").values_list("pk", flat=True)[:_LOOKED_AT])
        for start in range(0, len(keys), _CANDIDATES):
            candidates = keys[start : start + _CANDIDATES]
            if project.four_eyes:
                asked = doubts(candidates)
                candidates = [key for key in candidates if key not in asked or asked[key].asked_by != user.pk]
            taken = take(candidates, user, [DocumentState.SUBMITTED]) if candidates else None
            if taken is not None:
                return taken
    return None


@dataclass(slots=True)
class UnderDispute:
    """A disputed document as a reviewer finds it: the newest submitted label of each person, in the order they came.

    Where somebody doubts the label that counts, that one, and behind it the label as the doubt would have it, which is
    in no table. ``refusal``: why this person cannot decide, "" where they can.
    """

    document: Document
    schema_version: SchemaVersion
    labels: list[AnnotationRevision]
    version: int
    refusal: str
    held_by: Any
    doubt: Doubt | None = None

    @property
    def names(self) -> list[str]:
        """Whose label each is, in words."""
        written = self.labels[:-1] if self.doubt else self.labels
        return [author_of(label.annotation) for label in written] + ([self.doubt.said_by] if self.doubt else [])

    def settle(self, picks: Mapping[str, Any] | None = None) -> Dispute:
        """Where the labels differ, and the label that comes of some picks."""
        compiled = self.schema_version.compiled
        doubted = self.doubt.path if self.doubt else None
        return settle(compiled.root, [compiled.ordered(label.value) for label in self.labels], picks, doubted)

    def evidence(self, dispute: Dispute) -> dict[str, Any]:
        """The evidence of a settled label: what its people gave for the values that were taken from them."""
        return evidence_of(dispute, [label.evidence for label in self.labels])


def open_dispute(*, document: Document, user: User) -> UnderDispute:
    """Opens a disputed document for a reviewer and holds it for them, where a decision is theirs to make."""
    project = document.project
    newest = newest_schema(project).only("pk", "sha256").first()
    version = schema_of(newest.pk, newest.sha256)
    doubt = doubt_of(document)
    written = _doubted(document, version) if doubt else _latest(document, version)
    labels = [*written, AnnotationRevision(value=doubt.value, number=0)] if doubt else written
    refusal = ""
    if not document.disputed:
        refusal = "This document is not disputed, or not any more."
    elif not written:
        refusal = "No label of this document is left under the newest schema. Send it back to have it labelled."
    elif len(labels) < 2:
        refusal = "Only one person's label is left under the newest schema, so there is nothing to compare."
    elif project.four_eyes and any(label.annotation.user_id == user.pk for label in written):
        refusal = OWN
    elif project.four_eyes and doubt is not None and doubt.asked_by == user.pk:
        refusal = ASKED
    return UnderDispute(
        document=document,
        schema_version=version,
        labels=labels,
        version=max((label.number for label in labels), default=0),
        refusal=refusal,
        held_by=None if refusal else hold(document=document, user=user),
        doubt=doubt,
    )


def _latest(document: Document, version: SchemaVersion) -> list[AnnotationRevision]:
    """The newest label of each person."""
    answered = answered_of(document, version).filter(annotation__user__isnull=False)
    latest = answered.order_by("annotation_id", "-number").distinct("annotation_id")
    return sorted(latest.select_related("annotation__user"), key=lambda label: label.number)


def _doubted(document: Document, version: SchemaVersion) -> list[AnnotationRevision]:
    """The label that counts, and a newer one that waits where there is one."""
    gold = Gold.objects.current(document.project).select_related("revision__annotation__user")
    counts = [one.revision for one in gold.filter(document=document)]
    newest = answered_of(document, version).select_related("annotation__user").first()
    return counts if newest is None or newest in counts else [*counts, newest]


def adjudicate(*, document: Document, user: User, value: Any, evidence: Mapping[str, Any], base_version: int) -> Review:
    """Makes a reviewer's label of a disputed document gold, and ends the dispute.

    ``base_version``: the version of the newest label that the reviewer saw.

    Raises:
        Stale: somebody submitted another label, or decided, meanwhile.
        Invalid: the schema rejects the value, or something in it is neither in the document nor confirmed.
        Refused: the person may not decide.
    """
    labels = Annotation.objects.filter(document=document).order_by("pk")
    began = labels.filter(prediction__isnull=False, submitted=True)
    prediction = began.values_list("prediction", flat=True).first()
    with transaction.atomic():
        doubt = doubt_of(document)
        held = hold_submitted(document, user, state.approve(), base_version, disputed=True, prediction=prediction)
        found = held.document
        if found.project.four_eyes and doubt is not None and doubt.asked_by == user.pk:
            raise Refused(ASKED)
        # Nothing to merge with: the reviewer saw all labels, and writes one of their own.
        marks = {path: place for label in labels for path, place in label.evidence.items() if place.get("absent")}
        saved = merged(held, user, value, {**marks, **evidence}, found.own_version or 0, None).saved
        if problems := [*saved.problems, *saved.checks.unconfirmed]:
            raise Invalid(problems)
        saved.made_of = tuple(labels.values_list("origin", flat=True))
        revision = write(held, user, saved, Actions.ADJUDICATE, Work())
        review = decide(
            held,
            user,
            Review.Decision.ADJUDICATE,
            annotation_id=revision.annotation_id,
            revision_id=revision.pk,
        )
        make_gold(held, revision.pk, origin_of(held, saved), user)
        tell("document.approved", found, user, annotation=revision.annotation_id, revision=revision.pk)
    return review
