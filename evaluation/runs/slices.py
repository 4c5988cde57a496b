"""The slices of a run: rates over the documents with a failure tag, or with a value of their metadata."""

from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.models import EvalOutput, EvalRun
from labeling.models import Document
from slmstudio.contract.scoring.scorer import DocumentScore, metadata_slices, slices

#: documents of a slice of a hold-out evaluation that is not open: with fewer, labels chosen by its figures fit
#: the training data to the examination (``bench.gate_workflow``)
MIN_HOLDOUT_DOCUMENTS = 20


def is_shown(documents: int, *runs: EvalRun) -> bool:
    """Whether figures over this number of documents may be shown of these runs."""
    return documents >= MIN_HOLDOUT_DOCUMENTS or all(run.outputs_visible for run in runs)


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
