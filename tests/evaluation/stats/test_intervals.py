"""Rates, their price and looks: against scipy and statsmodels, by hand, and by simulating how often they err."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import (
    proportion_confint,
)

from bench.gate_workflow import critical
from evaluation.stats import (
    RequiredSample,
    additional_sample_size,
    alpha_level,
    exact_lower,
    exact_upper,
    sample_size_for,
)
from slmstudio.intervals import wilson

COUNTS = [(0, 10), (10, 10), (1, 7), (198, 200), (299, 299), (37, 150)]


# -- intervals of a rate --------------------------------------------------------------------------------------------


def test_wilson_is_that_of_statsmodels() -> None:
    for k, n in COUNTS:
        assert wilson(k / n, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_exact_bounds_are_those_of_scipys_binomial_test() -> None:
    for (k, n), confidence in itertools.product([*COUNTS, (0, 1), (1, 1), (9_990, 10_000)], (0.95, 0.975, 0.9999)):
        low = scipy_stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact").low
        high = scipy_stats.binomtest(k, n, alternative="less").proportion_ci(confidence, "exact").high
        bounds = exact_lower(k, n, confidence), exact_upper(k, n, confidence)
        assert bounds == pytest.approx((low, high), abs=1e-9)
    assert (exact_lower(0, 0), exact_upper(0, 0)) == (0.0, 1.0)


def test_impossible_counts_are_refused() -> None:
    for call, (k, n) in itertools.product((exact_lower, exact_upper), ((-1, 3), (4, 3))):
        with pytest.raises(ValueError, match="is not a count"):
            call(k, n)


def test_a_model_at_the_threshold_passes_at_most_one_time_in_twenty() -> None:
    for threshold, n in ((0.9, 40), (0.95, 100), (0.99, 299), (0.99, 500)):
        passing = [k for k in range(n + 1) if exact_lower(k, n) >= threshold]
        assert sum(float(scipy_stats.binom.pmf(k, n, threshold)) for k in passing) <= 0.05
    for limit, n in ((0.02, 150), (0.1, 80)):
        passing = [k for k in range(n + 1) if exact_upper(k, n) <= limit]
        assert sum(float(scipy_stats.binom.pmf(k, n, limit)) for k in passing) <= 0.05


def test_the_shown_interval_holds_the_rate_about_nineteen_times_in_twenty() -> None:
    for rate, n in ((0.9, 120), (0.98, 300), (0.5, 40)):
        holding = [k for k in range(n + 1) if wilson(k / n, n)[0] <= rate <= wilson(k / n, n)[1]]
        assert 0.93 <= sum(float(scipy_stats.binom.pmf(k, n, rate)) for k in holding) <= 0.98


# -- the price of proof ---------------------------------------------------------------------------------------------


def test_documents_that_prove_a_rate() -> None:
    for threshold, failures, documents in (
        (0.90, 0, 29), (0.95, 0, 59), (0.99, 0, 299), (0.999, 0, 2995), (0.99, 1, 473), (0.99, 3, 773)
    ):  # fmt: skip
        assert sample_size_for(failures, threshold) == documents
        assert exact_lower(documents - failures, documents) >= threshold
        assert exact_lower(documents - 1 - failures, documents - 1) < threshold


def test_the_required_sample_at_the_current_rate() -> None:
    assert additional_sample_size(198, 200, 0.98) == RequiredSample(186, 1)
    assert additional_sample_size(40, 40, 0.99) == RequiredSample(259, 0)
    assert additional_sample_size(0, 0, 0.99) == RequiredSample(299, 0)
    assert additional_sample_size(299, 299, 0.99) == RequiredSample(0, 0), "what is proven costs nothing"
    assert additional_sample_size(40, 40, 0.99, alpha_level(2)) == RequiredSample(397, 0), "a stricter level costs more"
    for k, n, threshold in ((39, 40, 0.99), (98, 100, 0.98), (40, 40, 1.0), (0, 10, 0.5), (9950, 10000, 0.9949)):
        assert additional_sample_size(k, n, threshold) is None, "nothing proves what is not so"


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 400),
    failed=st.integers(0, 8),
    threshold=st.sampled_from([0.8, 0.9, 0.95, 0.98, 0.99, 0.995]),
    look=st.integers(1, 4),
)
def test_the_required_sample_is_a_proof(n: int, failed: int, threshold: float, look: int) -> None:
    alpha = alpha_level(look)
    failed = min(failed, n)
    price = additional_sample_size(n - failed, n, threshold, alpha)
    if price is None or price.more == 0:
        return
    total, failures = n + price.more, failed + price.allowed_failures

    assert exact_lower(total - failures, total, 1 - alpha) >= threshold
    assert exact_lower(total - failures - 1, total, 1 - alpha) < threshold  # one failure more is one too many
    assert price.allowed_failures >= failed * price.more // n  # what the rate seen so far will bring


# -- looks at one hold-out ------------------------------------------------------------------------------------------


def test_all_hold_out_evaluations_stay_below_alpha() -> None:
    assert [alpha_level(look) for look in (1, 2, 3)] == [0.025, 0.0125, 0.00625]
    assert sum(alpha_level(look) for look in range(1, 50)) <= 0.05
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_level(0)


def _passes_some_look(good: "np.ndarray[Any, Any]", level: Callable[[int], float]) -> float:
    """Models exactly at 95% that are looked at five times, a hundred more documents each time."""
    needed = [critical(100 * look, 0.95, level(look)) for look in range(1, 6)]
    return float((good.cumsum(axis=1) >= needed).any(axis=1).mean())


def test_labelling_more_until_it_passes_is_paid_for_by_the_levels() -> None:
    good = np.random.default_rng(3).binomial(100, 0.95, size=(20_000, 5))

    assert _passes_some_look(good, alpha_level) <= 0.05
    assert _passes_some_look(good, lambda look: 0.05) > 0.08  # what the levels are for
