"""The error rate that may be read after every judgment: valid under peeking, and narrow enough to be of use."""

import math
import random

import pytest

from serving.confidence.sequence import ErrorRate

ALPHA = 0.05


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
    broken = sum(stopped(rng, 0.02, 0.02, 500, fields=fields) is not None for _ in range(200))
    # 5% of 200 rounds, and twice the error of the simulation.
    assert broken <= 200 * ALPHA + 2 * math.sqrt(200 * ALPHA * (1 - ALPHA))


def test_a_budget_that_is_exceeded_is_found() -> None:
    rng = random.Random(15)
    found = [stopped(rng, 0.06, 0.02, 2_000) for _ in range(30)]
    assert all(found)
    assert sorted(one or 0 for one in found)[15] < 250


@pytest.mark.slow
def test_the_interval_has_the_rate_at_every_look() -> None:
    rng, missed = random.Random(16), 0
    for _ in range(60):
        rate, outside = ErrorRate(largest=4), False
        for number in range(300):
            # On average 0.1 of 2.5 fields.
            counted = rng.randint(1, 4)
            rate.add(1 if rng.random() < 0.1 else 0, counted)
            if number % 25 == 24:
                low, high = rate.interval()
                outside |= not low <= 0.04 <= high
        missed += outside
    assert missed <= 60 * ALPHA + 2 * math.sqrt(60 * ALPHA * (1 - ALPHA))


def test_it_narrows() -> None:
    rate = ErrorRate()
    assert rate.interval() == (0.0, 1.0)
    assert rate.rate is None
    rate.add(0, 1, 980)
    rate.add(1, 1, 20)
    low, high = rate.interval()
    assert rate.rate == 0.02
    assert 0.008 < low < 0.02 < high < 0.04
    assert rate.upper_bound() < high


def test_the_order_does_not_matter_and_large_answers_are_bounded() -> None:
    one, other = ErrorRate(largest=4), ErrorRate(largest=4)
    one.add(1, 3)
    one.add(0, 2, 5)
    other.add(0, 2, 5)
    other.add(1, 3)
    assert one.log_e_above(0.1) == other.log_e_above(0.1)
    one.add(20, 40)
    other.add(2, 4)
    assert one.counts == other.counts
    one.add(0, 0)
    assert one.answers == other.answers


def test_a_rate_below_the_limit_is_shown() -> None:
    rate = ErrorRate()
    rate.add(0, 1, 1_000)
    assert rate.log_e_below(0.01) >= -math.log(ALPHA)
    assert rate.log_e_above(0.01) < 0
