"""What the page of a deployment shows of its rollout."""

from dataclasses import dataclass
from datetime import datetime

from evaluation.stats.sequential import needed
from labeling.models import Project
from serving.deployments import services
from serving.models import Deployment, Rollout, RolloutPlan, Stage, TrafficComparison
from serving.rollouts.counts import Counts, Step
from serving.rollouts.forecast import Forecast, failure_rate, forecast
from serving.rollouts.log_counts import available, requests_per_hour
from serving.rollouts.verdicts import ALPHA, Action, Code, meaning

_QUESTIONS = {
    "fails_more": "It fails more often",
    "over_limit": "It exceeds the failure rate of the plan",
    "slow": "It exceeds the p95 latency of the plan",
    "disagrees": "Its outputs differ from those of the stable version",
    "crashes": "Its replicas crash more often",
    "ready": "It is non-inferior",
    "fast": "It stays within the p95 latency of the plan",
}


@dataclass(frozen=True)
class RolloutStatus:
    """The rollout of a deployment, or its last one."""

    deployment: Deployment
    rollout: Rollout | None
    plan: RolloutPlan
    steps: list[Step]
    #: question, logarithm of the evidence, what it means, whether it decides
    evidence: list[tuple[str, float, str, bool]]
    forecasts: list[Forecast]
    per_hour: float
    replay: TrafficComparison | None = None
    #: stored requests that a replay would send now; None: at least as many as it takes at most
    replayable: int | None = None
    is_split: bool = False
    #: with sticky callers nothing is forecast: callers count, and how they fail is not known
    sticky: bool = False

    @property
    def offers_replay(self) -> bool:
        """Whether logged requests can be answered by the candidate: in shadow, where none are being replayed."""
        live = self.replay is not None and self.replay.is_live
        return self.deployment.stage == Stage.SHADOW and not live and self.replayable != 0

    @property
    def is_too_slow(self) -> bool:
        """Whether shadow takes too long at the current traffic."""
        return bool(self.forecasts) and not self.forecasts[0].is_possible

    @property
    def badge(self) -> tuple[str, str]:
        """The state of its badge, and its label."""
        if self.is_split:
            return "running", "live split"
        if self.rollout is None or not self.rollout.verdict:
            return "queued", "no requests counted yet"
        if self.rollout.outcome:
            return ("failed" if self.rollout.outcome == Rollout.Outcome.ABORTED else "done"), self.rollout.outcome
        if self.rollout.code == Code.ABSENT:
            return "failed", "on hold"
        if self.rollout.verdict == Action.PROMOTE:
            return "done", "ready for the next stage"
        return "running", "waiting for data"

    @property
    def needed(self) -> float:
        """The evidence that decides."""
        return needed(ALPHA)


def status_of(project: Project, now: datetime) -> RolloutStatus | None:
    """The rollout of a project's candidate; None where there is neither a candidate in shadow or canary nor an earlier
    rollout."""
    deployment: Deployment | None = Deployment.objects.with_releases().filter(project=project).first()
    if deployment is None:
        return None
    rollout: Rollout | None = Rollout.objects.filter(deployment=deployment).order_by("-pk").first()
    is_running = deployment.stage in (Stage.SHADOW, Stage.CANARY)
    if is_running and rollout is not None and rollout.ended_at is not None:
        rollout = None  # that of an earlier candidate
    if rollout is None and not is_running:
        return None
    plan = plan_of(deployment)
    steps = [Step.from_json(step) for step in rollout.steps] if rollout is not None else []
    per_hour = requests_per_hour(project.pk, now)
    sticky = deployment.sticky and deployment.stage == Stage.CANARY
    return RolloutStatus(
        deployment=deployment, rollout=rollout, plan=plan, steps=steps, evidence=_lines(rollout),
        forecasts=_forecasts(deployment, steps, plan, per_hour, now) if is_running and not sticky else [],
        per_hour=per_hour, replay=TrafficComparison.objects.newest_replay(deployment), sticky=sticky,
        replayable=available(deployment) if deployment.stage == Stage.SHADOW else 0,
        is_split=is_running and TrafficComparison.objects.splits().filter(project=project).exists(),
    )  # fmt: skip


def plan_of(deployment: Deployment) -> RolloutPlan:
    """The plan of a deployment; the default where none is stored."""
    return RolloutPlan.objects.filter(deployment=deployment).first() or RolloutPlan(deployment=deployment)


def _lines(rollout: Rollout | None) -> list[tuple[str, float, str, bool]]:
    log_e = rollout.log_e if rollout is not None else {}
    return [
        (text, log_e[key], meaning(key, log_e[key]), log_e[key] >= needed(ALPHA))
        for key, text in _QUESTIONS.items()
        if key in log_e
    ]


def _forecasts(
    deployment: Deployment, steps: list[Step], plan: RolloutPlan, per_hour: float, now: datetime
) -> list[Forecast]:
    if not steps:
        assert deployment.candidate_id is not None
        if deployment.stable_id is None:
            return []
        releases = deployment.candidate_id, deployment.stable_id
        steps = [Step(deployment.stage, deployment.share, *releases, began_at=now, settled_until=now)]
    total = sum((step.counts for step in steps), Counts())
    rate = failure_rate(total.stable_failures, total.stable_requests)
    return forecast(steps, services.STEPS, plan, rate=rate, per_hour=per_hour)
