"""What a benchmark found: a row for each eval run, the matrix of fields, the errors, and what is recommended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.benchmarks.recommendation import BYTES, Candidate, Limits, Recommendation, recommend
from evaluation.models import Benchmark, EvalOutput, EvalRun
from evaluation.runs import costs
from evaluation.runs.costs import Cost
from evaluation.scores.measurements import Scored, benchmark_bounds
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.runs.models import Status
from training.estimates.estimate import USUAL_LIMIT


@dataclass(frozen=True)
class Row:
    """One model in one mode. ``fields``: its rate of right fields with an interval over documents; ``beyond``: what of
    the contract it breaks, ``doubt``: what it breaks perhaps; ``compare``: number of the run that it is held against,
    None for that run itself.
    """

    run: EvalRun
    kind: str
    cost: Cost
    fields: dict[str, Any]
    beyond: tuple[str, ...]
    doubt: str
    compare: int | None

    @property
    def done(self) -> bool:
        """It was measured."""
        return self.run.status == Status.DONE


def limits(benchmark: Benchmark) -> Limits:
    """The contract's limits as they were when the benchmark started; 16 GB where it names no hardware."""
    wanted = benchmark.constraints
    return Limits(
        memory_gb=_number(wanted.get("hardware_memory_gb")) or USUAL_LIMIT / BYTES,
        latency_p95_ms=_number(wanted.get("latency_p95_ms")),
        cost_per_request=_number(wanted.get("cost_per_request")),
        currency=str(wanted.get("currency") or ""),
    )


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def cost_of(run: EvalRun, constraints: dict[str, Any]) -> Cost:
    """Seconds times the hourly price of the hardware, or tokens times the price of the endpoint."""
    if run.status != Status.DONE:
        return Cost(None, "not measured")
    if run.endpoint_id is not None:
        return costs.elsewhere(run.facts, run.scores["documents"])
    return costs.here(run.facts, constraints.get("hardware_price_per_hour"))


def recommendation(benchmark: Benchmark, done: Sequence[EvalRun]) -> Recommendation:
    """What follows from the runs that are done; reads the scores of their outputs."""
    shares: dict[int, dict[str, float]] = {run.pk: {} for run in done}
    rows = EvalOutput.objects.filter(eval_run__in=done).values_list("eval_run_id", "document_id", "score")
    for run, document, score in rows.iterator(chunk_size=200):
        shares[run][str(document)] = Scored.of(score).share_right
    return recommend([_candidate(run, benchmark, shares[run.pk]) for run in done], limits(benchmark))


def _candidate(run: EvalRun, benchmark: Benchmark, shares: dict[str, float]) -> Candidate:
    fields, bounds = run.scores["field_exact"], run.facts.get("bounds", {})
    p95 = bounds.get("p95_ms", {})
    return Candidate(
        run=run.number,
        model=_key(run),
        name=run.subject,
        mode=run.get_mode_display(),
        right=fields["k"],
        fields=fields["n"],
        valid=run.scores["schema_valid"]["rate"] or 0.0,
        shares=shares,
        memory_bytes=None if run.endpoint_id else run.facts.get("peak_memory_bytes"),
        p50_ms=run.latency.get("p50"),
        p95_ms=run.latency.get("p95"),
        p95_least=p95.get("low"),
        p95_most=p95.get("high"),
        requests=bounds.get("requests", run.scores["documents"]),
        machine=str(run.facts.get("processor") or ""),
        cost=cost_of(run, benchmark.constraints).request,
        size=run.base_model.parameters if run.base_model else 0,
        base=run.base_model is not None,
    )


def _key(run: EvalRun) -> str:
    """The model, whatever its mode."""
    return f"{run.base_model_id or ''}-{run.training_run_id or ''}-{run.endpoint_id or ''}"


def rows(benchmark: Benchmark, runs: Sequence[EvalRun]) -> list[Row]:
    """A row for each run in the order they were started, models together."""
    allowed, best = limits(benchmark), benchmark.result.get("run")
    against = best if best is not None else next((run.number for run in runs if run.status == Status.DONE), None)
    found = []
    for run in runs:
        done = run.status == Status.DONE
        kind = "elsewhere" if run.endpoint_id else "base model" if run.base_model_id else "fine-tuned here"
        candidate = _candidate(run, benchmark, {}) if done else None
        found.append(
            Row(
                run=run,
                kind=kind,
                cost=cost_of(run, benchmark.constraints),
                fields=right_fields(run) if done else {},
                beyond=tuple(candidate.beyond(allowed)) if candidate else (),
                doubt=candidate.over_by_luck(allowed) if candidate else "",
                compare=against if done and run.number != against else None,
            )
        )
    return found


def right_fields(run: EvalRun) -> dict[str, Any]:
    """The rate of right fields of a run that is done, with the interval of a bootstrap over documents.

    The fields of one document are right and wrong together, so that an interval over fields would be too narrow.
    """
    bounds = run.facts.get("bounds")
    if bounds is None:  # measured before they were kept
        scores = EvalOutput.objects.filter(eval_run=run).values_list("score", flat=True)
        bounds = benchmark_bounds(scores, [])
    return {**run.scores["field_exact"], **bounds["field_exact"]}


def matrix(benchmark: Benchmark, runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """Right values of each field in each run; ``best`` marks the highest rate of a field where runs differ."""
    compiled = benchmark.dataset.schema_version.compiled
    found = []
    for field in compiled.fields:
        values = [run.scores["per_field"].get(field.pattern) for run in runs]
        if not any(values):
            continue
        rates = [value["rate"] for value in values if value and value["rate"] is not None]
        top = max(rates) if rates and len(set(rates)) > 1 else None
        cells = [{"value": value, "best": top is not None and bool(value) and value["rate"] == top} for value in values]
        found.append({"field": field, "cells": cells})
    return found


def errors(runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """How many fields have each kind of error in each run, the most frequent kind first."""
    counts = [run.scores.get("errors", {}) for run in runs]
    kinds = sorted(
        {kind for one in counts for kind in one}, key=lambda kind: (-sum(c.get(kind, 0) for c in counts), kind)
    )
    return [
        {
            "kind": kind,
            "words": ERROR_LABELS.get(kind, kind),
            "by_run": [(run, count.get(kind, 0)) for run, count in zip(runs, counts, strict=True)],
        }
        for kind in kinds
    ]


def as_report(benchmark: Benchmark, runs: Sequence[EvalRun]) -> dict[str, Any]:
    """The whole benchmark, JSON-ready."""
    return {
        "benchmark": benchmark.number,
        "status": benchmark.status,
        "dataset": {"number": benchmark.dataset.number, "sha256": benchmark.dataset.sha256},
        "documents": list(
            benchmark.dataset.items.filter(document__in=benchmark.documents)
            .order_by("document__external_id")
            .values_list("document__external_id", flat=True)
        ),
        "recommendation": benchmark.result,
        "runs": [_reported(row) for row in rows(benchmark, runs)],
    }


def _reported(row: Row) -> dict[str, Any]:
    run = row.run
    said: dict[str, Any] = {"run": run.number, "model": run.subject, "kind": row.kind, "mode": run.mode}
    if not row.done:
        return {**said, "status": run.status, "error": run.error}
    return {
        **said,
        "status": run.status,
        "schema_valid": run.scores["schema_valid"],
        "field_exact": {**row.fields, "interval": "bootstrap over documents"},
        "document_exact": run.scores["document_exact"],
        "sroie": run.scores.get("sroie"),
        "per_field": {name: value["rate"] for name, value in run.scores["per_field"].items()},
        "errors": run.scores["errors"],
        "latency_ms": {name: run.latency.get(name) for name in ("p50", "p95", "p99")},
        "docs_per_second": run.facts.get("docs_per_second"),
        "peak_memory_bytes": run.facts.get("peak_memory_bytes"),
        "cost_per_1000": row.cost.thousand,
        "cost_from": row.cost.why,
        "beyond_contract": list(row.beyond),
    }
