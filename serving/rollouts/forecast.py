"""How long each stage of a rollout takes at the current traffic, if both releases fail equally often. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from serving.rollouts.counts import SHADOW, Counts, Step
from serving.rollouts.verdicts import Action, Plan, judge

#: a stage that takes longer is not for this traffic
MAX_HOURS = 14 * 24.0
#: a bad candidate, for the time until it is stopped: it fails so many times as often
BAD_RATIO = 3.0
#: assumed share of answers over the p95 limit: half of what the limit permits
_SLOW_SHARE = 0.025
_MAX_REQUESTS = 20_000_000
#: what is known about the failure rate before the first request: one failure in a hundred
_PRIOR = (1, 100)


@dataclass(frozen=True)
class Forecast:
    """A stage: requests of all callers, and hours at the current traffic. None: never, or not within reason."""

    stage: str
    share: float
    requests: int | None
    hours: float | None
    #: until a candidate is stopped that fails ``BAD_RATIO`` times as often
    bad_requests: int | None

    @property
    def seconds(self) -> float | None:
        """The time until it is ready."""
        return None if self.hours is None else 3600 * self.hours

    @property
    def is_possible(self) -> bool:
        """Whether the traffic suffices."""
        return self.hours is not None and self.hours <= MAX_HOURS


def failure_rate(failures: int, requests: int) -> float:
    """The estimated failure rate of the stable release; near 1% where little is known."""
    return (failures + _PRIOR[0]) / (requests + _PRIOR[1])


def forecast(
    steps: Sequence[Step], shares: Sequence[float], plan: Plan, *, rate: float, per_hour: float
) -> list[Forecast]:
    """The rest of the current stage and the stages after it, each with the evidence of those before.

    Args:
        steps: what was counted so far; the last one is the current one.
        shares: of the canary, ascending.
        rate: the failure rate of the stable release.
        per_hour: requests of callers.
    """
    if not steps:
        return []
    current, before = steps[-1], list(steps)
    forecasts = []
    for share in [current.share, *(share for share in shares if share > current.share)]:
        stage = current.stage if share == current.share else "canary"
        fresh = replace(current, stage=stage, share=share, settled=Counts(), recent=Counts())
        begun = current.counts if share == current.share else Counts()
        past = before[:-1] if share == current.share else before

        def expected(number: int, fresh: Step = fresh, begun: Counts = begun) -> Step:
            return replace(fresh, settled=begun + _expected(fresh, number, rate, rate, plan))

        def bad(number: int, fresh: Step = fresh) -> Step:
            return replace(fresh, settled=_expected(fresh, number, rate, min(1.0, BAD_RATIO * rate), plan))

        requests = _first(lambda number: judge([*past, expected(number)], plan).action, Action.PROMOTE)  # noqa: B023
        stopped = _first(lambda number: judge([bad(number)], plan).action, Action.ABORT)
        forecasts.append(Forecast(stage, share, requests, _hours(requests, per_hour), stopped))
        before = [*past, expected(requests or 0)]
    return forecasts


def _expected(step: Step, number: int, stable: float, candidate: float, plan: Plan) -> Counts:
    """The expected counts of so many requests of callers."""
    if step.stage == SHADOW:
        asked, others = number, number
        alone = round(number * candidate * (1 - stable)), round(number * stable * (1 - candidate))
    else:
        asked = round(number * step.share)
        others = number - asked
        alone = round(asked * candidate), round(others * stable)
    failed = round(asked * candidate)
    timed = asked - failed if plan.p95_ms is not None else 0
    return Counts(
        stable_requests=others, candidate_requests=asked, stable_failures=round(others * stable),
        candidate_failures=failed, candidate_documents_failed=alone[0], stable_documents_failed=alone[1],
        candidate_timed=timed, candidate_slow=round(timed * _SLOW_SHARE),
    )  # fmt: skip


def _first(action: Callable[[int], Action], wanted: Action) -> int | None:
    """The smallest number of requests after which a verdict is expected."""
    if action(0) == wanted:
        return 0
    low, high = 0, 64
    while action(high) != wanted:
        low, high = high, high * 2
        if high > _MAX_REQUESTS:
            return None
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if action(middle) == wanted else (middle, high)
    return high


def _hours(requests: int | None, per_hour: float) -> float | None:
    if requests is None or (requests and not per_hour):
        return None
    return requests / per_hour if requests else 0.0
