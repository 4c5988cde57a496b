"""What a report says beside its verdicts: what errors cost, and how much can go straight through."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache

from evaluation.comparison.coverage import Automation, Step, automation, document_confidence
from evaluation.comparison.error_cost import Amount, ErrorCostReport, error_costs, mean_cost
from evaluation.gates.facts import constraints_of
from evaluation.gates.holdout import membership
from evaluation.gates.holdout.sample_size import missing_labels
from evaluation.gates.policy.services import rules
from evaluation.inference.prices import cost_of_time
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.scores.score_view import CORRECT_OUTCOMES, ScoreView
from evaluation.stats import ALPHA, look_level
from slmstudio.storage import artifacts

#: where the policy has no gate on documents with an error
LIMIT = 0.05
#: where the contract names no volume
THOUSAND = 1_000
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Line:
    """One line of the money view, for so many documents as it is about; ``incumbent`` None where it is not known."""

    words: str
    candidate: Amount
    incumbent: Amount | None = None


@dataclass(frozen=True)
class Money:
    """The money view of a report: amounts for ``volume`` documents (a month's, or a thousand).

    ``left_out``: documents that were drawn for one slice alone, and so are no sample of all.
    """

    currency: str
    volume: float
    monthly: bool
    candidate_name: str
    incumbent_name: str
    costs: ErrorCostReport
    lines: tuple[Line, ...]
    difference: Amount | None
    left_out: int = 0

    @property
    def sentence(self) -> str:
        """What the difference says, in words."""
        if self.difference is None:
            return ""
        if self.difference.high < 0:
            return "Its errors cost less"
        return "Its errors cost more" if self.difference.low > 0 else "Which one's errors cost less is not proven"


@dataclass(frozen=True)
class Through:
    """How much can go straight through. ``known``: whether the evaluation kept how sure the model was."""

    known: bool
    limit: float
    from_policy: bool
    found: Automation | None = None

    @property
    def best(self) -> Step | None:
        """The largest share that holds."""
        return self.found.best if self.found is not None else None


def evidence(report: GateReport) -> dict[str, Any]:
    """``money``, ``automation`` and ``missing``, for the page of a report."""
    through = straight_through(report)
    return {"money": money(report, through), "automation": through, "missing": missing_labels(report)}


# -- money -----------------------------------------------------------------------------------------


def money(report: GateReport, through: Through | None = None) -> Money | None:
    """What the errors of the model and of the one it is held against cost; None where no field of the schema has a cost
    (``x-slm``)."""
    run, baseline = report.eval_run, report.baseline
    drawn = membership.drawn_for_slices(report.project_id)
    costs = _costs(run, baseline, drawn)
    if costs is None:
        return None
    constraints = constraints_of(run)
    volume = float(constraints.get("expected_volume") or THOUSAND)
    lines = [Line("errors, all straight through", costs.candidate.times(volume), _times(costs.incumbent, volume))]
    lines += _running(run, baseline, constraints, volume)
    lines += _reviewed(run, through, constraints, volume, drawn)
    return Money(
        currency=str(constraints.get("currency") or ""),
        volume=volume,
        monthly=bool(constraints.get("expected_volume")),
        candidate_name=run.short_name,
        incumbent_name=baseline.short_name if baseline is not None else "",
        costs=costs,
        lines=tuple(lines),
        difference=_times(costs.difference, volume),
        left_out=EvalOutput.objects.filter(eval_run=run, document__in=drawn).count() if drawn else 0,
    )


def _times(amount: Amount | None, factor: float) -> Amount | None:
    return None if amount is None else amount.times(factor)


def prices(run: EvalRun) -> dict[str, float]:
    """What an error in each field costs, where the schema says so."""
    fields = run.dataset.schema_version.compiled.fields
    return {field.pattern: float(field.cost) for field in fields if field.cost}


def _costs(run: EvalRun, baseline: EvalRun | None, drawn: Collection[int]) -> ErrorCostReport | None:
    """Of two finished evaluations, whose outputs do not change any more: worked out once in a while."""
    priced = prices(run)
    if not priced:
        return None
    key = f"evaluation:costs:{run.pk}:{run.dataset.schema_version.sha256}:{baseline.pk if baseline else 0}"
    key += f":{len(drawn)}"  # it only ever grows
    found: ErrorCostReport | None = cache.get(key)
    if found is None:
        found = error_costs(priced, _scores(run, drawn), _scores(baseline, drawn) if baseline else None)
        cache.set(key, found, _WEEK)
    return found


def _scores(run: EvalRun, drawn: Collection[int]) -> dict[int, Any]:
    """Scores of a sample of all documents: without those that were drawn for one slice."""
    rows = EvalOutput.objects.filter(eval_run=run).exclude(document__in=drawn)
    return dict(rows.values_list("document_id", "score"))


def _running(run: EvalRun, baseline: EvalRun | None, constraints: dict[str, Any], volume: float) -> list[Line]:
    """What it takes to run the models, where that is known of the new one."""
    own = running_cost(run, constraints)
    if own is None:
        return []
    other = running_cost(baseline, constraints) if baseline is not None else None
    amounts = [None if one is None else Amount(one * volume, one * volume, one * volume) for one in (own, other)]
    assert amounts[0] is not None
    return [Line("running the model", amounts[0], amounts[1])]


def running_cost(run: EvalRun, constraints: dict[str, Any]) -> float | None:
    """What one document costs on average: as the run stored it, or the time on the contract's hardware."""
    stored = run.facts.get("cost_per_document")
    if stored is not None:
        return float(stored)
    price, mean = constraints.get("hardware_price_per_hour"), run.latency.get("mean")
    if run.backend.is_external or not price or not mean:
        return None
    return cost_of_time(float(mean), float(price))


def _reviewed(
    run: EvalRun, through: Through | None, constraints: dict[str, Any], volume: float, drawn: Collection[int]
) -> list[Line]:
    """What people cost who read everything, and what is left where the surest documents go straight through."""
    review = constraints.get("review_cost")
    if not review:
        return []
    everything = float(review) * volume
    lines = [Line("people review everything", Amount(everything, everything, everything))]
    best = through.best if through is not None else None
    if best is None:
        return lines
    errors = _cost_of_sure(run, best, drawn).times(volume * best.share)
    people = everything * (1 - best.share)
    left = Amount(errors.value + people, errors.low + people, errors.high + people)
    return [*lines, Line(f"the surest {100 * best.share:.0f} % straight through, people review the rest", left)]


def _cost_of_sure(run: EvalRun, best: Step, drawn: Collection[int]) -> Amount:
    """The cost of errors of a document that goes straight through."""
    priced = prices(run)
    sure = {key for key, confidence, _ in _confidences(run) if confidence >= best.threshold}
    spent, dearest = [], 1e-9
    for key, score in _scores(run, drawn).items():
        if key in sure:
            fields = ScoreView.of(score).fields
            wrong = [row for row in fields if row.outcome not in CORRECT_OUTCOMES]
            spent.append(sum(priced.get(row.field, 0.0) for row in wrong))
            dearest = max(dearest, sum(priced.get(row.field, 0.0) for row in fields))
    return mean_cost(spent, dearest)


# -- automation ------------------------------------------------------------------------------------


def straight_through(report: GateReport) -> Through:
    """The automation rate under the limit on documents with an error that the policy sets, or ``LIMIT``."""
    gates = [gate for gate in rules(report.policy) if gate.metric == "document_error_rate" and not gate.slice]
    limit = min((gate.threshold for gate in gates), default=0.0)
    from_policy = 0 < limit < 1
    limit = limit if from_policy else LIMIT
    drawn = membership.drawn_for_slices(report.project_id)
    rows = [(confidence, exact) for key, confidence, exact in _confidences(report.eval_run) if key not in drawn]
    if not rows:
        return Through(False, limit, from_policy)
    # As in gates: what left the hold-out counts as wrong, and nobody knows how sure of it the model was.
    rows += [(1.0, False)] * len(membership.gone(report.eval_run))
    return Through(True, limit, from_policy, automation(rows, limit, confidence=_confidence(report)))


def _confidence(report: GateReport) -> float:
    """The confidence that this look has left, as gates have it: the best of ten candidates is no better a sign here."""
    return 1 - (ALPHA if rules(report.policy).only_look else look_level(report.look))


def _confidences(run: EvalRun) -> list[tuple[int, float, bool]]:
    """(document, how sure the model was of its least sure field, whether all of it is right) of every output; [] where
    the model's process did not say how sure it was (``EvalSpec.confidence``)."""
    key = f"evaluation:confidences:{run.pk}:{run.outputs_sha256}"
    found: list[tuple[int, float, bool]] | None = cache.get(key)
    if found is None:
        found = _read_confidences(run)
        cache.set(key, found, _WEEK)
    return found


def _read_confidences(run: EvalRun) -> list[tuple[int, float, bool]]:
    told: dict[str, float] = {}
    try:
        with artifacts.local_path(run.outputs_key).open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if row.get("confidence"):
                    told[str(row["id"])] = document_confidence(row["confidence"])
    except OSError:
        return []
    if not told:
        return []
    rows = EvalOutput.objects.filter(eval_run=run).values_list("document_id", "document__external_id", "valid", "exact")
    # What broke the schema is not sent on by itself, however sure the model was.
    return [(pk, told.get(name, 0.0) if valid else 0.0, exact) for pk, name, valid, exact in rows]
