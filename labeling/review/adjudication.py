"""Adjudication: a reviewer's final label for a document whose labels conflict or whose gold label is challenged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from labeling.annotation import state
from labeling.annotation.challenged_labels import ChallengedLabel, challenge_for, open_challenges
from labeling.annotation.locked_document import Actions, label_revisions, newest_schema, schema_of
from labeling.annotation.queue import acquire_lock, claim_first, unlocked_for
from labeling.annotation.revisions import (
    author_name,
    label_origin,
    merge_save,
    record_review,
    set_gold,
    write_revision,
)
from labeling.integrations.events import emit_document_event
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
from labeling.review import queries
from labeling.review.conflicts import ConflictSet, evidence_of, resolve_conflicts
from labeling.review.services import InvalidLabel, lock_for_decision
from slmstudio.access import Action, require
from slmstudio.errors import Refused

OWN_LABEL = "One of these labels is your own. Four-eyes review is on: another reviewer must decide."
OWN_CHALLENGE = "You challenged this label. Four-eyes review is on: another reviewer must decide."
_CANDIDATES = 8
#: number of documents to search for one that is unlocked and not challenged by this user
_MAX_SEARCHED = 400


def next_to_adjudicate(*, project: Project, user: User, after: int | None = None) -> Document | None:
    """Locks the next document that this user can adjudicate; as ``services.next_to_review``."""
    rows = queries.pending_adjudication(project).filter(unlocked_for(user))
    if project.four_eyes:
        rows = rows.exclude(Exists(Annotation.objects.filter(document=OuterRef("pk"), user=user)))
    for part in (Q(pk__gt=after), Q(pk__lt=after)) if after else (Q(),):
        keys = list(rows.filter(part).order_by("pk").values_list("pk", flat=True)[:_MAX_SEARCHED])
        for start in range(0, len(keys), _CANDIDATES):
            candidates = keys[start : start + _CANDIDATES]
            if project.four_eyes:
                asked = open_challenges(candidates)
                candidates = [key for key in candidates if key not in asked or asked[key].created_by != user.pk]
            taken = claim_first(candidates, user, [DocumentState.SUBMITTED]) if candidates else None
            if taken is not None:
                return taken
    return None


@dataclass(slots=True)
class AdjudicationDocument:
    """A document opened for adjudication: the newest submitted label of each annotator, oldest first.

    For a challenged document: its gold label, followed by the suggested label, which is in no table. ``refusal``: why
    this user cannot decide, "" if they can.
    """

    document: Document
    schema_version: SchemaVersion
    labels: list[AnnotationRevision]
    version: int
    refusal: str
    held_by: User | None
    challenge: ChallengedLabel | None = None

    @property
    def label_names(self) -> list[str]:
        """The author of each label."""
        written = self.labels[:-1] if self.challenge else self.labels
        return [author_name(label.annotation) for label in written] + (
            [self.challenge.suggested_by] if self.challenge else []
        )

    def resolve(self, choices: Mapping[str, Any] | None = None) -> ConflictSet:
        """The conflicts between the labels, and the label that results from some choices."""
        compiled = self.schema_version.compiled
        challenged = self.challenge.path if self.challenge else None
        return resolve_conflicts(
            compiled.root, [compiled.ordered(label.value) for label in self.labels], choices, challenged
        )

    def evidence(self, conflicts: ConflictSet) -> dict[str, Any]:
        """The evidence of the resulting label, from the labels that its values come from."""
        return evidence_of(conflicts, [label.evidence for label in self.labels])


def open_adjudication(*, document: Document, user: User) -> AdjudicationDocument:
    """Opens a document for adjudication, and locks it if the user can decide."""
    project = document.project
    newest = newest_schema(project).only("pk", "sha256")[0]
    version = schema_of(newest.pk, newest.sha256)
    challenge = challenge_for(document)
    written = _challenged_labels(document, version) if challenge else _newest_labels(document, version)
    labels = [*written, AnnotationRevision(value=challenge.value, number=0)] if challenge else written
    refusal = ""
    if not document.disputed:
        refusal = "This document has no conflict."
    elif not written:
        refusal = "This document has no label under the current schema. Reject it to return it to labeling."
    elif len(labels) < 2:
        refusal = "Only one label remains under the current schema, so there is no conflict."
    elif project.four_eyes and any(label.annotation.user_id == user.pk for label in written):
        refusal = OWN_LABEL
    elif project.four_eyes and challenge is not None and challenge.created_by == user.pk:
        refusal = OWN_CHALLENGE
    return AdjudicationDocument(
        document=document,
        schema_version=version,
        labels=labels,
        version=max((label.number for label in labels), default=0),
        refusal=refusal,
        held_by=None if refusal else acquire_lock(document=document, user=user),
        challenge=challenge,
    )


def _newest_labels(document: Document, version: SchemaVersion) -> list[AnnotationRevision]:
    """The newest label of each annotator."""
    answered = label_revisions(document, version).filter(annotation__user__isnull=False)
    latest = answered.order_by("annotation_id", "-number").distinct("annotation_id")
    return sorted(latest.select_related("annotation__user"), key=lambda label: label.number)


def _challenged_labels(document: Document, version: SchemaVersion) -> list[AnnotationRevision]:
    """The gold label, and a newer submitted one if there is one."""
    gold = Gold.objects.current(document.project).select_related("revision__annotation__user")
    counts = [row.revision for row in gold.filter(document=document)]
    newest = label_revisions(document, version).select_related("annotation__user").first()
    return counts if newest is None or newest in counts else [*counts, newest]


def adjudicate(*, document: Document, user: User, value: Any, evidence: Mapping[str, Any], base_version: int) -> Review:
    """Makes a reviewer's label gold, which resolves the conflict.

    ``base_version``: the newest version that the reviewer saw.

    Raises:
        ConflictingChange: a newer label was submitted, or another reviewer decided.
        InvalidLabel: the schema rejects the value, or a value is neither in the document nor confirmed.
        Refused: the user cannot decide.
    """
    require(document.project, user, Action.REVIEW)
    labels = Annotation.objects.filter(document=document).order_by("pk")
    began = labels.filter(prediction__isnull=False, submitted=True)
    prediction = began.values_list("prediction", flat=True).first()
    with transaction.atomic():
        challenge = challenge_for(document)
        locked = lock_for_decision(document, user, state.approve(), base_version, disputed=True, prediction=prediction)
        row = locked.document
        if row.project.four_eyes and challenge is not None and challenge.created_by == user.pk:
            raise Refused(OWN_CHALLENGE, code="own_label")
        # No merge: the reviewer saw all labels and writes a new one.
        marks = {path: place for label in labels for path, place in label.evidence.items() if place.get("absent")}
        saved = merge_save(locked, user, value, {**marks, **evidence}, row.own_version or 0, None)
        if problems := [*saved.problems, *saved.checks.unconfirmed]:
            raise InvalidLabel(problems)
        saved.source_origins = tuple(labels.values_list("origin", flat=True))
        revision = write_revision(locked, user, saved, Actions.ADJUDICATE)
        review = record_review(
            locked,
            user,
            Review.Decision.ADJUDICATE,
            annotation_id=revision.annotation_id,
            revision_id=revision.pk,
        )
        set_gold(locked, revision.pk, label_origin(locked, saved), user)
        emit_document_event("document.approved", row, user, annotation=revision.annotation_id, revision=revision.pk)
    return review
