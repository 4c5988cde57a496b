"""Parity of a package with the evaluation it is of: the same documents, answered by both. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.scores.score_view import ScoreView
from evaluation.stats import paired_loss
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import count_differences, score_document

#: documents of the evaluation that a package answers again
DOCUMENTS = 20
#: of each side of an interval with 95%
_ONE_SIDE = 0.975


@dataclass(frozen=True)
class ComparedDocument:
    """A document with gold and two raw outputs: of the evaluation, and of the package."""

    text: str
    gold: Any
    evaluated: str
    packaged: str


def compare(compiled: CompiledSchema, documents: Sequence[ComparedDocument]) -> dict[str, Any]:
    """The agreement of the outputs of a package with those of its evaluation, as it is stored with the package.

    ``equal``: documents with the same output text; ``different_fields`` of ``fields`` values differ after
    normalization. ``accuracy``: mean field accuracy of the package, ``evaluated_accuracy`` of the evaluation, on these
    documents. ``max_loss``: one-sided 95% upper bound of how much lower the package's is. ``difference_low`` and
    ``difference_high``: 95% interval of the package's field accuracy less that of the evaluation.
    """
    fields = different = 0
    before, after = [], []
    for document in documents:
        left, _ = compiled.check(document.evaluated)
        right, _ = compiled.check(document.packaged)
        wrong, counted = count_differences(compiled, left, right)
        fields, different = fields + counted, different + wrong
        before.append(_accuracy(compiled, document, document.evaluated))
        after.append(_accuracy(compiled, document, document.packaged))
    count = max(1, len(documents))
    return {
        "documents": len(documents),
        "equal": sum(document.evaluated == document.packaged for document in documents),
        "fields": fields, "different_fields": different,
        "accuracy": sum(after) / count, "evaluated_accuracy": sum(before) / count,
        "max_loss": paired_loss(before, after).value,
        "difference_low": -paired_loss(before, after, confidence=_ONE_SIDE).value,
        "difference_high": paired_loss(after, before, confidence=_ONE_SIDE).value,
    }  # fmt: skip


def _accuracy(compiled: CompiledSchema, document: ComparedDocument, raw: str) -> float:
    return ScoreView.of(score_document(compiled, text=document.text, gold=document.gold, raw=raw)).accuracy
