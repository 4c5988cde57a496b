"""Results of a benchmark: a row for each eval run, the matrix of fields, errors, and the recommendation."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Prefetch

from evaluation.benchmarks.recommendation import BYTES, Limits, MeasuredCandidate, Recommendation, recommend
from evaluation.gates.facts import RunFacts, measure
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Resources, Source, VerdictStatus
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.gates.verdicts import all_passed, verdict_for, without_number
from evaluation.inference.prices import Cost
from evaluation.models import Benchmark, EvalOutput, EvalRun
from evaluation.scores.rates import benchmark_bounds
from evaluation.scores.score_view import ScoreView
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.runs.models import Status
from training.estimates.memory import DEFAULT_MEMORY_LIMIT


def benchmarks_of(project: Any) -> Any:
    """The benchmarks of a project with their runs, the newest first."""
    rows = project.benchmarks.select_related("dataset", "created_by").order_by("-number")
    return rows.prefetch_related(Prefetch("runs", EvalRun.objects.with_model().order_by("number")))


def limits(benchmark: Benchmark) -> Limits:
    """The contract's limits at the start of the benchmark; 16 GB where it names no hardware."""
    constraints = benchmark.constraints
    return Limits(
        memory_gb=_number(constraints.get("hardware_memory_gb")) or DEFAULT_MEMORY_LIMIT / BYTES,
        latency_p95_ms=_number(constraints.get("latency_p95_ms")),
        cost_per_request=_number(constraints.get("cost_per_request")),
        currency=str(constraints.get("currency") or ""),
    )


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def cost_of(run: EvalRun, constraints: dict[str, Any]) -> Cost:
    """The cost of a run's documents: time at the price of the hardware, or tokens at the price of the endpoint."""
    if run.status != Status.DONE:
        return Cost(None, "not measured")
    price = run.backend.price(run.facts, constraints.get("hardware_price_per_hour"))
    return price.of_run(run.facts, run.scores["documents"])


def conclusion(benchmark: Benchmark, done: Sequence[EvalRun]) -> dict[str, Any]:
    """The result of a benchmark, JSON-ready: recommendation, and the gates on outputs as ``gates``."""
    verdicts = gate_verdicts(benchmark, done)
    return {**recommendation(benchmark, done, verdicts).as_dict(), "gates": verdicts}


def recommendation(
    benchmark: Benchmark, done: Sequence[EvalRun], verdicts: Mapping[str, Mapping[str, Any]] | None = None
) -> Recommendation:
    """The recommendation from the finished runs; reads the scores of their outputs."""
    shares: dict[int, dict[str, float]] = {run.pk: {} for run in done}
    rows = EvalOutput.objects.filter(eval_run__in=done).values_list("eval_run_id", "document_id", "score")
    for run, document, score in rows.iterator(chunk_size=200):
        shares[run][str(document)] = ScoreView.of(score).accuracy
    measured = [_candidate(run, benchmark, shares[run.pk], (verdicts or {}).get(str(run.number), {})) for run in done]
    return recommend(measured, limits(benchmark))


def labels_of(benchmark: Benchmark, run: EvalRun) -> int | None:
    """Labels that a candidate learned from; of others the few-shot examples that it gets."""
    if run.prompt is not None:
        return len(run.prompt.documents) + len(run.prompt.examples)
    return run.backend.labels() if run.backend.trained_on is not None else len(benchmark.examples)


def _candidate(
    run: EvalRun, benchmark: Benchmark, shares: dict[str, float], verdict: Mapping[str, Any]
) -> MeasuredCandidate:
    fields, bounds = run.scores["field_exact"], run.facts.get("bounds", {})
    p95 = bounds.get("p95_ms", {})
    return MeasuredCandidate(
        run=run.number,
        model=str(run.backend.key),
        name=_name(run),
        mode=run.get_mode_display().lower() if run.backend.decodes else "",
        right=fields["k"],
        fields=fields["n"],
        valid=run.scores["schema_valid"]["rate"] or 0.0,
        shares=shares,
        memory_bytes=None if run.backend.is_external else run.facts.get("peak_memory_bytes"),
        p50_ms=run.latency.get("p50"),
        p95_ms=run.latency.get("p95"),
        p95_low=p95.get("low"),
        p95_high=p95.get("high"),
        requests=bounds.get("requests", run.scores["documents"]),
        machine=str(run.facts.get("processor") or ""),
        cost=cost_of(run, benchmark.constraints).per_document,
        size=run.backend.parameters,
        base=run.backend.is_base_model,
        labels=labels_of(benchmark, run),
        verdict=str(verdict.get("status", "")),
        classical=run.classical_id is not None,
        fine_tuned=run.training_run_id is not None,
    )


def _name(run: EvalRun) -> str:
    """The model's name, with that of the base model that it was trained from."""
    return f"{run.model_label} ({run.training_run.base_model})" if run.training_run is not None else run.model_label


def rows(benchmark: Benchmark, runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """A row for each run in the order they were started: one model in one decoding mode.

    ``done``: whether it was measured; ``fields``: field accuracy with an interval over documents; ``over_limits``: the
    limits it exceeds; ``note``: what it exceeds, but not significantly; ``compare``: number of the run to compare with,
    None for that run itself; ``trained_from``: its base model; ``parameters``: 0 where unknown; ``labels``: labels that
    it learned from or gets as examples, None: unknown; ``verdict``: of ``gate_verdicts``, empty where there is none.
    """
    allowed, best = limits(benchmark), benchmark.result.get("run")
    reference = best if best is not None else next((run.number for run in runs if run.status == Status.DONE), None)
    table = []
    for run in runs:
        done = run.status == Status.DONE
        candidate = _candidate(run, benchmark, {}, {}) if done else None
        table.append(
            {
                "run": run,
                "done": done,
                "kind": run.backend.kind,
                "trained_from": str(run.training_run.base_model) if run.training_run is not None else "",
                "parameters": run.backend.parameters,
                "cost": cost_of(run, benchmark.constraints),
                "fields": field_accuracy(run) if done else {},
                "over_limits": candidate.over_limits(allowed) if candidate else [],
                "note": candidate.over_limit_not_significant(allowed) if candidate else "",
                "compare": reference if done and run.number != reference else None,
                "labels": labels_of(benchmark, run) if done else None,
                "verdict": benchmark.result.get("gates", {}).get(str(run.number), {}),
            }
        )
    return table


def field_accuracy(run: EvalRun) -> dict[str, Any]:
    """Field accuracy of a finished run, with an interval over documents: the fields of one document are
    correlated, so an interval over fields would be too narrow.
    """
    bounds = run.facts.get("bounds")
    if bounds is None:  # measured before they were stored
        scores = EvalOutput.objects.filter(eval_run=run).values_list("document_id", "score")
        bounds = benchmark_bounds(dict(scores), [])
    return {**run.scores["field_exact"], **bounds["field_exact"]}


def matrix(benchmark: Benchmark, runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """Accuracy of each field in each run; ``best`` marks the highest rate of a field where runs differ."""
    compiled = benchmark.dataset.schema_version.compiled
    table = []
    for field in compiled.fields:
        values = [run.scores["per_field"].get(field.pattern) for run in runs]
        if not any(values):
            continue
        rates = [value["rate"] for value in values if value and value["rate"] is not None]
        top = max(rates) if rates and len(set(rates)) > 1 else None
        cells = [{"value": value, "best": top is not None and bool(value) and value["rate"] == top} for value in values]
        table.append({"field": field, "cells": cells})
    return table


def errors(runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """Fields with each error type in each run, the most frequent first."""
    counts = [run.scores.get("errors", {}) for run in runs]
    kinds = sorted(
        {kind for by_kind in counts for kind in by_kind}, key=lambda kind: (-sum(c.get(kind, 0) for c in counts), kind)
    )
    return [
        {
            "kind": kind,
            "words": ERROR_LABELS.get(kind, kind),
            "by_run": [(run, count.get(kind, 0)) for run, count in zip(runs, counts, strict=True)],
        }
        for kind in kinds
    ]


def reported_runs(benchmark: Benchmark, runs: Sequence[EvalRun]) -> list[dict[str, Any]]:
    """The runs of a benchmark, JSON-ready."""
    return [_reported(row) for row in rows(benchmark, runs)]


def _reported(row: dict[str, Any]) -> dict[str, Any]:
    run: EvalRun = row["run"]
    kind = "elsewhere" if run.backend.is_external else row["kind"]
    report: dict[str, Any] = {"run": run.number, "model": run.model_label, "kind": kind, "mode": run.mode}
    if not row["done"]:
        return {**report, "status": run.status, "error": run.error}
    return {
        **report,
        "status": run.status,
        "schema_valid": run.scores["schema_valid"],
        "field_exact": {**row["fields"], "interval": "over documents"},
        "document_exact": run.scores["document_exact"],
        "sroie": run.scores.get("sroie"),
        "per_field": {name: value["rate"] for name, value in run.scores["per_field"].items()},
        "errors": run.scores["errors"],
        "latency_ms": {name: run.latency.get(name) for name in ("p50", "p95", "p99")},
        "docs_per_second": run.facts.get("docs_per_second"),
        "peak_memory_bytes": run.facts.get("peak_memory_bytes"),
        "parameters": row["parameters"] or None,
        "cost_per_1000": row["cost"].per_thousand,
        "cost_from": row["cost"].reason,
        "labels": row["labels"],
        "gates": row["verdict"],
        "beyond_contract": row["over_limits"],
    }


def gate_verdicts(benchmark: Benchmark, done: Iterable[EvalRun]) -> dict[str, dict[str, Any]]:
    """Run number (as text, for JSON) -> ``{"status", "sentences"}``; empty where no gate can be tested.

    ``status``: FAIL where one gate fails, PASS where all pass, else NOT PROVEN. ``sentences``: of the gates that do not
    pass. Gates on slices and comparisons need the hold-out and are left out; limits of resources are shown apart.
    """
    policy = gates_of(current_policy(project=benchmark.project))
    gates = [gate for gate in policy if _is_testable(gate)]
    if not gates:
        return {}
    return {str(run.number): _verdict(GateSet(tuple(gates)), run) for run in done}


def _is_testable(gate: Any) -> bool:
    return METRICS[gate.metric].source is Source.ANSWERS and not gate.slice and not gate.compared_with


def _verdict(policy: GateSet, run: EvalRun) -> dict[str, Any]:
    rows: Any = EvalOutput.objects.filter(eval_run=run).defer("gold", "raw", "error").order_by("document_id")
    outputs = list(rows)
    measured = measure(policy, RunFacts(outputs, outputs, Resources()))
    results = [verdict_for(gate, measured[gate.key]) for gate in policy]
    failed = any(verdict.status is VerdictStatus.FAIL for verdict in results)
    status = VerdictStatus.FAIL if failed else VerdictStatus.PASS if all_passed(results) else VerdictStatus.NOT_PROVEN
    sentences = [
        f"{verdict.gate.title}: {verdict.status}, {without_number(verdict.sentence)}"
        for verdict in results
        if verdict.status is not VerdictStatus.PASS
    ]
    return {"status": str(status), "sentences": sentences}
