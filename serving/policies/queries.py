"""What the page of confidence shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db.models import Avg, Count, Q, Sum
from django.utils import timezone
from django.utils.safestring import SafeString

from evaluation.models import EvalOutput, EvalRun
from labeling.models import Project
from serving.confidence.budget import Budget, LimitPoint, WhatIf, choose, documents_to_prove, what_if
from serving.deployments import queries as deployment_queries
from serving.models import AnswerPolicy, Deployment, PackageCalibration, Release, RequestLog
from serving.policies import charts, routing
from serving.policies.audit import Audit, audit_of
from serving.policies.services import policy_of
from slmstudio.runs.models import Status

#: days of the figures
DAYS = 30
#: rows of the what-if table
_ROWS = 8


@dataclass(frozen=True)
class Traffic:
    """Answered requests of callers in the last days. ``cost``: of the larger model, None where it has no price."""

    requests: int = 0
    automatic: int = 0
    to_people: int = 0
    asked: int = 0
    by_fallback: int = 0
    fallback_failed: int = 0
    cost: float | None = None
    fallback_ms: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def cost_per_thousand(self) -> float | None:
        """The cost of the larger model by a thousand requests."""
        return None if self.cost is None or not self.requests else 1000 * self.cost / self.requests

    @property
    def cost_per_answer(self) -> float | None:
        """The cost of one request to the larger model."""
        return None if self.cost is None or not self.asked else self.cost / self.asked


@dataclass
class ConfidenceStatus:
    """The calibration of the release that answers, the policy, and what it does."""

    deployment: Deployment
    release: Release | None
    calibration: PackageCalibration | None
    policy: AnswerPolicy
    traffic: Traffic
    audit: Audit | None

    @cached_property
    def budget(self) -> Budget | None:
        return routing.budget_of(self.policy)

    @cached_property
    def points(self) -> tuple[LimitPoint, ...]:
        """What each limit achieves, in the unit of the budget."""
        row = self.calibration
        return () if row is None else routing.limit_points(row.pk, row.sha256, str(self.policy.budget_unit))

    @cached_property
    def chosen(self) -> LimitPoint | None:
        """The limit of the budget."""
        return None if self.budget is None else choose(self.points, self.budget)

    @property
    def needed(self) -> int:
        """Automatic documents without an error that prove the budget."""
        return documents_to_prove(self.budget) if self.budget is not None else 0

    @property
    def currency(self) -> str:
        return self.deployment.project.currency

    @property
    def review_cost(self) -> float | None:
        """Of one document, by the contract."""
        value = self.deployment.project.contract.constraints.get("review_cost")
        return float(value) if value not in (None, "") else None

    @property
    def price_of_rest(self) -> float | None:
        """Of one answer that is not automatic."""
        if self.goes_to_people:
            return self.review_cost
        return self.traffic.cost_per_answer or self._evaluated_cost

    @property
    def goes_to_people(self) -> bool:
        """Whether answers that are not good enough go to people."""
        return self.policy.endpoint is None or (
            self.policy.budget_wrong is not None and self.policy.rest == AnswerPolicy.Rest.PEOPLE
        )

    @cached_property
    def price(self) -> float | None:
        """Of the rest, by a thousand documents, at the limit of the budget."""
        if self.price_of_rest is None:
            return None
        return 1000 * (1 - (self.chosen.share if self.chosen else 0.0)) * self.price_of_rest

    @cached_property
    def fallback_run(self) -> EvalRun | None:
        """The newest evaluation of the larger model on the documents of the calibration."""
        if self.policy.endpoint is None or self.calibration is None or self.release is None:
            return None
        assert self.release.package is not None
        rows = EvalRun.objects.filter(
            endpoint=self.policy.endpoint, dataset=self.release.package.eval_run.dataset_id, status=Status.DONE,
            split=self.calibration.split,
        )  # fmt: skip
        found: EvalRun | None = rows.order_by("-pk").first()
        return found

    @property
    def _evaluated_cost(self) -> float | None:
        run = self.fallback_run
        if run is None:
            return None
        count = EvalOutput.objects.filter(eval_run=run).count()
        return run.backend.price(run.facts, None).of_run(run.facts, count).per_document

    @cached_property
    def curve(self) -> list[WhatIf]:
        """The what-if curve."""
        row = self.calibration
        if row is None:
            return []
        exact: Mapping[str, bool] | None = None
        if not self.goes_to_people and self.fallback_run is not None:
            outputs = EvalOutput.objects.filter(eval_run=self.fallback_run)
            exact = dict(outputs.values_list("document__external_id", "exact"))
        return what_if(
            routing.records_of(row.pk, row.sha256), price=self.price_of_rest, rest_exact=exact,
            rest_is_right=self.goes_to_people,
        )  # fmt: skip

    @property
    def curve_rows(self) -> list[WhatIf]:
        """Some of its points, for a table."""
        step = max(1, -(-len(self.curve) // _ROWS))
        return self.curve[::-1][::step][::-1] if self.curve else []

    @property
    def limit(self) -> float | None:
        """The limit in effect: of the budget, or the minimum confidence."""
        if self.chosen is not None:
            return self.chosen.limit
        return self.policy.min_confidence

    @property
    def reliability_chart(self) -> SafeString:
        return charts.reliability(self.calibration.summary["reliability"]) if self.calibration else SafeString("")

    @property
    def risk_chart(self) -> SafeString:
        return charts.risk_coverage(self.points, self.chosen, self.budget.rate if self.budget else None)

    @property
    def what_if_chart(self) -> SafeString:
        return charts.what_if(self.curve, self.limit)


def status_of(project: Project) -> ConfidenceStatus | None:
    """The status of a project; None where nothing is deployed."""
    deployment = deployment_queries.find(project)
    if deployment is None or not deployment.serving:
        return None
    release = deployment.stable or deployment.candidate
    calibration = None
    if release is not None:
        known = routing.calibrations_of([release]).get(release.pk)
        if known is not None:
            calibration = PackageCalibration.objects.defer("records", "fits").get(pk=known.pk)
    policy = policy_of(deployment)
    return ConfidenceStatus(
        deployment, release, calibration, policy, traffic_of(deployment), audit_of(deployment, policy)
    )


def traffic_of(deployment: Deployment) -> Traffic:
    """The figures of the last days."""
    since = timezone.now() - timedelta(days=DAYS)
    rows: Any = RequestLog.objects.filter(
        project_id=deployment.project_id, shadow_of=None, created_at__gte=since, day__gte=since.date()
    )
    asked = ~Q(fallback_reason="")
    counts = rows.aggregate(
        requests=Count("id", filter=Q(status=200)),
        automatic=Count("id", filter=Q(status=200, automatic=True)),
        to_people=Count("id", filter=Q(status=200, needs_review=True)),
        asked=Count("id", filter=asked),
        by_fallback=Count("id", filter=Q(status=200, source=RequestLog.Source.FALLBACK)),
        fallback_failed=Count("id", filter=asked & ~Q(fallback_code="")),
        cost=Sum("cost", filter=asked),
        fallback_ms=Avg("fallback_ms", filter=asked),
    )
    reasons = rows.filter(asked).values("fallback_reason").annotate(number=Count("id")).order_by("-number")
    return Traffic(**counts, reasons={row["fallback_reason"]: row["number"] for row in reasons})
