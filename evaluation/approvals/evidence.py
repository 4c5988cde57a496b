"""The evidence of a report besides its verdicts: error cost and automation rate."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from django.core.cache import caches

from evaluation.approvals.automation import Automation, Step, automation, document_confidence
from evaluation.approvals.error_cost import Amount, ErrorCostReport, error_costs, mean_cost
from evaluation.gates.facts import constraints_of
from evaluation.gates.holdout import disclosure, membership
from evaluation.gates.holdout.sample_size import required_labels
from evaluation.gates.policy.services import gates_of
from evaluation.inference.prices import cost_of_time
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.scores.score_view import CORRECT_OUTCOMES, ScoreView
from evaluation.stats import ALPHA, alpha_level
from labeling.datasets.families import families_of
from slmstudio.storage import artifacts
from slmstudio.text.formatting import percent

#: share of documents with an error, where the policy has no gate on it
DEFAULT_LIMIT = 0.05
#: documents, where the contract has no volume
DEFAULT_VOLUME = 1_000
_WEEK = 7 * 24 * 3600


def evidence(report: GateReport) -> dict[str, Any]:
    """``money``, ``automation`` and ``missing`` (required labels), for the page of a report."""
    automated = automation_rate(report)
    return {
        "money": money(report, automated),
        "automation": automated,
        "missing": required_labels(report),
    }


def _not_counted(report: GateReport) -> set[int]:
    """Documents that do not count, as in gates: sampled for one slice, or with outputs that were open before."""
    return {*membership.slice_samples(report.project_id), *disclosure.disclosed_documents(report.eval_run)}


# -- error cost -----------------------------------------------------------------------------------------


def money(report: GateReport, automated: Automation | None = None) -> dict[str, Any] | None:
    """The error cost of the model and of the baseline for ``volume`` documents, those of a month or a thousand; None
    where no field of the schema has a cost (``x-slm``).

    ``lines``: ``words``, ``candidate`` and ``baseline``, None where it is unknown. ``left_out``: documents that do not
    count, as in gates.
    """
    run, baseline = report.eval_run, report.baseline
    samples = _not_counted(report)
    costs = _costs(run, baseline, samples)
    if costs is None:
        return None
    constraints = constraints_of(run)
    volume = float(constraints.get("expected_volume") or DEFAULT_VOLUME)
    lines = [_line("errors without review", costs.candidate.times(volume), _times(costs.baseline, volume))]
    lines += _running(run, baseline, constraints, volume)
    lines += _reviewed(run, automated, constraints, volume, samples)
    difference = _times(costs.difference, volume)
    return {
        "currency": str(constraints.get("currency") or ""),
        "volume": volume,
        "monthly": bool(constraints.get("expected_volume")),
        "candidate_name": run.short_name,
        "baseline_name": baseline.short_name if baseline is not None else "",
        "costs": costs,
        "lines": lines,
        "difference": difference,
        "sentence": _sentence(difference),
        "left_out": EvalOutput.objects.filter(eval_run=run, document__in=samples).count() if samples else 0,
    }


def _line(words: str, candidate: Amount, baseline: Amount | None = None) -> dict[str, Any]:
    return {"words": words, "candidate": candidate, "baseline": baseline}


def _sentence(difference: Amount | None) -> str:
    """The meaning of a difference; "" without one."""
    if difference is None:
        return ""
    if difference.high < 0:
        return "Its errors cost less"
    return "Its errors cost more" if difference.low > 0 else "The difference in error cost is not proven"


def _times(amount: Amount | None, factor: float) -> Amount | None:
    return None if amount is None else amount.times(factor)


def prices(run: EvalRun) -> dict[str, float]:
    """The cost of an error in each field, where the schema declares one."""
    fields = run.dataset.schema_version.compiled.fields
    return {field.pattern: float(field.cost) for field in fields if field.cost}


def _costs(run: EvalRun, baseline: EvalRun | None, samples: Collection[int]) -> ErrorCostReport | None:
    """The error cost of finished evaluations, cached: their outputs do not change."""
    priced = prices(run)
    if not priced:
        return None
    key = f"evaluation:costs:families:{run.pk}:{run.dataset.schema_version.sha256}:{baseline.pk if baseline else 0}"
    key += f":{len(samples)}"  # it only ever grows
    costs: ErrorCostReport | None = caches["process"].get(key)
    if costs is None:
        old = _scores(baseline, samples) if baseline else None
        costs = error_costs(priced, _scores(run, samples), old, families=families_of(run.dataset, run.split))
        caches["process"].set(key, costs, _WEEK)
    return costs


def _scores(run: EvalRun, samples: Collection[int]) -> dict[int, Any]:
    """Scores of a sample of all documents: without ``samples``."""
    rows = EvalOutput.objects.filter(eval_run=run).exclude(document__in=samples)
    return dict(rows.values_list("document_id", "score"))


def _running(
    run: EvalRun, baseline: EvalRun | None, constraints: Mapping[str, Any], volume: float
) -> list[dict[str, Any]]:
    """The cost of running the models, where it is known for the model under test."""
    own = running_cost(run, constraints)
    if own is None:
        return []
    other = running_cost(baseline, constraints) if baseline is not None else None
    amounts = [None if cost is None else Amount(cost * volume, cost * volume, cost * volume) for cost in (own, other)]
    assert amounts[0] is not None
    return [_line("inference", amounts[0], amounts[1])]


def running_cost(run: EvalRun, constraints: Mapping[str, Any]) -> float | None:
    """The mean cost of a document: the stored one, or its time on the contract's hardware."""
    stored = run.facts.get("cost_per_document")
    if stored is not None:
        return float(stored)
    price, mean = constraints.get("hardware_price_per_hour"), run.latency.get("mean")
    if run.backend.is_external or not price or not mean:
        return None
    return cost_of_time(float(mean), float(price))


def _reviewed(
    run: EvalRun,
    automated: Automation | None,
    constraints: Mapping[str, Any],
    volume: float,
    samples: Collection[int],
) -> list[dict[str, Any]]:
    """The cost of reviewing everything, and of reviewing all but the most confident documents."""
    review = constraints.get("review_cost")
    if not review:
        return []
    everything = float(review) * volume
    lines = [_line("review of all documents", Amount(everything, everything, everything))]
    best = automated.best if automated is not None else None
    if best is None:
        return lines
    errors = _cost_of_automated(run, best, samples).times(volume * best.share)
    people = everything * (1 - best.share)
    left = Amount(errors.value + people, errors.low + people, errors.high + people)
    return [*lines, _line(f"automation of the most confident {percent(best.share, 0)}, review of the rest", left)]


def _cost_of_automated(run: EvalRun, best: Step, samples: Collection[int]) -> Amount:
    """The error cost of an automated document."""
    priced = prices(run)
    automated = {key for key, confidence, _ in _confidences(run) if confidence >= best.threshold}
    costs, of, highest = [], [], 1e-9
    family = families_of(run.dataset, run.split)
    for key, score in _scores(run, samples).items():
        if key in automated:
            fields = ScoreView.of(score).fields
            wrong = [row for row in fields if row.outcome not in CORRECT_OUTCOMES]
            costs.append(sum(priced.get(row.field, 0.0) for row in wrong))
            of.append(family.get(key, key))
            highest = max(highest, sum(priced.get(row.field, 0.0) for row in fields))
    return mean_cost(costs, highest, families=of)


# -- automation ------------------------------------------------------------------------------------


def automation_rate(report: GateReport) -> Automation:
    """The automation rate under the policy's limit on documents with an error, or under ``DEFAULT_LIMIT``."""
    gates = [gate for gate in gates_of(report.policy) if gate.metric == "document_error_rate" and not gate.slice]
    limit = min((gate.threshold for gate in gates), default=0.0)
    from_policy = 0 < limit < 1
    limit = limit if from_policy else DEFAULT_LIMIT
    samples = _not_counted(report)
    known = [row for row in _confidences(report.eval_run) if row[0] not in samples]
    if not known:
        return Automation(limit, from_policy=from_policy)
    # As in gates, removed documents count as wrong; their confidence is unknown.
    known += [(row.document_id, 1.0, False) for row in membership.removed_documents(report.eval_run)]
    of = families_of(report.eval_run.dataset, report.eval_run.split)
    rows, families = [row[1:] for row in known], [of.get(row[0], row[0]) for row in known]
    automated = automation(rows, limit, confidence=_confidence(report), families=families)
    return replace(automated, from_policy=from_policy)


def _confidence(report: GateReport) -> float:
    """The confidence of this hold-out evaluation, as in gates: the best of ten candidates is biased here too."""
    return 1 - (ALPHA if gates_of(report.policy).single_evaluation else alpha_level(report.holdout_number))


def _confidences(run: EvalRun) -> list[tuple[int, float, bool]]:
    """(document, lowest confidence of its fields, exact match) of every output; [] where the run stored no confidences
    (``EvalSpec.confidence``)."""
    key = f"evaluation:confidences:{run.pk}:{run.outputs_sha256}"
    confidences: list[tuple[int, float, bool]] | None = caches["process"].get(key)
    if confidences is None:
        confidences = _read_confidences(run)
        caches["process"].set(key, confidences, _WEEK)
    return confidences


def _read_confidences(run: EvalRun) -> list[tuple[int, float, bool]]:
    confidences: dict[str, float] = {}
    try:
        with artifacts.local_path(run.outputs_key).open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if row.get("confidence"):
                    confidences[str(row["id"])] = document_confidence(row["confidence"])
    except OSError:
        return []
    if not confidences:
        return []
    rows = EvalOutput.objects.filter(eval_run=run).values_list("document_id", "document__external_id", "valid", "exact")
    # Invalid output is not automated, whatever its confidence.
    return [(pk, confidences.get(name, 0.0) if valid else 0.0, exact) for pk, name, valid, exact in rows]
