"""Whole workflows, not one look: a hold-out that grows five times, ten candidates, every pass a false one.

What is simulated here quickly, ``bench.gate_simulation`` simulates at length; its figures are in docs/evaluation.md.
"""

import numpy as np
import pytest

from bench import gate_workflow as workflow
from bench.gate_workflow import Plan, counted
from evaluation.gates.metrics.metric import Measurement, VerdictStatus
from evaluation.gates.policy.definition import Gate
from evaluation.gates.verdicts import verdict_for
from evaluation.stats import alpha_level, paired_loss

#: twice the error of a share of 5% over so many rounds
ROUNDS = 1500


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_five_extensions_and_ten_candidates_pass_wrongly_at_most_one_time_in_twenty(rho: float) -> None:
    rate = workflow.rates(np.random.default_rng(1), ROUNDS, Plan(), threshold=0.95, rho=rho)

    assert rate <= 0.05


def test_choosing_the_best_of_ten_gains_nothing() -> None:
    """Ten are evaluated and the best is judged: its level is that of its place, so no second counting is needed."""

    def share(level: workflow.Level) -> float:
        rng = np.random.default_rng(2)
        return workflow.best_of(rng, 20_000, documents=300, candidates=10, threshold=0.95, level=level)

    assert share(counted) <= 0.05
    assert share(lambda place: alpha_level(1)) > 0.07  # what counting reports alone would let through


def test_labelling_exactly_what_the_price_says_is_paid_for() -> None:
    rng = np.random.default_rng(3)
    rate = workflow.by_price(rng, 120, first=59, extensions=5, threshold=0.9)

    assert rate <= 0.05 + 2 * (0.05 * 0.95 / 120) ** 0.5


def test_candidates_that_are_worse_by_the_limit_pass_at_most_at_the_level() -> None:
    plan = Plan(first=60, step=60, extensions=2, candidates=4)
    rate = workflow.regressions(np.random.default_rng(4), 250, plan, limit=0.05, churn=0.1)

    assert rate <= 0.05 + 2 * (0.05 * 0.95 / 250) ** 0.5


# -- a team that corrects what it sees -----------------------------------------------------------------------------

TEAMS = 600


def teams(plan: workflow.Correction, level: workflow.Level = counted) -> workflow.Outcome:
    return workflow.simulate(np.random.default_rng(5), TEAMS, plan, level=level)


def test_ten_rounds_of_mending_pass_wrongly_at_most_one_time_in_twenty() -> None:
    for words, plan in workflow.TEAMS:
        if "not possible" not in words:
            assert teams(plan).false <= 0.05, words


def test_mending_what_fails_on_the_hold_out_would_always_pass() -> None:
    """Why lookalikes of the hold-out and its small slices are not offered."""
    for seen in ("holdout", "slices"):
        assert teams(workflow.Correction(seen=seen)).false == 1.0


# -- the simulation decides as the gates do --------------------------------------------------------------------------


def test_a_rate_passes_here_where_the_gate_passes() -> None:
    gate = Gate("valid", "schema_valid_rate", ">=", 0.95)
    for look, n in ((1, 59), (2, 150), (7, 401)):
        needed = workflow.critical(n, 0.95, counted(look))
        for good in {min(n, needed), min(n, max(0, needed - 1))}:
            passes = verdict_for(gate, Measurement.rate(good, n), look).status is VerdictStatus.PASS
            assert passes == (good >= needed)


def test_a_loss_is_bounded_here_as_the_gate_bounds_it() -> None:
    losses = np.random.default_rng(5).choice([0.5, -0.5, 0.0], p=[0.15, 0.1, 0.75], size=(120, 5))
    for level in (0.025, 0.00001):
        bounds = [
            paired_loss(list(0.5 + column / 2), list(0.5 - column / 2), confidence=1 - level).value
            for column in losses.T
        ]
        limit = sorted(bounds)[2] + 1e-6
        assert list(workflow.below(losses, limit, level)) == [bound <= limit for bound in bounds]
