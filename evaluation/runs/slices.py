"""The slices of a run: rates over the documents with a failure tag, or with a value of their metadata."""

from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.models import EvalOutput
from labeling.models import Document
from slmstudio.contract.scoring.scorer import DocumentScore, metadata_slices, slices


def slices_by_tag(rows: Sequence[EvalOutput], scores: Sequence[DocumentScore]) -> dict[str, Any]:
    """Rates by the failure tags of the dataset version."""
    return slices(scores, [row.tags for row in rows])


def slices_by_metadata(rows: Sequence[EvalOutput], scores: Sequence[DocumentScore]) -> dict[str, Any]:
    """Rates by the documents' current metadata. No part of the summary: metadata can change."""
    metadata = dict(Document.objects.filter(pk__in=[row.document_id for row in rows]).values_list("pk", "metadata"))
    return metadata_slices(scores, [metadata.get(row.document_id) for row in rows])


def current_slices(rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """``slices_by_metadata`` of stored outputs."""
    rows = list(rows)
    return slices_by_metadata(rows, [DocumentScore.from_dict(row.score) for row in rows])
