"""Outputs of an eval run: scored as they come, stored once each, summed up, counted again on demand."""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction

from evaluation.comparison.paired import Judged, spread
from evaluation.inference.answers import json_of, without_thought
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import costs, run_documents
from evaluation.runs.batch_writer import BatchWriter
from evaluation.scores.failure_modes import fields_right
from evaluation.scores.measurements import Scored, benchmark_bounds
from labeling.documents import evaluation_scores as scores
from labeling.models import Contract, Document
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.protocols import SROIE_FIELDS
from slmstudio.contract.scoring.scorer import (
    SCORER_VERSION,
    DocumentScore,
    class_figures,
    cord,
    metadata_slices,
    score_document,
    slices,
    sroie,
    summarize,
)
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file

_UNKEPT = re.compile(r"[\x00\ud800-\udfff]")
#: outcomes that are no error
_FINE = {"correct", "both_absent"}


class OutputError(Exception):
    """The outputs of a run are not what they must be; the message is a sentence."""


class OutputWriter(BatchWriter[EvalOutput]):
    """Turns a child's ``output`` events into scored rows, in batches.

    At least once, effectively once: a row that is there already stays as it is, so that an event that is handled again
    changes nothing. A worker whose run was given to another one stores nothing any more.
    """

    def __init__(self, run: EvalRun) -> None:
        super().__init__()
        self.run = run
        self.compiled = run.dataset.schema_version.compiled
        self.documents = run_documents.documents(run)
        self.rows = {str(row["id"]): row for row in run_documents.rows(run)}
        self.stored = 0

    def add(self, event: dict[str, Any]) -> None:
        """Scores one output. Raises OutputError where it belongs to no document of the run."""
        key = str(event["id"])
        if key not in self.rows or key not in self.documents:
            raise OutputError(f"The model's process answered for {key!r}, which is no document of this run.")
        document_id, row = self.documents[key], self.rows[key]
        self.put(scored_output(self.run, self.compiled, document_id=document_id, row=row, event=event))

    def write(self, rows: Sequence[EvalOutput]) -> None:
        """Stores scored rows."""
        with transaction.atomic():
            if self._is_ours():
                EvalOutput.objects.bulk_create(rows, ignore_conflicts=True)
        self.stored += len(rows)
        stage = "asking" if self.run.endpoint_id else "generating"
        self.run.record(progress_done=self.stored, progress_total=len(self.rows), stage=stage)

    def _is_ours(self) -> bool:
        """Whether the run is still this worker's; it stays so until the transaction ends."""
        rows = EvalRun.objects.select_for_update(no_key=True).filter(pk=self.run.pk)
        return bool(rows.filter(status=Status.RUNNING, job_id=self.run.job_id).values_list("pk", flat=True))


def scored_output(
    run: EvalRun, compiled: CompiledSchema, *, document_id: int, row: dict[str, Any], event: dict[str, Any]
) -> EvalOutput:
    """One output as an unsaved row. A document that failed is an outcome: invalid, with its error."""
    raw, finish, latency_ms = _said(event)
    judged_by = answer_in(run, raw)
    score = score_document(compiled, text=row["text"], gold=row["gold"], raw=judged_by, finish_reason=finish)
    return EvalOutput(
        eval_run=run,
        document_id=document_id,
        gold=row["gold"],
        raw=raw,
        finish_reason=finish,
        error=kept(str(event.get("error") or "")),
        tags=row.get("tags") or [],
        latency_ms=latency_ms,
        prompt_tokens=int(event.get("prompt_tokens") or 0),
        output_tokens=int(event.get("output_tokens") or 0),
        **score_columns(score),
    )


def answer_in(run: EvalRun, raw: str) -> str:
    """What is scored of an output: all of it; of a model elsewhere the JSON in it, without the fence, the thought or
    the talk around it, as whatever uses such a model reads it. A benchmark judges all its candidates as they write, but
    for a thought: servers differ in whether they put that apart.
    """
    if run.endpoint_id is None:
        return raw
    if run.benchmark_id is not None:
        return without_thought(raw)
    try:
        loads(raw)
    except JsonError:
        return json_of(raw)[1]
    return raw


def kept(text: str) -> str:
    """A text as files and the database can hold it: without NUL and halves of surrogate pairs, which no JSON has."""
    return _UNKEPT.sub("\ufffd", text)


def _said(event: dict[str, Any]) -> tuple[str, str, float]:
    """Text, ending and latency of an output, as they are stored."""
    raw = kept(str(event.get("raw") or ""))
    return raw, str(event.get("finish_reason") or "stop"), float(event.get("latency_ms") or 0)


def score_columns(score: DocumentScore) -> dict[str, Any]:
    """The columns of an output that are read off its score."""
    wrong = [field for field in score.fields if str(field.outcome) not in _FINE]
    return {
        "score": score.as_dict(),
        "valid": score.schema_valid,
        "exact": score.exact,
        "wrong_fields": sorted({field.field for field in wrong}),
        "errors": sorted({str(field.error) for field in wrong if field.error}),
    }


def finish(run: EvalRun, *, sha256: str, facts: dict[str, Any], left_out: int = 0) -> None:
    """Sums a run up and ends it well. ``left_out``: documents that nobody was to be asked about. Done twice, because
    the database went away with its answer, it does the same.

    Raises:
        OutputError: outputs are missing, or the file is not the one that the model's process wrote.
    """
    path = artifacts.local_path(run.outputs_key)
    found = sha256_file(path)
    if sha256 and found != sha256:
        raise OutputError("The file of outputs is not what the model's process wrote. Start the evaluation again.")
    expected = run_documents.count(run) - left_out
    # Without the texts: a hundred thousand of them are gigabytes.
    rows = list(EvalOutput.objects.filter(eval_run=run).order_by("document_id").defer("raw", "error"))
    if len(rows) != expected:
        raise OutputError(f"Of {expected} documents only {len(rows)} were answered. Start the evaluation again.")
    if not rows:
        raise OutputError("Every document of it was moved to the hold-out meanwhile, so nothing was asked.")
    times = latencies(rows)
    figures, places = _figures(run.dataset.schema_version.compiled, rows)
    told = {**run.facts, **facts, **_lengths(rows), **_bounds(run, rows, times), "slices": places}
    finished = run.finish(
        progress_done=expected,
        progress_total=expected,
        scores=figures,
        latency=spread(times),
        facts=_with_cost(run, told, len(rows)),
        scorer_version=SCORER_VERSION,
        outputs_sha256=found,
    )
    finished = finished or EvalRun.objects.filter(pk=run.pk, job_id=run.job_id, status=Status.DONE).exists()
    # What models make of a document before any tuning says little about the document.
    if finished and run.benchmark is None:
        _tell_documents(run, rows)


def _tell_documents(run: EvalRun, rows: list[EvalOutput]) -> None:
    """Lets the list of documents be sorted and filtered by how this evaluation went."""
    told = (scores.Row(row.document_id, Scored.of(row.score).share_right, row.wrong_fields) for row in rows)
    scores.record(project=run.project, rows=told, source=f"evaluation {run.number}")


def latencies(rows: Iterable[EvalOutput]) -> list[float]:
    """Milliseconds of each request. One that failed was no quicker than the slowest that came back: whoever gives up
    after two seconds has no latency below them.
    """
    rows = list(rows)
    slowest = max((row.latency_ms for row in rows if row.finish_reason != "error"), default=0.0)
    return [max(row.latency_ms, slowest) if row.finish_reason == "error" else row.latency_ms for row in rows]


def _lengths(rows: list[EvalOutput]) -> dict[str, Any]:
    """Tokens read and written, and how many outputs were cut off or failed."""
    return {
        "prompt_tokens": sum(row.prompt_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cut_off": sum(row.finish_reason == "length" for row in rows),
        "failed": sum(row.finish_reason == "error" for row in rows),
    }


def _with_cost(run: EvalRun, facts: dict[str, Any], answered: int) -> dict[str, Any]:
    """The facts, and what a document cost at the prices of today; nobody can ask for those later."""
    found = Contract.objects.filter(project=run.project_id).only("constraints").first()
    constraints = found.constraints if found else {}
    if run.endpoint_id is not None:
        cost = costs.elsewhere(facts, answered)
    else:
        cost = costs.here(facts, constraints.get("hardware_price_per_hour"))
    told = {"cost_why": cost.why, "currency": str(constraints.get("currency") or "")}
    return {**facts, **told} if cost.request is None else {**facts, **told, "cost_per_document": cost.request}


def _bounds(run: EvalRun, rows: list[EvalOutput], times: list[float]) -> dict[str, Any]:
    """How sure the figures are, worked out once. A benchmark shows more of it: others are judged by gates."""
    if run.benchmark is not None:
        return {"bounds": benchmark_bounds((row.score for row in rows), times)}
    return {"bounds": {"field_exact": field_bounds(rows)}}


def field_bounds(rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """The 95 % interval of the rate of right fields, with the document as the unit. Not among the scores, whose own
    interval counts fields as if those of one document erred each by itself: their hash stands in packets.
    """
    rate = fields_right([Judged.of(row.score).tally for row in rows])
    return {"low": rate["low"], "high": rate["high"]}


def summary(compiled: CompiledSchema, rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """The summary of stored scores: the contract's figures, classes, failure tags, CORD's, SROIE's where it applies."""
    rows = list(rows)
    return _summed(compiled, rows, [DocumentScore.from_dict(row.score) for row in rows])


def _figures(compiled: CompiledSchema, rows: list[EvalOutput]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both ``summary`` and ``by_metadata``, with every score read once."""
    scores = [DocumentScore.from_dict(row.score) for row in rows]
    return _summed(compiled, rows, scores), _placed(rows, scores)


def _summed(compiled: CompiledSchema, rows: list[EvalOutput], scores: list[DocumentScore]) -> dict[str, Any]:
    result = summarize(scores)
    result["slices"] = slices(scores, [row.tags for row in rows])
    result["classes"] = class_figures(compiled, scores)
    result["cord"] = cord((row.gold, score.output) for row, score in zip(rows, scores, strict=True))
    if set(SROIE_FIELDS) <= {field.pattern for field in compiled.fields}:
        pairs = zip(rows, scores, strict=True)
        result["sroie"] = sroie((_as_texts(row.gold), _as_texts(score.output)) for row, score in pairs)
    return result


def _as_texts(value: Any) -> Any:
    """Numbers with the digits they were written with, as the protocol compares texts."""
    if not isinstance(value, dict):
        return None
    return {
        name: str(item) if isinstance(item, int | Decimal) and not isinstance(item, bool) else item
        for name, item in value.items()
    }


def by_metadata(rows: Iterable[EvalOutput]) -> dict[str, Any]:
    """Figures by what is known of the documents now. No part of the summary: it may change without any output."""
    rows = list(rows)
    return _placed(rows, [DocumentScore.from_dict(row.score) for row in rows])


def _placed(rows: list[EvalOutput], scores: list[DocumentScore]) -> dict[str, Any]:
    known = dict(Document.objects.filter(pk__in=[row.document_id for row in rows]).values_list("pk", "metadata"))
    return metadata_slices(scores, [known.get(row.document_id) for row in rows])


def recount(run: EvalRun) -> dict[str, Any]:
    """The summary made anew from the raw outputs: each scored again, against the gold it was scored against.

    Equal to ``run.scores`` as long as scorer, schema and outputs are what they were.
    """
    compiled = run.dataset.schema_version.compiled
    texts = {str(row["id"]): row["text"] for row in run_documents.rows(run)}
    rows = list(EvalOutput.objects.filter(eval_run=run).with_documents())
    for row in rows:
        score = score_document(
            compiled,
            text=texts[row.document.external_id],
            gold=row.gold,
            raw=answer_in(run, row.raw),
            finish_reason=row.finish_reason,
        )
        row.score = loads(dumps(score.as_dict()))
    return summary(compiled, sorted(rows, key=lambda row: row.document_id))


def rows_match_file(run: EvalRun) -> bool:
    """Whether the stored rows say what the file of outputs says, document by document: text, ending and latency."""
    in_file: dict[str, tuple[str, str, float]] = {}
    with artifacts.local_path(run.outputs_key).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)  # not as strict as what a model is held to: it may have written a NUL
            in_file[str(row["id"])] = _said(row)
    rows = EvalOutput.objects.filter(eval_run=run).with_documents().defer("gold", "score", "document__text")
    return {row.document.external_id: (row.raw, row.finish_reason, row.latency_ms) for row in rows} == in_file
