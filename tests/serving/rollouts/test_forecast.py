"""Forecasts of stages."""

from datetime import UTC, datetime

import pytest

from serving.deployments.services import STEPS
from serving.models import RolloutPlan
from serving.rollouts.counts import Counts, Step
from serving.rollouts.forecast import forecast

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def current(stage: str = "shadow", share: float = 0.0, **counts: int) -> Step:
    return Step(stage, share, 2, 1, NOW, NOW, settled=Counts(**counts))


def test_every_stage_is_forecast_with_the_evidence_of_those_before() -> None:
    found = forecast([current()], STEPS, RolloutPlan(), rate=0.01, per_hour=500)
    assert [(one.stage, one.share) for one in found] == [
        ("shadow", 0.0), ("canary", 0.05), ("canary", 0.1), ("canary", 0.25), ("canary", 0.5)
    ]  # fmt: skip
    requests = [one.requests or 0 for one in found]
    assert 1_000 < requests[0] < 2_500
    # After shadow, each share only needs its 200 requests of the candidate.
    assert requests[1:] == pytest.approx([4_000, 2_000, 800, 400], rel=0.02)
    assert found[1].hours == pytest.approx(8, rel=0.02)
    assert [one.is_possible for one in found] == [True] * 5
    assert 600 < (found[0].bad_requests or 0) < 1_200


def test_little_traffic_is_not_enough() -> None:
    found = forecast([current("canary", 0.05)], STEPS, RolloutPlan(), rate=0.01, per_hour=5)
    assert [one.is_possible for one in found[:1]] == [False]
    nothing = forecast([current()], STEPS, RolloutPlan(), rate=0.01, per_hour=0)
    assert not any(one.is_possible for one in nothing)
    assert nothing[0].requests


def test_requests_so_far_shorten_the_stage() -> None:
    fresh = forecast([current()], STEPS, RolloutPlan(), rate=0.01, per_hour=500)[0]
    begun = current(stable_requests=1_000, candidate_requests=1_000, candidate_failures=2)
    left = forecast([begun], STEPS, RolloutPlan(), rate=0.01, per_hour=500)[0]
    assert (left.requests or 0) < (fresh.requests or 0)
