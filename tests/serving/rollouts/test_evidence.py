"""E-processes: their values, and their error rates when they are read after every request."""

import math
from itertools import pairwise

import numpy as np
import pytest

from serving.rollouts.evidence import (
    THETAS,
    FailureRatio,
    PairedFailures,
    RateLimit,
    latency,
    log_beta_lower,
    log_beta_upper,
)

ALPHA = 0.05
ROUNDS = 1_000
#: the largest number of false decisions in ROUNDS that a rate of ALPHA explains (99.9%)
MOST = ALPHA * ROUNDS + 3.1 * math.sqrt(ROUNDS * ALPHA * (1 - ALPHA))


def test_the_ratio_follows_its_formula() -> None:
    process = FailureRatio(margin=2)
    events = [(True, 0.05), (False, 0.05), (True, 0.25), (True, 0.25)]
    products = []
    for theta in THETAS:
        product = 1.0
        for is_candidate, w in events:
            p, q = (w * r / (w * r + 1 - w) for r in (2.0, 2.0 * theta))
            product *= q / p if is_candidate else (1 - q) / (1 - p)
        products.append(product)
    for is_candidate, w in events:
        process.add(candidate=is_candidate, stable=not is_candidate, share=w)
    assert math.exp(process.log_e) == pytest.approx(sum(products) / len(products))


def test_the_expected_e_value_is_one_at_the_margin() -> None:
    w, n = 0.25, 12
    p = w / (w + 1 - w)
    total = 0.0
    for k in range(n + 1):
        process = FailureRatio()
        process.add(candidate=k, stable=n - k, share=w)
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k) * math.exp(process.log_e)
    assert total == pytest.approx(1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("limit", [0.02, 0.05, 0.3])
def test_a_rate_is_worth_one_at_its_limit(limit: float, mirrored: bool) -> None:
    n = 40
    total = 0.0
    for k in range(n + 1):
        process = RateLimit(limit, mirrored)
        process.add(hits=k, total=n)
        total += math.comb(n, k) * limit**k * (1 - limit) ** (n - k) * math.exp(process.log_e)
    assert total == pytest.approx(1)


def test_pairs_are_worth_one_under_the_null_hypothesis() -> None:
    n = 30
    total = 0.0
    for b in range(n + 1):
        process = PairedFailures()
        process.add(candidate_only=b, stable_only=n - b)
        total += math.comb(n, b) / 2**n * math.exp(process.log_e)
    assert total == pytest.approx(1)


@pytest.mark.parametrize("x", [0.001, 0.05, 0.5, 0.97])
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 19), (40, 1_000), (900, 3)])
def test_tails_of_the_beta_distribution(x: float, a: float, b: float) -> None:
    from scipy import stats

    for found, expected in (
        (log_beta_lower(x, a, b), stats.beta.logcdf(x, a, b)),
        (log_beta_upper(x, a, b), stats.beta.logsf(x, a, b)),
    ):
        if math.isfinite(expected):
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
        else:  # SciPy's underflows
            assert -1e4 < found < -700


def test_a_million_events_do_not_overflow() -> None:
    ratio, mirror, pairs = FailureRatio(), FailureRatio(1.5, mirrored=True), PairedFailures()
    for process in (ratio, mirror):
        process.add(candidate=600_000, stable=400_000, share=0.5)
    pairs.add(candidate_only=600_000, stable_only=400_000)
    rates = [RateLimit(0.02), RateLimit(0.02, mirrored=True), latency(), latency(mirrored=True)]
    for rate in rates:
        rate.add(hits=30_000, total=1_000_000)
    found = [process.log_e for process in (ratio, mirror, pairs, *rates)]
    assert all(math.isfinite(value) for value in found)
    assert [process.decided(1e-6) for process in (ratio, pairs, *rates)] == [True, True, True, False, False, True]


def test_evidence_adds_up_in_any_portions() -> None:
    one, many = FailureRatio(), FailureRatio()
    one.add(candidate=7, stable=20, share=0.1)
    for at in range(27):
        many.add(candidate=at < 7, stable=at >= 7, share=0.1)
    assert one.log_e == pytest.approx(many.log_e)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.8, 1.0])
def test_false_aborts_of_a_canary_whose_share_changes(ratio: float) -> None:
    """Read after every failure, the only moments at which it grows; the share changes after every 20th request."""
    rng = np.random.default_rng(1)
    shares = np.array([0.05, 0.10, 0.25, 0.50])[np.arange(200) // 20 % 4]
    chances = shares * ratio / (shares * ratio + 1 - shares)
    false = 0
    for events in rng.random((ROUNDS, 200)) < chances:
        process = FailureRatio()
        for is_candidate, share in zip(events, shares, strict=True):
            process.add(candidate=is_candidate, stable=not is_candidate, share=share)
            if process.decided(ALPHA):
                false += 1
                break
    assert false <= (MOST if ratio == 1 else ALPHA * ROUNDS)


@pytest.mark.slow
def test_a_candidate_at_the_margin_is_rarely_called_non_inferior() -> None:
    rng = np.random.default_rng(2)
    false = 0
    for events in rng.random((ROUNDS, 200)) < 2 * 0.25 / (2 * 0.25 + 0.75):
        process = FailureRatio(2.0, mirrored=True)
        for is_candidate in events:
            process.add(candidate=is_candidate, stable=not is_candidate, share=0.25)
            if process.decided(ALPHA):
                false += 1
                break
    assert false <= MOST


@pytest.mark.parametrize("chance", [0.4, 0.5])
def test_false_aborts_in_shadow(chance: float) -> None:
    rng = np.random.default_rng(3)
    false = 0
    for events in rng.random((ROUNDS, 300)) < chance:
        process = PairedFailures()
        for is_candidate in events:
            process.add(candidate_only=is_candidate, stable_only=not is_candidate)
            if process.worse and process.decided(ALPHA):
                false += 1
                break
    assert false <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True])
def test_false_alarms_of_a_rate_at_its_limit(mirrored: bool) -> None:
    """The mirror grows between hits, so it is read just before each one and at the end."""
    rng = np.random.default_rng(4)
    false = 0
    for row in rng.random((ROUNDS // 4, 3_000)) < 0.05:
        process = latency(mirrored=mirrored)
        for begin, end in pairwise([0, *np.flatnonzero(row), len(row)]):
            process.add(hits=0, total=end - begin - bool(begin))
            if mirrored and process.decided(ALPHA):
                false += 1
                break
            if end < len(row):
                process.add(hits=1, total=1)
            if not mirrored and process.decided(ALPHA):
                false += 1
                break
    assert false <= 23  # 250 rounds: 12.5 and 3.1 standard deviations


def test_power_agrees_with_the_documentation() -> None:
    """1% against 3%: some 800 requests in shadow, 5,300 at a canary of 5% (docs/rollouts.md)."""
    from bench.rollout_simulation import canary, shadow

    rng = np.random.default_rng(5)
    assert 600 < np.median([shadow(rng, 0.03) for _ in range(100)]) < 1_000
    assert 4_000 < np.median([canary(0.05)(rng, 0.03) for _ in range(100)]) < 6_500
