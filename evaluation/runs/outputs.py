"""Outputs of an eval run: scored as they come, stored once each, and completed with a summary."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from django.db import transaction

from evaluation.inference.backend import Backend
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import run_documents, summary
from evaluation.scores.rates import benchmark_bounds
from evaluation.scores.score_view import CORRECT_OUTCOMES, ScoreView
from evaluation.stats import distribution
from labeling.datasets.families import families_of
from labeling.documents import evaluation_scores
from labeling.models import Contract, Split
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import SCORER_VERSION, DocumentScore, score_document
from slmstudio.database.fields import storable_text
from slmstudio.runs.application import scorer_code
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file

Row = TypeVar("Row")
#: results and seconds after which a batch is written
BATCH = 25
SECONDS = 2.0


class BatchWriter(ABC, Generic[Row]):
    """Collects results; a subclass writes them and the run's progress. A batch that failed is written again."""

    def __init__(self) -> None:
        self._pending: list[Row] = []
        self._written_at = time.monotonic()

    def put(self, row: Row) -> None:
        """Takes one result, and writes the batch where it is due."""
        self._pending.append(row)
        if len(self._pending) >= BATCH or time.monotonic() - self._written_at >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the pending results."""
        if self._pending:
            self.write(self._pending)
            self._pending = []
        self._written_at = time.monotonic()

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Writes one batch and moves the run's progress. Must be idempotent."""


class InvalidOutputs(Exception):
    """The outputs of a run are missing or changed; the message is a sentence."""


class OutputWriter(BatchWriter[EvalOutput]):
    """Turns ``output`` events into scored rows.

    At least once, effectively once: a stored row stays as it is, so a repeated event changes nothing. A worker whose
    run was given to another one stores nothing.
    """

    def __init__(self, run: EvalRun) -> None:
        super().__init__()
        self.run = run
        self.compiled = run.dataset.schema_version.compiled
        self.documents = run_documents.documents(run)
        self.rows = {str(row["id"]): row for row in run_documents.rows(run)}
        self.stored = 0
        self._backend = run.backend

    def add(self, event: dict[str, Any]) -> None:
        """Scores one output. Raises InvalidOutputs where it belongs to no document of the run."""
        key = str(event["id"])
        if key not in self.rows or key not in self.documents:
            raise InvalidOutputs(f"The model's process answered for {key!r}, which is not in this run.")
        document_id, row = self.documents[key], self.rows[key]
        self.put(scored_output(self.run, self._backend, self.compiled, document_id=document_id, row=row, event=event))

    def write(self, rows: Sequence[EvalOutput]) -> None:
        """Stores scored rows and the progress."""
        with transaction.atomic():
            if self._is_owned():
                EvalOutput.objects.bulk_create(rows, ignore_conflicts=True)
        self.stored += len(rows)
        self.run.record(progress_done=self.stored, progress_total=len(self.rows), stage=self._backend.stage)

    def _is_owned(self) -> bool:
        """Whether the run is still this worker's; it stays so until the transaction ends."""
        rows = EvalRun.objects.select_for_update(no_key=True).filter(pk=self.run.pk)
        return bool(rows.filter(status=Status.RUNNING, job_id=self.run.job_id).values_list("pk", flat=True))


def scored_output(
    run: EvalRun,
    backend: Backend,
    compiled: CompiledSchema,
    *,
    document_id: int,
    row: dict[str, Any],
    event: dict[str, Any],
) -> EvalOutput:
    """One output as an unsaved row."""
    is_benchmark = run.benchmark_id is not None
    output = score_event(
        compiled, row=row, event=event, scorable_text=lambda raw: backend.scorable_text(raw, benchmark=is_benchmark)
    )
    output.eval_run, output.document_id = run, document_id
    return output


def score_event(
    compiled: CompiledSchema, *, row: dict[str, Any], event: dict[str, Any], scorable_text: Callable[[str], str]
) -> EvalOutput:
    """The scored output of an event without its run and document. A document that failed is scored as invalid, with its
    error. ``row``: text, gold and tags of the document. ``scorable_text``: the part of an output that is scored."""
    raw, finish_reason, latency_ms = _stored_columns(event)
    score = score_document(
        compiled, text=row["text"], gold=row["gold"], raw=scorable_text(raw), finish_reason=finish_reason
    )
    return EvalOutput(
        gold=row["gold"],
        raw=raw,
        finish_reason=finish_reason,
        error=storable_text(str(event.get("error") or "")),
        tags=row.get("tags") or [],
        latency_ms=latency_ms,
        prompt_tokens=int(event.get("prompt_tokens") or 0),
        output_tokens=int(event.get("output_tokens") or 0),
        windows=int(event.get("windows") or 1),
        **score_columns(score),
    )


def _stored_columns(event: dict[str, Any]) -> tuple[str, str, float]:
    """Text, finish reason and latency of an output, as they are stored."""
    raw = storable_text(str(event.get("raw") or ""))
    return raw, str(event.get("finish_reason") or "stop"), float(event.get("latency_ms") or 0)


def score_columns(score: DocumentScore) -> dict[str, Any]:
    """The columns of an output that are read off its score."""
    wrong = [field for field in score.fields if str(field.outcome) not in CORRECT_OUTCOMES]
    return {
        "score": score.as_dict(),
        "valid": score.schema_valid,
        "exact": score.exact,
        "wrong_fields": sorted({field.field for field in wrong}),
        "errors": sorted({str(field.error) for field in wrong if field.error}),
    }


def complete(run: EvalRun, *, sha256: str, facts: dict[str, Any], left_out: int = 0) -> None:
    """Summarizes a run and marks it as done. ``sha256``: of the file as its writer reported it; ``left_out``: documents
    that were not to be sent. Idempotent, because the database may go away after the change.

    Raises:
        InvalidOutputs: outputs are missing, or the file is not the one that the model's process wrote.
    """
    file_sha256 = sha256_file(artifacts.local_path(run.outputs_key))
    if sha256 and file_sha256 != sha256:
        raise InvalidOutputs("The output file has changed since the model wrote it. Start the evaluation again.")
    expected = run_documents.count(run) - left_out
    # Without the texts: a hundred thousand of them are gigabytes.
    rows = list(EvalOutput.objects.filter(eval_run=run).order_by("document_id").defer("raw", "error"))
    if len(rows) != expected:
        raise InvalidOutputs(f"Only {len(rows)} of {expected} documents were answered. Start the evaluation again.")
    if not rows:
        raise InvalidOutputs("Every document was moved to the hold-out during the run, so none was sent.")
    times = summary.latencies(rows)
    of = families_of(run.dataset, run.split)
    scores, slices_by_metadata = summary.summarize_with_metadata(run.dataset.schema_version.compiled, rows, of)
    facts = {
        **run.facts,
        **facts,
        **summary.token_counts(rows),
        **_intervals(run, rows, times, of),
        "slices": slices_by_metadata,
        "scorer_code": scorer_code(),
        "families": summary.family_facts(run, rows),
    }
    finished = run.finish(
        progress_done=expected,
        progress_total=expected,
        scores=scores,
        latency=distribution(times),
        facts=_with_cost(run, facts, len(rows)),
        scorer_version=SCORER_VERSION,
        outputs_sha256=file_sha256,
    )
    finished = finished or EvalRun.objects.filter(pk=run.pk, job_id=run.job_id, status=Status.DONE).exists()
    # Outputs of models before fine-tuning say little about a document.
    if finished and run.benchmark is None:
        update_document_scores(run, rows)


def update_document_scores(run: EvalRun, rows: Iterable[EvalOutput]) -> None:
    """Stores the result of each document, by which the list of documents is sorted and filtered; none of the hold-out,
    whose single outputs are not shown."""
    if run.split == Split.HOLDOUT:
        return
    scores = (
        evaluation_scores.ScoreRow(row.document_id, ScoreView.of(row.score).accuracy, row.wrong_fields) for row in rows
    )
    evaluation_scores.record(project=run.project, rows=scores, source=f"evaluation {run.number}")


def _with_cost(run: EvalRun, facts: dict[str, Any], answered: int) -> dict[str, Any]:
    """The facts with the cost of a document at current prices."""
    contract = Contract.objects.filter(project=run.project_id).only("constraints").first()
    constraints = contract.constraints if contract else {}
    price = run.backend.price(facts, constraints.get("hardware_price_per_hour"))
    cost = price.of_run(facts, answered)
    facts = {**facts, "cost_why": cost.reason, "currency": str(constraints.get("currency") or "")}
    return facts if cost.per_document is None else {**facts, "cost_per_document": cost.per_document}


def _intervals(run: EvalRun, rows: list[EvalOutput], times: list[float], of: Mapping[int, int]) -> dict[str, Any]:
    """Confidence intervals, computed once. A benchmark needs more of them; others are tested by gates."""
    if run.benchmark is not None:
        return {"bounds": benchmark_bounds({row.document_id: row.score for row in rows}, times, of)}
    return {"bounds": {"field_exact": summary.field_accuracy_interval(rows, of)}}


def confidences(run: EvalRun) -> dict[str, dict[str, float]]:
    """Id of a document -> the confidence of its fields by path, as far as the file of outputs has it."""
    path = artifacts.local_path(run.outputs_key)
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as file:
        events = (json.loads(line) for line in file)
        return {
            str(event["id"]): {field: float(least) for field, (least, *_) in event["confidence"].items()}
            for event in events
            if event.get("confidence")
        }


def rows_match_file(run: EvalRun) -> bool:
    """Whether the stored rows equal the file of outputs: text, finish reason and latency of every document."""
    in_file: dict[str, tuple[str, str, float]] = {}
    with artifacts.local_path(run.outputs_key).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)  # lenient: a model may have generated a NUL
            in_file[str(row["id"])] = _stored_columns(row)
    rows = EvalOutput.objects.filter(eval_run=run).with_documents().defer("gold", "score", "document__text")
    return {row.document.external_id: (row.raw, row.finish_reason, row.latency_ms) for row in rows} == in_file
