"""The non-inferiority test: its error rate at the margin, by enumeration and by simulation, and its planner."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from bench import gate_simulation
from evaluation.gates.metrics.metric import Measurement, VerdictStatus
from evaluation.gates.policy.definition import Gate
from evaluation.gates.verdicts import verdict_for
from evaluation.stats import alpha_level, by_family, non_inferiority, paired_loss, pairs_needed
from evaluation.stats.sequential import log_e_of_gains


def expected(margin: float, chances: dict[float, float], sizes: tuple[int, ...]) -> float:
    """The exact mean of E over everything that families of these sizes can do; all documents of one do the same."""
    total = 0.0
    names = [number for number, size in enumerate(sizes) for _ in range(size)]
    for drawn in itertools.product(chances, repeat=len(sizes)):
        gains = [gain for gain, size in zip(drawn, sizes, strict=True) for _ in range(size)]
        total += math.prod(chances[gain] for gain in drawn) * math.exp(log_e_of_gains(gains, names, margin))
    return total


@pytest.mark.parametrize("sizes", [(1,) * 7, (1, 3, 2, 5), (4,)])
@pytest.mark.parametrize("churn", [0.0, 0.2])
def test_at_the_margin_the_mean_of_e_is_one(sizes: tuple[int, ...], churn: float) -> None:
    margin = 0.1
    at_margin = {-1.0: margin + churn, 0.0: 1 - margin - 2 * churn, 1.0: churn}
    assert expected(margin, at_margin, sizes) == pytest.approx(1.0, abs=1e-9)
    worse = {-1.0: margin + churn + 0.05, 0.0: 0.95 - margin - 2 * churn, 1.0: churn}
    assert expected(margin, worse, sizes) < 1.0


def shown_at_any_time(gains: "np.ndarray", margin: float, alpha: float) -> bool:
    """Whether E suffices after any of the documents."""
    values = list(gains)
    return any(log_e_of_gains(values[:n], range(n), margin) >= -math.log(alpha) for n in range(10, len(values) + 1, 10))


@pytest.mark.slow
def test_a_candidate_that_is_worse_by_the_margin_is_rarely_certified_however_often_it_is_read() -> None:
    rng = np.random.default_rng(14)
    rounds = 300
    wrong = sum(
        shown_at_any_time(rng.choice([-1.0, 0.0, 1.0], size=200, p=[0.08, 0.89, 0.03]), 0.05, 0.05)
        for _ in range(rounds)
    )
    assert wrong / rounds <= 0.05


def test_47_percent_do_not_match_50_and_neither_does_the_best_of_three() -> None:
    rng = np.random.default_rng(17)
    rounds, usual, certified, best = 300, 0, 0, 0
    for _ in range(rounds):
        wins = rng.random((3, 200)) < 0.47
        usual += bool((wins.sum(axis=1) >= 100).any())
        shown = [
            non_inferiority([0.5] * 200, list(won.astype(float)), margin=0.03, alpha=alpha_level(k)).is_shown
            for k, won in enumerate(wins, start=1)
        ]
        certified += shown[0]
        best += any(shown)
    # "200 comparisons, half of them won or more" takes the best of three for as good every other time.
    assert usual / rounds > 0.4
    assert (certified / rounds <= 0.05, best / rounds <= 0.05) == (True, True)


def test_a_candidate_that_is_as_good_is_certified_at_the_planned_number() -> None:
    needed = pairs_needed(margin=0.05, discordance=0.1)
    assert needed is not None
    rng = np.random.default_rng(3)
    logs = [
        log_e_of_gains(list(rng.choice([-1.0, 0.0, 1.0], size=needed, p=[0.05, 0.9, 0.05])), range(needed), 0.05)
        for _ in range(300)
    ]
    assert 0.72 <= float(np.mean(np.array(logs) >= math.log(20))) <= 0.88


def test_the_plan_grows_with_what_is_asked() -> None:
    plain = pairs_needed(margin=0.05, discordance=0.1) or 0
    assert plain < (pairs_needed(margin=0.03, discordance=0.1) or 0)
    assert plain < (pairs_needed(margin=0.05, discordance=0.2) or 0)
    assert plain < (pairs_needed(margin=0.05, discordance=0.1, alpha=alpha_level(3)) or 0)
    assert pairs_needed(margin=0.001, discordance=0.5) is None


def test_whole_families_count() -> None:
    before, after = [1.0] * 40, [1.0] * 36 + [0.0] * 4
    alone = paired_loss(before, after)
    families = [number // 4 for number in range(40)]
    together = paired_loss(before, after, families=families)
    assert (alone.n, together.n, len(together.families)) == (40, 40, 10)
    assert 10 <= (together.effective_documents or 0) < 40
    assert together.estimate == pytest.approx(alone.estimate) == pytest.approx(0.1)
    assert together.value > alone.value
    by_families = non_inferiority(before, after, margin=0.2, families=families)
    assert (by_families.pairs, by_families.families, by_families.bound.value) == (40, 10, together.value)
    assert by_families.log_e < non_inferiority(before, after, margin=0.2).log_e
    documents = non_inferiority(before, after, margin=0.1)
    each = non_inferiority(before, after, margin=0.1, families=list(range(40)))
    assert documents.log_e == pytest.approx(each.log_e), "families of one document are documents"
    assert documents.difference == pytest.approx(-0.1)
    none = non_inferiority([], [], margin=0.05)
    assert (none.log_e, none.is_shown, none.is_bounded, none.bound.value) == (0.0, False, False, 1.0)


def test_other_values_are_rejected() -> None:
    for before, after, margin in (([1.0], [], 0.1), ([1.5], [1.0], 0.1), ([1.0], [1.0], 0.0), ([1.0], [1.0], 1.0)):
        with pytest.raises(ValueError, match="must"):
            non_inferiority(before, after, margin=margin)


@pytest.mark.parametrize("draw", gate_simulation.DRAWS.values(), ids=lambda draw: draw.__name__)
def test_a_model_worse_by_the_margin_passes_the_gate_at_most_one_time_in_twenty(draw: gate_simulation.Draw) -> None:
    for plan in gate_simulation.FAMILIES[:2]:
        by_documents, by_families = gate_simulation.passing(
            draw, plan, margin=0.1, loss=0.1, gain=0.02, rounds=400, seed=15
        )
        assert by_families <= 0.05
        assert plan.documents == 1 or by_documents > 0.08  # what counting families is for


def test_a_model_that_is_as_good_passes_with_enough_families() -> None:
    draw, plan = gate_simulation.whole_families, gate_simulation.Families(100, 5)
    _, power = gate_simulation.passing(draw, plan, margin=0.1, loss=0.0, gain=0.02, rounds=100, seed=15)
    assert power > 0.8


def test_the_simulation_decides_as_the_gate_does() -> None:
    rng = np.random.default_rng(2)
    gate = Gate("margin", "non_inferiority", ">=", 0.1, compared_with="production")
    for plan in (gate_simulation.Families(60, 1), gate_simulation.Families(60, 5)):
        for _ in range(4):
            losses = gate_simulation.whole_families(rng, plan, 0.01, 0.02)
            of = {at: at // plan.documents for at in range(losses.size)}
            pairs = [(max(0.0, loss), max(0.0, -loss)) for loss in losses.flat]
            families = by_family((of[at], b - a, 1.0) for at, (b, a) in enumerate(pairs)) if plan.documents > 1 else ()
            measured = replace(
                Measurement.paired([b for b, _ in pairs], [a for _, a in pairs], "it"), families=families
            )
            is_passed = verdict_for(gate, measured).status is VerdictStatus.PASS
            assert is_passed == gate_simulation.passes(losses, 0.1)[1]
