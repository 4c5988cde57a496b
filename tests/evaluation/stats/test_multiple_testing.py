"""Pairs, multiple testing and two proportions: against scipy and statsmodels, and by simulating how often they err."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    tost_proportions_2indep,
)

from evaluation.stats import (
    benjamini_hochberg,
    canary,
    difference_interval,
    holm,
    mcnemar_exact,
)

# -- McNemar and Holm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "broken"), [(0, 1), (9, 2), (15, 15), (0, 6), (40, 3)])
def test_mcnemar_is_a_fair_coin_over_the_changed_documents(fixed: int, broken: int) -> None:
    assert mcnemar_exact(fixed, broken) == pytest.approx(scipy_stats.binomtest(fixed, fixed + broken).pvalue)
    assert mcnemar_exact(fixed, broken) == mcnemar_exact(broken, fixed)


def test_mcnemar_of_no_change_is_one() -> None:
    assert mcnemar_exact(0, 0) == 1.0


def test_mcnemar_cries_wolf_at_most_one_time_in_twenty() -> None:
    changed = 30
    alarms = sum(
        scipy_stats.binom.pmf(fixed, changed, 0.5)
        for fixed in range(changed + 1)
        if mcnemar_exact(fixed, changed - fixed) <= 0.05
    )

    assert 0.01 < alarms <= 0.05


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.5], [0.2, 0.2, 0.001, 0.9, 0.04], [1.0, 0.6]])
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []
    assert benjamini_hochberg([]) == []


@pytest.mark.slow
@settings(max_examples=8, deadline=None)  # few: statsmodels collects all garbage at every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_adjusted_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


def test_the_false_discovery_rate_of_slices_is_bounded() -> None:
    """20 slices, of which four moved: a false alarm among the alarms one time in twenty, on average."""
    rng = np.random.default_rng(9)
    shares, found = [], 0
    for _ in range(1000):
        p_values = np.concatenate((rng.beta(0.1, 8, 4), rng.random(16)))
        alarms = [place for place, p in enumerate(benjamini_hochberg(list(p_values))) if p <= 0.05]
        shares.append(sum(place >= 4 for place in alarms) / max(1, len(alarms)))
        found += sum(place < 4 for place in alarms)

    assert np.mean(shares) <= 0.05
    assert found > 2000  # and more than half of what moved is found


# -- different requests ---------------------------------------------------------------------------------------------

CANARIES = [((95, 100), (190, 200)), ((5, 10), (7, 9)), ((450, 500), (40, 50)), ((1, 30), (0, 40))]


@pytest.mark.parametrize(("a", "b"), CANARIES)
def test_the_difference_of_two_rates_is_that_of_statsmodels(a: tuple[int, int], b: tuple[int, int]) -> None:
    theirs = confint_proportions_2indep(*b, *a, method="newcomb", compare="diff")

    assert difference_interval(*a, *b) == pytest.approx(theirs)
    assert difference_interval(*b, *a) == pytest.approx((-theirs[1], -theirs[0]))


@pytest.mark.parametrize(("a", "b"), CANARIES)
def test_a_canary_is_tested_as_statsmodels_does(a: tuple[int, int], b: tuple[int, int]) -> None:
    found = canary(*a, *b, margin=0.1)
    theirs = tost_proportions_2indep(*b, *a, low=-0.1, upp=0.1, method="score", compare="diff")

    assert found.alike == pytest.approx(float(theirs.pvalue))
    assert found.not_worse == pytest.approx(float(theirs.results_larger.pvalue))
    assert found.not_worse <= found.alike


def test_all_right_on_both_sides_bounds_the_difference() -> None:
    low, high = difference_interval(300, 300, 100, 100)

    assert -0.05 < low < 0 < high < 0.02
    assert canary(300, 300, 100, 100, 0.05).not_worse < 0.05


def test_without_requests_nothing_is_shown() -> None:
    assert difference_interval(0, 0, 5, 5) == (-1.0, 1.0)
    assert canary(5, 5, 0, 0, 0.1).alike == 1.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        canary(1, 2, 1, 2, 0.0)


def test_a_canary_that_is_worse_by_the_margin_is_let_through_at_most_at_the_level() -> None:
    assert _exactly(900, 0.9, 150, 0.85, lambda a, b: canary(*a, *b, 0.05).not_worse <= 0.05) <= 0.06
    assert _exactly(600, 0.98, 150, 0.96, lambda a, b: canary(*a, *b, 0.02).not_worse <= 0.05) <= 0.06


def test_a_canary_that_differs_by_the_margin_is_called_alike_at_most_at_the_level() -> None:
    assert _exactly(900, 0.85, 300, 0.9, lambda a, b: canary(*a, *b, 0.05).alike <= 0.05) <= 0.06


def test_the_interval_of_a_difference_holds_what_is_true() -> None:
    missed = _exactly(
        400, 0.95, 100, 0.92, lambda a, b: not (lambda ends: ends[0] <= -0.03 <= ends[1])(difference_interval(*a, *b))
    )

    assert missed <= 0.06


def _exactly(
    n_a: int, p_a: float, n_b: int, p_b: float, holds: Callable[[tuple[int, int], tuple[int, int]], bool]
) -> float:
    """How likely something is, over what two models are likely to do (a draw of 500)."""
    rng = np.random.default_rng(12)
    draws = zip(rng.binomial(n_a, p_a, 500), rng.binomial(n_b, p_b, 500), strict=True)
    return sum(holds((int(a), n_a), (int(b), n_b)) for a, b in draws) / 500


def test_holm_keeps_the_rate_of_any_false_alarm() -> None:
    rng = np.random.default_rng(5)
    rounds = rng.random((2000, 8))
    adjusted = sum(min(holm(list(p_values))) <= 0.05 for p_values in rounds) / len(rounds)

    assert adjusted <= 0.06
    assert (rounds.min(axis=1) <= 0.05).mean() > 0.3  # what it is for
