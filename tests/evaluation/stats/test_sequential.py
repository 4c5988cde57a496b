"""Anytime-valid tests: their values, and their error rates when they are read after every observation."""

import itertools
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import beta

from bench.rollout_simulation import aborted, canary, shadow
from evaluation.stats.sequential import (
    FIRST_CHECKPOINT,
    THETAS,
    CallerCount,
    EProcess,
    ErrorRate,
    FailureRatio,
    PairedFailures,
    RateLimit,
    checkpoint_alpha,
    checkpoint_at,
    latency,
    log_beta_lower,
    log_beta_upper,
    log_e_of_callers,
)

ALPHA = 0.05
ROUNDS = 400
#: the largest number of false decisions in ROUNDS that a rate of ALPHA explains (99.9%)
LIMIT = ALPHA * ROUNDS + 3.1 * math.sqrt(ROUNDS * ALPHA * (1 - ALPHA))


def ratio(k: int, n: int) -> EProcess:
    process = FailureRatio()
    process.add(candidate=k, stable=n - k, share=0.25)
    return process


def mirrored_ratio(k: int, n: int) -> EProcess:
    process = FailureRatio(2.0, mirrored=True)
    process.add(candidate=k, stable=n - k, share=0.25)
    return process


def pairs(k: int, n: int) -> EProcess:
    return PairedFailures(k, n - k)


def test_the_expected_e_value_is_one_under_the_null_hypothesis() -> None:
    """So that, by the inequality of Ville, it errs at most at its level however often it is read."""
    processes: list[tuple[Callable[[int, int], EProcess], float]] = [
        (ratio, 0.25),
        (mirrored_ratio, 2 * 0.25 / (2 * 0.25 + 0.75)),
        (pairs, 0.5),
        *((lambda k, n, p=p, m=m: RateLimit(p, m, k, n), p) for p in (0.02, 0.05, 0.3) for m in (False, True)),
    ]
    n = 30
    for process, chance in processes:
        total = sum(
            math.comb(n, k) * chance**k * (1 - chance) ** (n - k) * math.exp(process(k, n).log_e) for k in range(n + 1)
        )
        assert total == pytest.approx(1)


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
    whole, parts = FailureRatio(), FailureRatio()
    whole.add(candidate=7, stable=20, share=0.1)
    for at in range(27):
        parts.add(candidate=at < 7, stable=at >= 7, share=0.1)
    assert whole.log_e == pytest.approx(parts.log_e), "evidence adds up in any portions"


def test_tails_of_the_beta_distribution() -> None:
    for x, (a, b) in itertools.product((0.001, 0.05, 0.5, 0.97), ((0.5, 0.5), (1, 19), (40, 1_000), (900, 3))):
        for tail, expected in (
            (log_beta_lower(x, a, b), beta.logcdf(x, a, b)),
            (log_beta_upper(x, a, b), beta.logsf(x, a, b)),
        ):
            if math.isfinite(expected):
                assert tail == pytest.approx(expected, rel=1e-6, abs=1e-12)
            else:  # SciPy's underflows
                assert -1e4 < tail < -700


def test_a_million_events_do_not_overflow() -> None:
    ratio, mirror, pairs = FailureRatio(), FailureRatio(1.5, mirrored=True), PairedFailures()
    for process in (ratio, mirror):
        process.add(candidate=600_000, stable=400_000, share=0.5)
    pairs.add(candidate_only=600_000, stable_only=400_000)
    rates = [RateLimit(0.02), RateLimit(0.02, mirrored=True), latency(), latency(mirrored=True)]
    for rate in rates:
        rate.add(hits=30_000, total=1_000_000)
    assert all(math.isfinite(process.log_e) for process in (ratio, mirror, pairs, *rates))
    assert [process.decided(1e-6) for process in (ratio, pairs, *rates)] == [True, True, True, False, False, True]


@pytest.mark.slow
def test_false_aborts_of_a_canary_whose_share_changes() -> None:
    """Read after every failure, the only moments at which it grows; the share changes after every 20th request."""
    rng = np.random.default_rng(1)
    shares = np.array([0.05, 0.10, 0.25, 0.50])[np.arange(200) // 20 % 4]
    false = 0
    for events in rng.random((ROUNDS, 200)) < shares:
        process = FailureRatio()
        for is_candidate, share in zip(events, shares, strict=True):
            process.add(candidate=is_candidate, stable=not is_candidate, share=share)
            if process.decided(ALPHA):
                false += 1
                break
    assert false <= LIMIT


def test_power_agrees_with_the_documentation() -> None:
    """1% against 3%: some 800 requests in shadow, 5,300 at a canary of 5% (docs/rollouts.md)."""
    rng = np.random.default_rng(5)
    assert 600 < np.median([shadow(rng, 0.03) for _ in range(100)]) < 1_000
    assert 4_000 < np.median([canary(0.05)(rng, 0.03) for _ in range(100)]) < 6_500


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_mean_of_e_over_all_assignments_of_callers_is_one(share: float) -> None:
    requests = [(100, 3, 50, 0), (20, 20, 0, 0), (500, 0, 900, 40), (7, 1, 7, 1)]
    total = 0.0
    for assigned in itertools.product((False, True), repeat=len(requests)):
        chance = math.prod(share if is_candidate else 1 - share for is_candidate in assigned)
        callers = [CallerCount(is_candidate, *counts) for is_candidate, counts in zip(assigned, requests, strict=True)]
        total += chance * math.exp(log_e_of_callers(callers, share))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_checkpoints_double_and_their_alphas_sum_to_alpha() -> None:
    assert [checkpoint_at(n) for n in (0, 99, 100, 199, 200, 799, 800)] == [0, 0, 1, 1, 2, 3, 4]
    assert checkpoint_at(FIRST_CHECKPOINT * 2**10) == 11
    assert sum(checkpoint_alpha(number, 0.05) for number in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


def test_twenty_uneven_callers_are_no_reason_to_abort() -> None:
    rng = np.random.default_rng(14)
    by_callers, by_requests = np.array([aborted(rng, 0.25, 1.0) for _ in range(150)]).mean(axis=0)
    # Counted as if requests were independent, an equal candidate is often aborted.
    assert by_callers <= 0.05 < 0.15 < by_requests


@pytest.mark.slow
def test_a_candidate_whose_callers_fail_far_more_is_aborted() -> None:
    rng = np.random.default_rng(15)
    assert np.mean([aborted(rng, 0.5, 10.0, 200)[0] for _ in range(20)]) > 0.5


def stopped(rng: random.Random, true: float, limit: float, answers: int, *, fields: int = 1) -> int | None:
    """Judgments until the rate is shown to be above the limit, read after each; errors of a document come together."""
    rate = ErrorRate(largest=fields)
    for number in range(answers):
        counted = rng.randint(1, fields)
        wrong = sum(rng.random() < 0.5 for _ in range(counted)) if rng.random() < 2 * true else 0
        if fields == 1:
            wrong = int(rng.random() < true)
        rate.add(wrong, counted)
        if rate.log_e_above(limit) >= -math.log(ALPHA):
            return number + 1
    return None


@pytest.mark.slow
@pytest.mark.parametrize("fields", [1, 6])
def test_a_budget_that_is_kept_is_rarely_broken(fields: int) -> None:
    rng = random.Random(14)
    broken = sum(stopped(rng, 0.02, 0.02, 500, fields=fields) is not None for _ in range(80))
    # 5% of 80 rounds, and twice the error of the simulation.
    assert broken <= 80 * ALPHA + 2 * math.sqrt(80 * ALPHA * (1 - ALPHA))


def test_a_budget_that_is_exceeded_is_found() -> None:
    rng = random.Random(15)
    judgments = [stopped(rng, 0.06, 0.02, 2_000) for _ in range(30)]
    assert all(judgments)
    assert sorted(number or 0 for number in judgments)[15] < 250


@pytest.mark.slow
def test_the_interval_has_the_rate_at_every_reading() -> None:
    rng, missed = random.Random(16), 0
    for _ in range(30):
        rate, outside = ErrorRate(largest=4), False
        for number in range(300):
            # On average 0.1 of 2.5 fields.
            counted = rng.randint(1, 4)
            rate.add(1 if rng.random() < 0.1 else 0, counted)
            if number % 25 == 24:
                low, high = rate.interval()
                outside |= not low <= 0.04 <= high
        missed += outside
    assert missed <= 30 * ALPHA + 2 * math.sqrt(30 * ALPHA * (1 - ALPHA))


def test_the_interval_narrows() -> None:
    rate = ErrorRate()
    assert (rate.interval(), rate.rate) == ((0.0, 1.0), None)
    rate.add(0, 1, 980)
    rate.add(1, 1, 20)
    low, high = rate.interval()
    assert rate.rate == 0.02
    assert 0.008 < low < 0.02 < high < 0.04
    assert rate.upper_bound() < high
    low_rate = ErrorRate()
    low_rate.add(0, 1, 1_000)
    assert low_rate.log_e_below(0.01) >= -math.log(ALPHA)
    assert low_rate.log_e_above(0.01) < 0
    large, small = ErrorRate(largest=4), ErrorRate(largest=4)
    large.add(20, 40)
    small.add(2, 4)
    large.add(0, 0)
    assert (large.counts, large.answers) == (small.counts, small.answers), "answers with many fields are bounded"
