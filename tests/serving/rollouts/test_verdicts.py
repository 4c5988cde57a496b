"""Verdicts from counts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from serving.models import RolloutPlan
from serving.rollouts.counts import Counts, Step
from serving.rollouts.verdicts import judge, meaning
from slmstudio.text.formatting import e_value

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def step(share: float = 0.25, stage: str = "canary", /, **counts: int) -> Step:
    return Step(stage, share, 2, 1, NOW, NOW, settled=Counts(**counts))


def canary(share: float, stable: tuple[int, int], candidate: tuple[int, int], **more: int) -> Step:
    return step(
        share, stable_requests=stable[0], stable_failures=stable[1], stable_documents_failed=stable[1],
        candidate_requests=candidate[0], candidate_failures=candidate[1], candidate_documents_failed=candidate[1],
        **more,
    )  # fmt: skip


def shadow(requests: int, candidate: int, stable: int) -> Step:
    return step(
        0, "shadow", stable_requests=requests, candidate_requests=requests, candidate_failures=candidate,
        stable_failures=stable, candidate_documents_failed=candidate, stable_documents_failed=stable,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "plan", "action", "code"),
    [
        ([step()], {}, "wait", "few_requests"),
        ([canary(0.05, (950, 9), (50, 9))], {}, "abort", "fails_more"),
        ([canary(0.05, (950, 9), (50, 1))], {}, "wait", "few_requests"),
        ([canary(0.25, (3_000, 30), (1_000, 10))], {}, "wait", "undecided"),
        ([canary(0.25, (30_000, 300), (10_000, 100))], {}, "promote", "ready"),
        ([canary(0.25, (30_000, 300), (10_000, 100))], {"max_failure_rate": None}, "promote", "ready"),
        ([canary(0.25, (900, 0), (300, 0))], {}, "promote", "ready"),
        ([canary(0.25, (900, 0), (300, 0))], {"max_failure_rate": None}, "wait", "undecided"),
        ([canary(0.5, (500, 40), (500, 40))], {}, "abort", "over_limit"),
        ([canary(0.5, (250, 20), (250, 20))], {"max_failure_rate": None}, "wait", "undecided"),
        ([shadow(800, 24, 5)], {}, "abort", "fails_more"),
        ([shadow(800, 5, 24)], {}, "promote", "ready"),
        ([shadow(100, 0, 0)], {}, "wait", "few_requests"),
        # Evidence adds up over shares, and that of shadow counts for going on.
        ([canary(0.05, (950, 9), (50, 4)), canary(0.1, (900, 9), (100, 7))], {}, "abort", "fails_more"),
        ([shadow(2_000, 2, 2), canary(0.05, (4_000, 4), (210, 0))], {}, "promote", "ready"),
        ([shadow(2_000, 2, 2), canary(0.05, (4_000, 4), (150, 0))], {}, "wait", "few_requests"),
        # Latency is decided in the canary alone.
        ([canary(0.5, (500, 0), (500, 0), candidate_timed=500, candidate_slow=60)], {"p95_ms": 900}, "abort", "slow"),
        ([canary(0.5, (500, 0), (500, 0), candidate_timed=500, candidate_slow=25)], {"p95_ms": 900}, "wait",
         "latency_undecided"),
        ([canary(0.5, (500, 0), (500, 0), candidate_timed=500, candidate_slow=5)], {"p95_ms": 900}, "promote", "ready"),
        ([shadow(800, 0, 0)], {"p95_ms": 900}, "promote", "ready"),
    ],
)  # fmt: skip
def test_verdicts(steps: list[Step], plan: dict[str, Any], action: str, code: str) -> None:
    verdict = judge(steps, RolloutPlan(**plan))
    assert (verdict.action, verdict.code) == (action, code)
    assert verdict.sentence


@pytest.mark.parametrize(("log_e", "shown"), [(0.0, "1"), (3.0, "20"), (-700, "9.9e-305"), (2_000.0, "10^869")])
def test_evidence_is_shown(log_e: float, shown: str) -> None:
    assert e_value(log_e) == shown
    assert all(meaning(question, log_e) for question in ("fails_more", "over_limit", "slow", "ready", "fast"))
