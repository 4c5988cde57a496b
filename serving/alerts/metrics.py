"""The metrics that alerts watch, with their defaults. A new one is an entry of ``METRICS``."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from labeling.models import Project
from serving.deployments.services import is_waiting_for_package
from serving.drift.queries import newest_changes
from serving.models import Deployment, Replica
from serving.traffic.prices import CostOf
from serving.traffic.series import Sums, recent


@dataclass(frozen=True)
class Measured:
    """A value, None where nothing can be concluded; ``requests`` in the window; ``note``: more about it."""

    value: float | None
    requests: int | None = None
    note: str = ""


@dataclass
class Situation:
    """What metrics are measured in; figures of a window are read once."""

    project: Project
    deployment: Deployment
    now: datetime

    def __post_init__(self) -> None:
        self._sums: dict[int, Sums] = {}
        self._cost: CostOf | None = None

    def sums(self, seconds: int) -> Sums:
        """What callers got in the last so many seconds."""
        minutes = max(1, seconds // 60)
        if minutes not in self._sums:
            if self._cost is None:
                self._cost = CostOf.of_project(self.project, {one.pk for one in self.deployment.serving})
            self._sums[minutes] = recent(self.project.pk, minutes, self.now, self._cost)
        return self._sums[minutes]


@dataclass(frozen=True)
class Metric:
    """Something that can exceed a limit.

    ``unit``: percent (values are shares), ms, number or money. ``needs_requests``: concluded from enough requests only.
    """

    key: str
    title: str
    unit: str
    measure: Callable[[Situation, int], Measured]
    limit: float
    window: int = 600
    for_seconds: int = 300
    min_requests: int = 20
    is_lower: bool = False
    needs_requests: bool = True
    enabled: bool = True
    has_limit: bool = True


def _of(value: Callable[[Sums], float | None]) -> Callable[[Situation, int], Measured]:
    def measure(situation: Situation, seconds: int) -> Measured:
        sums = situation.sums(seconds)
        return Measured(value(sums), sums.requests)

    return measure


def _invalid(situation: Situation, seconds: int) -> Measured:
    sums = situation.sums(seconds)
    return Measured(sums.invalid_share, sums.validated)


def _missing_versions(situation: Situation, seconds: int) -> Measured:
    """Versions that should answer and have no replica that does; not those whose package is being built."""
    serving = [one for one in situation.deployment.serving if one.package_id is not None]
    releases = [one for one in serving if not is_waiting_for_package(one)]
    ready = set(Replica.objects.ready().filter(release__in=releases).values_list("release_id", flat=True))
    missing = [one for one in releases if one.pk not in ready]
    return Measured(float(len(missing)), note=", ".join(str(one) for one in missing))


def _drift(situation: Situation, seconds: int) -> Measured:
    """Metrics that the newest daily check found changed."""
    found = newest_changes(situation.project, situation.now)
    return Measured(None) if found is None else Measured(float(found[0]), note=" ".join(found[1]))


METRICS: dict[str, Metric] = {
    one.key: one
    for one in (
        Metric("failures", "Failed requests", "percent", _of(lambda one: one.failure_share), 0.05),
        Metric("invalid", "Invalid outputs", "percent", _invalid, 0.02, window=1_800, for_seconds=600, min_requests=50),
        Metric("p95", "p95 latency", "ms", _of(lambda one: one.time("total", 0.95)), 10_000, for_seconds=600),
        Metric(
            "queue", "p95 time in the queue", "ms", _of(lambda one: one.time("queue", 0.95)), 5_000, for_seconds=600
        ),
        Metric("rejected", "Rejected: queue full", "percent", _of(lambda one: one.rejected_share), 0.01),
        Metric(
            "fallback", "Answered by the fallback", "percent", _of(lambda one: one.fallback_share), 0.3, window=3_600,
            for_seconds=1_800, min_requests=50,
        ),
        Metric(
            "cost", "Cost per 1,000 requests", "money", _of(lambda one: one.cost_per_thousand), 10, window=3_600,
            for_seconds=1_800, min_requests=50, enabled=False,
        ),
        Metric(
            "traffic", "Minimum requests per minute", "number", _of(lambda one: one.per_minute), 0.1, window=3_600,
            for_seconds=600, is_lower=True, needs_requests=False, enabled=False, min_requests=0,
        ),
        Metric(
            "replicas", "Versions not responding", "number", _missing_versions, 0, window=60, for_seconds=120,
            needs_requests=False, min_requests=0,
        ),
        Metric(
            "drift", "Drift", "number", _drift, 0, for_seconds=0, min_requests=0, needs_requests=False, has_limit=False
        ),
    )
}  # fmt: skip
