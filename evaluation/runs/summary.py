"""The summary of a run's outputs: scores, latencies, tokens and slices, computed once or again on demand."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import run_documents
from evaluation.scores.rates import field_accuracy
from evaluation.scores.score_view import ScoreView
from evaluation.scores.slice_selector import KNOWN, NEW
from evaluation.stats import by_family, effective_documents, family_upper
from labeling.datasets import families
from labeling.models import Document
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.protocols import SROIE_FIELDS
from slmstudio.contract.scoring.scorer import (
    DocumentScore,
    class_scores,
    cord,
    metadata_slices,
    score_document,
    slices,
    sroie,
    summarize,
    with_families,
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


def field_accuracy_interval(rows: Iterable[EvalOutput], of: Mapping[int, int] | None = None) -> dict[str, Any]:
    """The 95% interval of field accuracy with the document as the unit. No part of the scores, whose own interval
    treats fields as independent: their hash is in manifests. ``of``: the families of documents.
    """
    rows = list(rows)
    rate = field_accuracy([ScoreView.of(row.score).count() for row in rows], _families(rows, of or {}))
    return {"low": rate["low"], "high": rate["high"]}


def summarize_outputs(
    compiled: CompiledSchema, rows: Iterable[EvalOutput], of: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """The summary of stored scores: rates, classes, failure tags, CORD, and SROIE where the schema has its fields.

    ``of``: document -> family; a document without one is its own.
    """
    rows = list(rows)
    return _summary(compiled, rows, [DocumentScore.from_dict(row.score) for row in rows], of or {})


def summarize_with_metadata(
    compiled: CompiledSchema, rows: list[EvalOutput], of: Mapping[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``summarize_outputs`` and ``by_metadata`` in one pass over the scores."""
    scores = [DocumentScore.from_dict(row.score) for row in rows]
    return _summary(compiled, rows, scores, of), slices_by_metadata(rows, scores)


def family_facts(run: EvalRun, rows: Sequence[EvalOutput]) -> dict[str, Any]:
    """What the page of a run shows of the families of its documents; empty where each is its own and none is known.

    ``{"documents", "families", "word", "effective", "known_word", "slices"}``: how many independent documents they
    count as in a gate on exact match (absent where each counts), and the scores of known and new families
    (``labeling.datasets.families``).
    """
    facts: dict[str, Any] = {}
    of = _families(rows, families.families_of(run.dataset, run.split))
    counts = by_family((family, not row.exact, 1.0) for family, row in zip(of, rows, strict=True))
    if len(counts) < len(rows):
        wrong = sum(count.part for count in counts) / len(rows)
        facts = {
            "documents": len(rows),
            "families": len(counts),
            "word": families.family_word(run.dataset, len(counts)),
            "effective": effective_documents(wrong, family_upper(counts), len(rows)),
        }
    trained_on = run.backend.trained_on
    known = families.known_documents(run.dataset, run.split, trained_on)
    if known is not None:
        labels = [[KNOWN if row.document_id in known else NEW] for row in rows]
        parts = slices([DocumentScore.from_dict(row.score) for row in rows], labels)
        facts |= {"known_word": families.family_word(run.dataset), "slices": parts}
    return facts


def _families(rows: Sequence[EvalOutput], of: Mapping[int, int]) -> list[int]:
    """The family of each row: the key of its oldest document, or its own."""
    return [of.get(row.document_id, row.document_id) for row in rows]


def _summary(
    compiled: CompiledSchema, rows: list[EvalOutput], scores: list[DocumentScore], of: Mapping[int, int]
) -> dict[str, Any]:
    result = summarize(scores)
    if of:
        result = with_families(result, scores, _families(rows, of))
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

    Equal to ``run.scores`` as long as scorer, schema and outputs are unchanged. Where documents were erased, nothing
    can be computed again, and the stored one counts.
    """
    if Document.objects.filter(eval_outputs__eval_run=run, erased_at__isnull=False).exists():
        return dict(run.scores)
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
    of = families.families_of(run.dataset, run.split)
    return summarize_outputs(compiled, sorted(rows, key=lambda row: row.document_id), of)


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
