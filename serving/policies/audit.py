"""The audit of an error budget: a uniform sample of the automatic answers, and what people judged about it."""

import math
from dataclasses import dataclass, field
from typing import Any

from evaluation.stats.sequential import ErrorRate
from serving.confidence.budget import Budget, largest
from serving.models import AnswerPolicy, Deployment, Judgment, RequestLog
from serving.policies import routing

#: error of the decision that a budget is exceeded, over all looks
ALPHA = 0.05
#: fields of a document that bets allow for where the package has no calibration
_FIELDS = 16


@dataclass(frozen=True)
class Audit:
    """``drawn`` answers since the audit began, and the judged ones as an error rate of the budget's unit.

    ``log_e``: the evidence that the rate is above the budget.
    """

    budget: Budget
    drawn: int = 0
    rate: ErrorRate = field(default_factory=ErrorRate)

    @property
    def judged(self) -> int:
        return self.rate.answers

    @property
    def pending(self) -> int:
        return self.drawn - self.judged

    @property
    def wrong(self) -> int:
        return round(sum(wrong * times for (wrong, _), times in self.rate.counts.items()))

    @property
    def counted(self) -> int:
        return sum(counted * times for (_, counted), times in self.rate.counts.items())

    @property
    def interval(self) -> tuple[float, float]:
        return self.rate.interval(ALPHA)

    @property
    def log_e(self) -> float:
        return self.rate.log_e_above(self.budget.rate) if self.judged else 0.0

    @property
    def is_broken(self) -> bool:
        """Whether the budget is shown to be exceeded."""
        return self.log_e >= -math.log(ALPHA)


def drawn_requests(deployment: Deployment, policy: AnswerPolicy) -> Any:
    """The automatic answers of the small model that were drawn since the audit began."""
    rows = RequestLog.objects.filter(project_id=deployment.project_id, audited=True, automatic=True, status=200)
    rows = rows.exclude(source=RequestLog.Source.FALLBACK)
    if policy.audit_since is not None:
        rows = rows.filter(created_at__gte=policy.audit_since, day__gte=policy.audit_since.date())
    return rows


def audit_of(deployment: Deployment, policy: AnswerPolicy) -> Audit | None:
    """The audit so far; None without a budget."""
    budget = routing.budget_of(policy)
    if budget is None:
        return None
    fields = dict(drawn_requests(deployment, policy).values_list("id", "calibrated"))
    audit = Audit(budget, len(fields), ErrorRate(_largest(deployment, budget)))
    for request, one in judged(deployment, list(fields)).items():
        audit.rate.add(*_errors(one, budget, len(fields[request] or ())))
    return audit


def judged(deployment: Deployment, requests: list[Any]) -> dict[Any, Judgment]:
    """Request -> its most reliable judgment. Those of callers do not count: the sample is uniform only if the person
    who judges did not choose what to judge."""
    best: dict[Any, Judgment] = {}
    rows = Judgment.objects.of(deployment.project).by_people_of_the_project().filter(request_id__in=requests)
    for one in rows.order_by("updated_at"):
        before = best.get(one.request_id)
        if before is None or one.source == Judgment.Source.GOLD or before.source != Judgment.Source.GOLD:
            best[one.request_id] = one
    return best


def _errors(judgment: Judgment, budget: Budget, fields: int) -> tuple[int, int]:
    """Wrong and counted fields, or documents. Where an object was not compared, one field of all is taken as wrong."""
    if budget.unit == "document":
        return int(not judgment.right), 1
    if judgment.counted_fields:
        return judgment.counted_fields - judgment.correct_fields, judgment.counted_fields
    return int(not judgment.right), max(1, fields)


def _largest(deployment: Deployment, budget: Budget) -> int:
    if budget.unit == "document":
        return 1
    known = routing.calibrations_of(deployment.serving)
    return max((largest(routing.records_of(one.pk, one.sha256), "field") for one in known.values()), default=_FIELDS)
