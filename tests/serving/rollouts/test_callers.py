"""Sticky callers: chance assigned callers, so callers count."""

import itertools
import math

import numpy as np
import pytest

from bench.sticky_simulation import aborted
from serving.rollouts.callers import FIRST_LOOK, CallerCount, alpha_of, log_e, look_of


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_mean_of_e_over_all_assignments_is_one(share: float) -> None:
    requests = [(100, 3, 50, 0), (20, 20, 0, 0), (500, 0, 900, 40), (7, 1, 7, 1)]
    total = 0.0
    for assigned in itertools.product((False, True), repeat=len(requests)):
        chance = math.prod(share if one else 1 - share for one in assigned)
        callers = [CallerCount(one, *counts) for one, counts in zip(assigned, requests, strict=True)]
        total += chance * math.exp(log_e(callers, share))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_looks_double_and_their_alphas_sum_to_alpha() -> None:
    assert [look_of(n) for n in (0, 99, 100, 199, 200, 799, 800)] == [0, 0, 1, 1, 2, 3, 4]
    assert look_of(FIRST_LOOK * 2**10) == 11
    assert sum(alpha_of(look, 0.05) for look in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


def test_twenty_uneven_callers_are_no_reason_to_abort() -> None:
    rng = np.random.default_rng(14)
    found = np.array([aborted(rng, 0.25, 1.0) for _ in range(150)]).mean(axis=0)
    assert found[0] <= 0.05
    # Counted as if requests were independent, an equal candidate is often aborted.
    assert found[1] > 0.15


@pytest.mark.slow
def test_a_candidate_that_fails_far_more_is_aborted() -> None:
    rng = np.random.default_rng(15)
    found = np.array([aborted(rng, 0.5, 10.0, 200) for _ in range(40)]).mean(axis=0)
    assert found[0] > 0.5
