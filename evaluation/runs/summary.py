"""The summary of a run's outputs: scores, latencies, tokens and slices, computed once or again on demand."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import run_documents
from evaluation.runs.slices import slices_by_metadata, slices_by_tag
from evaluation.scores.rates import field_accuracy
from evaluation.scores.score_view import ScoreView
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.protocols import SROIE_FIELDS
from slmstudio.contract.scoring.scorer import (
    DocumentScore,
    class_scores,
    cord,
    score_document,
    sroie,
    summarize,
)


def latencies(rows: Iterable[EvalOutput]) -> list[float]:
    """Milliseconds of each request. A failed one counts as the slowest answered one at least, so that a short timeout
    does not lower the latency.
    """
    rows = list(rows)
    slowest = max((row.latency_ms for row in rows if row.finish_reason != "error"), default=0.0)
    return [max(row.latency_ms, slowest) if row.finish_reason == "error" else row.latency_ms for row in rows]


def token_counts(rows: list[EvalOutput]) -> dict[str, Any]:
    """Prompt and output tokens, and how many outputs were truncated or failed."""
    return {
        "prompt_tokens": sum(row.prompt_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cut_off": sum(row.finish_reason == "length" for row in rows),
        "failed": sum(row.finish_reason == "error" for row in rows),
    }


def field_accuracy_interval(rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """The 95 % interval of field accuracy with the document as the unit. No part of the scores, whose own interval
    treats fields as independent: their hash is in manifests.
    """
    rate = field_accuracy([ScoreView.of(row.score).count() for row in rows])
    return {"low": rate["low"], "high": rate["high"]}


def summarize_outputs(compiled: CompiledSchema, rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """The summary of stored scores: rates, classes, failure tags, CORD, and SROIE where the schema has its fields."""
    rows = list(rows)
    return _summary(compiled, rows, [DocumentScore.from_dict(row.score) for row in rows])


def summarize_with_metadata(compiled: CompiledSchema, rows: list[EvalOutput]) -> tuple[dict[str, Any], dict[str, Any]]:
    """``summarize_outputs`` and ``by_metadata`` in one pass over the scores."""
    scores = [DocumentScore.from_dict(row.score) for row in rows]
    return _summary(compiled, rows, scores), slices_by_metadata(rows, scores)


def _summary(compiled: CompiledSchema, rows: list[EvalOutput], scores: list[DocumentScore]) -> dict[str, Any]:
    result = summarize(scores)
    result["slices"] = slices_by_tag(rows, scores)
    result["classes"] = class_scores(compiled, scores)
    result["cord"] = cord((row.gold, score.output) for row, score in zip(rows, scores, strict=True))
    if set(SROIE_FIELDS) <= {field.pattern for field in compiled.fields}:
        pairs = zip(rows, scores, strict=True)
        result["sroie"] = sroie(
            (_numbers_as_written(row.gold), _numbers_as_written(score.output)) for row, score in pairs
        )
    return result


def _numbers_as_written(value: Any) -> Any:
    """Numbers as text with their original digits, because the protocol compares texts."""
    if not isinstance(value, dict):
        return None
    return {
        name: str(item) if isinstance(item, int | Decimal) and not isinstance(item, bool) else item
        for name, item in value.items()
    }


def recompute_summary(run: EvalRun) -> dict[str, Any]:
    """The summary computed again from the raw outputs and the gold they were scored against.

    Equal to ``run.scores`` as long as scorer, schema and outputs are unchanged.
    """
    compiled = run.dataset.schema_version.compiled
    texts = {str(row["id"]): row["text"] for row in run_documents.rows(run)}
    rows, backend = list(EvalOutput.objects.filter(eval_run=run).with_documents()), run.backend
    for row in rows:
        score = score_document(
            compiled,
            text=texts[row.document.external_id],
            gold=row.gold,
            raw=backend.scorable_text(row.raw, benchmark=run.benchmark_id is not None),
            finish_reason=row.finish_reason,
        )
        row.score = loads(dumps(score.as_dict()))
    return summarize_outputs(compiled, sorted(rows, key=lambda row: row.document_id))
