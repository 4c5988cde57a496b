"""What pages and programs show of the answer policy: the calibration, the threshold, the budget, and the traffic."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from math import ceil, log, log1p
from typing import Any

from django.db.models import Avg, Count, Q, Sum
from django.utils import timezone

from evaluation.models import EvalOutput, EvalRun
from labeling.models import Project
from serving.confidence.calibration import ALPHA, Threshold, proven, thresholds
from serving.confidence.policy import BudgetStatus, budget_status, calibration_rows, policy_of, records_of
from serving.deployments import queries as deployment_queries
from serving.models import AnswerPolicy, Deployment, PackageCalibration, Release, RequestLog
from serving.monitoring.charts import Chart, chart
from slmstudio.runs.models import Status
from slmstudio.text.formatting import percent

#: days of the figures
DAYS = 30


@dataclass
class PolicyStatus:
    """The policy, the calibration of the release that answers, and what they do."""

    deployment: Deployment
    release: Release | None
    calibration: PackageCalibration | None
    policy: AnswerPolicy
    #: answered requests of callers in the last days
    answers: dict[str, Any]
    budget: BudgetStatus | None

    @property
    def price_of_rest(self) -> float | None:
        """Of one answer that is not automatic: a review by the contract, or a request to the larger model."""
        if self.policy.goes_to_people:
            value = self.deployment.project.contract.constraints.get("review_cost")
            return float(value) if value not in (None, "") else None
        if self.answers["cost"] is not None and self.answers["asked"]:
            return float(self.answers["cost"] / self.answers["asked"])
        run = self.larger_run
        if run is None:
            return None
        return run.backend.price(run.facts, None).of_run(run.facts, run.outputs.count()).per_document

    @cached_property
    def larger_run(self) -> EvalRun | None:
        """The newest evaluation of the larger model on the documents of the calibration."""
        if self.policy.goes_to_people or self.calibration is None or self.release is None:
            return None
        assert self.release.package is not None
        rows = EvalRun.objects.filter(
            endpoint=self.policy.endpoint, dataset=self.release.package.eval_run.dataset_id, status=Status.DONE,
            split=self.calibration.split,
        )  # fmt: skip
        return rows.order_by("-pk").first()

    @cached_property
    def thresholds(self) -> list[Threshold]:
        """What thresholds do, from the strictest on; empty without a calibration."""
        row = self.calibration
        if row is None:
            return []
        exact: Mapping[str, bool] | None = None
        if self.larger_run is not None:
            outputs = EvalOutput.objects.filter(eval_run=self.larger_run)
            exact = dict(outputs.values_list("document__external_id", "exact"))
        return thresholds(
            records_of(row.pk, row.sha256), price=self.price_of_rest, rest_exact=exact,
            rest_is_right=self.policy.goes_to_people,
        )  # fmt: skip

    @property
    def proven(self) -> Threshold | None:
        """The lowest threshold that keeps the error budget on the validation documents, with 95% confidence."""
        return proven(self.thresholds, self.budget.limit) if self.budget is not None else None

    @property
    def in_effect(self) -> Threshold | None:
        """What the threshold of the policy does."""
        minimum = self.policy.min_confidence
        rows = [row for row in self.thresholds if minimum is not None and row.threshold >= minimum]
        return rows[-1] if rows else None

    @property
    def documents_to_prove(self) -> int:
        """Automatic validation documents without an error that prove the budget."""
        return ceil(log(ALPHA) / log1p(-self.budget.limit)) if self.budget is not None else 0

    @property
    def chart(self) -> Chart:
        """Exact documents and automatic answers by the threshold."""
        rows = self.thresholds[::-1]
        names = [percent(row.threshold) for row in rows]
        lines: list[tuple[str, list[float | None]]] = [
            ("exact documents", [row.accuracy for row in rows]), ("automatic answers", [row.share for row in rows]),
        ]  # fmt: skip
        return chart("By threshold", lines, names, percent, top=1.0, last=names[-1] if names else "")


def status_of(project: Project) -> PolicyStatus | None:
    """The status of a project; None where nothing is deployed."""
    deployment = deployment_queries.find(project)
    if deployment is None or not deployment.serving:
        return None
    release = deployment.stable or deployment.candidate
    calibration = calibration_rows([release]).get(release.pk) if release is not None else None
    policy = policy_of(deployment)
    return PolicyStatus(
        deployment, release, calibration, policy, answers_of(deployment), budget_status(deployment, policy)
    )


def answers_of(deployment: Deployment) -> dict[str, Any]:
    """Answered requests of callers in the last days. ``cost``: of the larger model, None where it has no price."""
    since = timezone.now() - timedelta(days=DAYS)
    rows: Any = RequestLog.objects.filter(
        project_id=deployment.project_id, shadow_of=None, created_at__gte=since, day__gte=since.date()
    )
    answered, asked = Q(status=200), ~Q(fallback_reason="")
    counts = rows.aggregate(
        requests=Count("id", filter=answered),
        automatic=Count("id", filter=answered & Q(automatic=True)),
        to_people=Count("id", filter=answered & Q(needs_review=True)),
        asked=Count("id", filter=asked),
        by_fallback=Count("id", filter=answered & Q(source=RequestLog.Source.FALLBACK)),
        fallback_failed=Count("id", filter=asked & ~Q(fallback_code="")),
        cost=Sum("cost", filter=asked),
        fallback_ms=Avg("fallback_ms", filter=asked),
    )
    reasons = rows.filter(asked).values_list("fallback_reason").annotate(number=Count("id")).order_by("-number")
    requests, cost = counts["requests"], counts["cost"]
    per_thousand = 1000 * cost / requests if requests and cost is not None else None
    return {**counts, "cost_per_thousand": per_thousand, "reasons": dict(reasons)}
