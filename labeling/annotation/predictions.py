"""Predictions of models, used as pre-labels.

A prediction is never gold: it fills a form, and a user submits the label. Hold-out documents get none, and a random
share is withheld to measure automation bias (``labeling.review.automation_bias``).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import Document, Prediction, Project, SchemaVersion
from slmstudio.access import Action, require
from slmstudio.contract.json_text import text_fits

MAX_STORED_RAW = 100_000


def visible_prediction(document: Document, schema_version: SchemaVersion) -> Prediction | None:
    """The newest prediction for a document under a schema version, if it can fill a form; at most one query.

    None without a prediction that has a value, if it is withheld, and for hold-out documents.
    """
    if document.holdout:
        return None
    newest: Prediction | None = (
        Prediction.objects.filter(document=document, schema_version=schema_version, value__isnull=False)
        .order_by("-id")
        .only("model", "value", "confidence", "withheld")
        .first()
    )
    if newest is None or newest.withheld:
        return None
    newest.value = schema_version.compiled.ordered(newest.value)
    return newest


def is_withheld(project: Project, document_id: int) -> bool:
    """Whether a document's predictions are withheld.

    Decided by a hash of project and document: it is the same for every prediction, and repeating a run does not change
    it.
    """
    digest = hashlib.sha256(f"withheld:{project.pk}:{document_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < project.withheld_share


@dataclass(frozen=True, slots=True)
class PredictionInput:
    """A model's output for one document: ``raw`` as generated. ``seconds``: the model's time."""

    document_id: int
    raw: str
    confidence: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class RecordResult:
    """Counts of stored predictions; each input is in exactly one of the first four.

    ``written``: stored (``unusable`` of them are not JSON objects); ``repeated``: the source already has one for the
    document; ``held_out``: hold-out documents get none; ``gone``: no such document.
    """

    written: int = 0
    repeated: int = 0
    held_out: int = 0
    gone: int = 0
    unusable: int = 0


def receive(
    *,
    project: Project,
    user: User,
    schema_version: SchemaVersion,
    proposals: Iterable[PredictionInput],
    model: str,
    source: str,
) -> RecordResult:
    """Stores predictions that a member sends, as ``record`` does."""
    require(project, user, Action.CURATE)
    return record(project=project, schema_version=schema_version, proposals=proposals, model=model, source=source)


@transaction.atomic
def record(
    *, project: Project, schema_version: SchemaVersion, proposals: Iterable[PredictionInput], model: str, source: str
) -> RecordResult:
    """Stores predictions, one per document and ``source`` (the run). Idempotent.

    Stores invalid outputs, too. An output that is not a JSON object has no value and fills no form.
    """
    inputs = {proposal.document_id: proposal for proposal in proposals}
    documents: Any = Document.objects.filter(project=project, pk__in=inputs)
    # Locked against a concurrent move to the hold-out.
    holdout = dict(documents.order_by("pk").select_for_update(no_key=True).values_list("pk", "holdout"))
    existing = set(
        Prediction.objects.filter(document__in=holdout, source=source).values_list("document_id", flat=True)
        if holdout
        else ()
    )
    rows = [
        _row(project, schema_version, proposal, model, source)
        for pk, proposal in inputs.items()
        if holdout.get(pk) is False and pk not in existing
    ]
    Prediction.objects.bulk_create(rows, ignore_conflicts=True)
    return RecordResult(
        written=len(rows),
        repeated=sum(not holdout[pk] for pk in existing),
        held_out=sum(holdout.values()),
        gone=len(inputs) - len(holdout),
        unusable=sum(row.value is None for row in rows),
    )


def _row(
    project: Project, schema_version: SchemaVersion, proposal: PredictionInput, model: str, source: str
) -> Prediction:
    value, problems = schema_version.compiled.check(proposal.raw)
    usable = isinstance(value, dict)
    raw = "" if usable else proposal.raw[:MAX_STORED_RAW]
    if not text_fits(raw):
        raw = raw.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return Prediction(
        document_id=proposal.document_id,
        schema_version=schema_version,
        value=value if usable else None,
        valid=usable and not problems,
        confidence={path: round(float(sure), 4) for path, sure in proposal.confidence.items()} if usable else {},
        withheld=is_withheld(project, proposal.document_id),
        raw=raw,
        model=model[:200],
        source=source[:200],
        seconds=max(0.0, proposal.seconds),
    )
