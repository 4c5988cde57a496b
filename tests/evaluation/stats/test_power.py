"""The chance of a planned sample: by hand, and by simulation."""

import math

import numpy as np
import pytest

from evaluation.stats import (
    additional_sample_size,
    documents_with_power,
    estimated_outlook,
    exact_lower,
    outlook,
    pass_chance,
)


def test_the_smallest_sample_passes_rarely() -> None:
    planned = outlook(0, 0, 299, 0.99, 0.05)
    assert planned.rate == 0.995
    assert planned.chance == pytest.approx(0.995**299)
    assert planned.enough == 1941


def test_with_failures_the_rate_is_the_observed_one() -> None:
    needed = additional_sample_size(97, 100, 0.95, 0.025)
    assert needed is not None
    planned = outlook(97, 100, needed.more, 0.95, 0.025)
    assert planned.rate == 0.97
    assert 0.3 < planned.chance < 0.9


@pytest.mark.parametrize("more", [50, 300, 900])
def test_the_chance_is_how_often_the_bound_clears(more: int) -> None:
    rng = np.random.default_rng(3)
    good = 58 + rng.binomial(more, 0.98, 1500)
    passed = np.mean([exact_lower(int(k), 60 + more, 0.975) >= 0.95 for k in good])
    chance = pass_chance(58, 60, more, 0.95, 0.025, 0.98)
    assert passed == pytest.approx(chance, abs=2.6 * math.sqrt(max(chance * (1 - chance), 1e-4) / 1500))


def test_enough_documents_have_the_power_and_fewer_have_not() -> None:
    enough = documents_with_power(58, 60, 0.95, 0.025, 0.98)
    assert enough is not None
    assert pass_chance(58, 60, enough, 0.95, 0.025, 0.98) >= 0.8
    assert max(pass_chance(58, 60, more, 0.95, 0.025, 0.98) for more in range(0, enough, 7)) < 0.8


def test_no_number_proves_what_is_not_true() -> None:
    assert documents_with_power(90, 100, 0.95, 0.05, 0.9) is None
    assert pass_chance(90, 100, 100, 0.95, 0.05, 0.9) < 0.01


def test_an_estimated_sample_passes_every_other_time() -> None:
    planned = estimated_outlook(100, 60, 0.0125)
    assert (planned.rate, planned.chance) == (None, 0.5)
    assert planned.enough == math.ceil(160 * ((2.2414 + 0.8416) / 2.2414) ** 2) - 100
