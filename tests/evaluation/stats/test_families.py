"""Bounds over families of documents: exact where they can be, and simulated at the threshold where every pass is false.

``python -m bench.family_simulation`` simulates more plans in more rounds.
"""

import numpy as np
import pytest
from scipy.stats import beta

from bench.family_simulation import PLANS, passes
from evaluation.stats import (
    by_family,
    effective_documents,
    exact_upper,
    family_lower,
    family_p_value,
    family_upper,
    share_loss,
)


def test_families_that_are_right_or_wrong_have_the_exact_bound() -> None:
    for failed, families in ((0, 3), (0, 59), (1, 10), (7, 120), (50, 10_000), (9, 10)):
        counts = [(5.0, 5.0)] * failed + [(0.0, 5.0)] * (families - failed)
        for confidence in (0.9, 0.9999):
            upper, lower = family_upper(counts, confidence), family_lower(counts, confidence)
            assert upper == pytest.approx(exact_upper(failed, families, confidence), rel=1e-7)
            assert lower == pytest.approx(1 - exact_upper(families - failed, families, confidence))


def test_the_weighted_ratio_is_that_of_random_weights() -> None:
    counts = [(2.0, 9.0), (0.0, 4.0), (1.0, 1.0), (-2.0, 6.0), (0.0, 12.0), (3.0, 20.0)]
    sizes = np.array([whole for _, whole in counts])
    unseen = float((sizes**4).sum() / (sizes**3).sum())
    part, whole = np.array([*counts, (unseen, unseen)]).T
    weights = np.random.default_rng(3).exponential(size=(200_000, 7))
    drawn = weights @ part / (weights @ whole)
    for confidence in (0.5, 0.95, 0.99):
        assert family_upper(counts, confidence) == pytest.approx(np.quantile(drawn, confidence), abs=0.004)


def test_the_p_value_is_that_of_the_bound() -> None:
    counts = [(2.0, 9.0), (0.0, 4.0), (1.0, 1.0), (0.0, 12.0)]
    for confidence in (0.9, 0.99):
        assert family_p_value(counts, family_upper(counts, confidence)) == pytest.approx(1 - confidence, rel=1e-5)
    assert (family_p_value(counts, 0.1), family_p_value([], 0.5)) == (1.0, 1.0)


def test_families_without_a_failure_count_as_their_number() -> None:
    upper = family_upper([(0.0, 5.0)] * 12)
    assert effective_documents(0.0, upper, 60) == pytest.approx(12)
    spread = family_upper([(1.0, 5.0)] * 6 + [(0.0, 5.0)] * 6)
    assert 12 < effective_documents(0.1, spread, 60) < 60
    assert effective_documents(0.0, beta.ppf(0.95, 1, 60), 60) == pytest.approx(60)


def test_large_families_and_long_documents_count_as_one() -> None:
    small = [(0.0, 1.0)] * 70
    assert family_upper([*small, (0.0, 30.0)]) > 0.5 > 0.05 > family_upper(small)
    wrong, counted = [0.0] * 100, [8.0] * 97 + [400.0] * 3
    assert share_loss(wrong, [8.0] * 100).value < 0.03 < 0.3 < share_loss(wrong, counted).value
    assert (family_upper([]), family_lower([]), family_upper([(3.0, 3.0)])) == (1.0, 0.0, 1.0)
    assert by_family([("a", 1, 3), ("b", 0, 1), ("a", 2, 4)]) == ((3, 7, 2), (0, 1, 1))


#: with 200 rounds, a rule that passes falsely 5% of the time exceeds this 1% of the time
MOST = 0.09


def test_a_gate_passes_falsely_at_most_one_time_in_twenty() -> None:
    for name in ("100 x 1", "20 x 5", "10 x 10", "60 x 5", "one family of 30%", "beta-binomial, 0.5"):
        rng = np.random.default_rng(15)
        passed = [passes(*PLANS[name](rng, 0.05), 0.05) for _ in range(200)]
        assert np.mean([by_families for _, by_families in passed]) <= MOST, name
        assert all(by_documents for by_documents, by_families in passed if by_families)


def test_enough_families_pass() -> None:
    rng = np.random.default_rng(15)
    assert np.mean([passes(*PLANS["300 x 5"](rng, 0.01), 0.05)[1] for _ in range(100)]) >= 0.95
