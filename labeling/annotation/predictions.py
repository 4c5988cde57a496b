"""Predictions: what models propose for documents, what of it people are shown, and whether people look.

A prediction is never gold: it fills a form, and a person submits what they stand for. Hold-out documents get none, and
a random share is withheld, so that what people write without seeing it can be held against it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q

from labeling.models import Annotation, Document, Prediction, Project, SchemaVersion
from labeling.review import automation_bias
from slmstudio.contract.json_text import text_fits
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import count_differences

MOST_RAW = 100_000


@dataclass(frozen=True, slots=True)
class Shown:
    """A prediction that a form may be filled with. ``confidence``: field path -> 0 to 1, where the model gives one."""

    id: int
    model: str
    value: Any
    confidence: Mapping[str, float]


def shown(document: Document, schema_version: SchemaVersion) -> Shown | None:
    """The newest prediction for a document under a schema version, if it may be seen; at most one query.

    None where there is none with a value, where it is withheld, and for every hold-out document.
    """
    if document.holdout:
        return None
    newest = (
        Prediction.objects.filter(document=document, schema_version=schema_version, value__isnull=False)
        .order_by("-id")
        .only("model", "value", "confidence", "withheld")
        .first()
    )
    if newest is None or newest.withheld:
        return None
    return Shown(newest.pk, newest.model, schema_version.compiled.ordered(newest.value), newest.confidence)


def compared_with(document: Document, schema_version: SchemaVersion) -> Prediction | None:
    """The newest prediction with a value, shown or withheld: what a submitted label is held against. One query."""
    if document.holdout:
        return None
    rows = Prediction.objects.filter(document=document, schema_version=schema_version, value__isnull=False)
    newest: Prediction | None = rows.order_by("-id").only("model", "value", "withheld").first()
    return newest


def difference(compiled: CompiledSchema, label_value: Any, predicted_value: Any) -> tuple[int, int]:
    """(changed, total): leaves that do not mean the same in both, and leaves that either of them fills.

    By the kinds of the contract, rows paired by likeness: 1.50 for 1.5 or two rows exchanged is no change.
    """
    return count_differences(compiled, label_value, predicted_value)


def withheld(project: Project, document_id: int) -> bool:
    """Whether a document is drawn to have its predictions withheld.

    The draw is a hash of project and document, so that every prediction of a document falls the same way and no run can
    be repeated until it is shown.
    """
    digest = hashlib.sha256(f"withheld:{project.pk}:{document_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < project.withheld_share


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a model said about one document: ``raw`` verbatim. ``seconds``: the model's time."""

    document_id: int
    raw: str
    confidence: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of proposals: each is in exactly one of the four counts.

    ``written``: now predictions (those whose output was no JSON object included, see ``unusable``); ``repeated``: this
    source had one for the document already; ``held_out``: hold-out documents get none; ``gone``: no such document.
    """

    written: int = 0
    repeated: int = 0
    held_out: int = 0
    gone: int = 0
    unusable: int = 0


@transaction.atomic
def record(
    *, project: Project, schema_version: SchemaVersion, proposals: Iterable[Proposal], model: str, source: str
) -> Recorded:
    """Writes predictions, one per document and ``source`` (the run that made them): done twice, it changes nothing.

    Every output is kept, invalid ones too. One that is no JSON object has no value and fills no form.
    """
    wanted = {proposal.document_id: proposal for proposal in proposals}
    documents: Any = Document.objects.filter(project=project, pk__in=wanted)
    # Locked against a move into the hold-out that is under way.
    holdout = dict(documents.order_by("pk").select_for_update(no_key=True).values_list("pk", "holdout"))
    there = set(
        Prediction.objects.filter(document__in=holdout, source=source).values_list("document_id", flat=True)
        if holdout
        else ()
    )
    rows = [
        _row(project, schema_version, proposal, model, source)
        for pk, proposal in wanted.items()
        if holdout.get(pk) is False and pk not in there
    ]
    Prediction.objects.bulk_create(rows, ignore_conflicts=True)
    return Recorded(
        written=len(rows),
        repeated=sum(not holdout[pk] for pk in there),
        held_out=sum(holdout.values()),
        gone=len(wanted) - len(holdout),
        unusable=sum(row.value is None for row in rows),
    )


def _row(project: Project, schema_version: SchemaVersion, proposal: Proposal, model: str, source: str) -> Prediction:
    value, problems = schema_version.compiled.check(proposal.raw)
    usable = isinstance(value, dict)
    raw = "" if usable else proposal.raw[:MOST_RAW]
    if not text_fits(raw):
        raw = raw.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return Prediction(
        document_id=proposal.document_id,
        schema_version=schema_version,
        value=value if usable else None,
        valid=usable and not problems,
        confidence={path: round(float(sure), 4) for path, sure in proposal.confidence.items()} if usable else {},
        withheld=withheld(project, proposal.document_id),
        raw=raw,
        model=model[:200],
        source=source[:200],
        seconds=max(0.0, proposal.seconds),
    )


def honesty(project: Project) -> automation_bias.Honesty:
    """Whether people look at pre-labels, per person and overall; one query. The terms are in
    ``labeling.review.automation_bias``.

    Counted are submitted annotations of people that a prediction was compared with: shown where the form was filled
    from it, withheld where the document was drawn for that.
    """
    drawn = Prediction.objects.filter(document=OuterRef("document"), withheld=True)
    rows = (
        Annotation.objects.filter(
            project=project, submitted_at__isnull=False, user__isnull=False, predicted_fields__isnull=False
        )
        .annotate(drawn=Exists(drawn), seen=Q(prediction__isnull=False))
        .values_list("user__username", "seen", "drawn", "changed_fields", "predicted_fields")
        .annotate(documents=Count("pk"))
        .order_by("user__username")
    )
    return automation_bias.summed(
        automation_bias.Bundle(person, seen, changed or 0, fields, documents)
        for person, seen, unseen, changed, fields, documents in rows
        if seen or unseen
    )
