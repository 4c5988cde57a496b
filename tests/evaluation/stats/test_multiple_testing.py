"""Pairs, multiple testing and two proportions: against scipy and statsmodels."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    tost_proportions_2indep,
)

from evaluation.stats import (
    benjamini_hochberg,
    best_start_p_value,
    canary,
    difference_interval,
    holm,
    mcnemar_exact,
)

# -- McNemar and Holm -----------------------------------------------------------------------------------------------


def test_mcnemar_is_a_fair_coin_over_the_changed_documents() -> None:
    for fixed, broken in ((0, 1), (9, 2), (15, 15), (0, 6), (40, 3)):
        assert mcnemar_exact(fixed, broken) == pytest.approx(scipy_stats.binomtest(fixed, fixed + broken).pvalue)
        assert mcnemar_exact(fixed, broken) == mcnemar_exact(broken, fixed)
    assert mcnemar_exact(0, 0) == 1.0


def test_the_best_start_counts_how_it_was_chosen() -> None:
    def lowest(improved: tuple[bool, ...]) -> float:
        starts = (improved[:size] for size in range(1, len(improved) + 1))
        return min(scipy_stats.binomtest(sum(start), len(start), alternative="greater").pvalue for start in starts)

    size = 7
    values = {improved: lowest(improved) for improved in itertools.product((False, True), repeat=size)}
    for improved, value in values.items():
        share = sum(other <= value + 1e-9 for other in values.values()) / 2**size
        assert best_start_p_value(improved) == pytest.approx(share)
    assert best_start_p_value(()) == 1.0


def test_the_adjusted_values_are_those_of_statsmodels() -> None:
    assert holm([]) == benjamini_hochberg([]) == []
    drawn = [list(np.random.default_rng(seed).random(seed) ** 3) for seed in (7, 30)]
    for p_values in ([0.01, 0.04, 0.03], [0.5], [0.2, 0.2, 0.001, 0.9, 0.04], [1.0, 0.6], *drawn):
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
        assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


# -- different requests ---------------------------------------------------------------------------------------------

CANARIES = [((95, 100), (190, 200)), ((5, 10), (7, 9)), ((450, 500), (40, 50)), ((1, 30), (0, 40))]


def test_the_difference_of_two_rates_is_that_of_statsmodels() -> None:
    for a, b in CANARIES:
        theirs = confint_proportions_2indep(*b, *a, method="newcomb", compare="diff")
        assert difference_interval(*a, *b) == pytest.approx(theirs)
        assert difference_interval(*b, *a) == pytest.approx((-theirs[1], -theirs[0]))


def test_a_canary_is_tested_as_statsmodels_does() -> None:
    for a, b in CANARIES:
        tested = canary(*a, *b, margin=0.1)
        theirs = tost_proportions_2indep(*b, *a, low=-0.1, upp=0.1, method="score", compare="diff")
        assert tested.alike == pytest.approx(float(theirs.pvalue))
        assert tested.not_worse == pytest.approx(float(theirs.results_larger.pvalue))
        assert tested.not_worse <= tested.alike


def test_all_right_on_both_sides_bounds_the_difference() -> None:
    low, high = difference_interval(300, 300, 100, 100)
    assert -0.05 < low < 0 < high < 0.02
    assert canary(300, 300, 100, 100, 0.05).not_worse < 0.05


def test_without_requests_nothing_is_shown() -> None:
    assert difference_interval(0, 0, 5, 5) == (-1.0, 1.0)
    assert canary(5, 5, 0, 0, 0.1).alike == 1.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        canary(1, 2, 1, 2, 0.0)
