"""Simulated gate workflows: a growing hold-out, several candidates, counted hold-out evaluations.

Every candidate is exactly at the threshold, so every pass is a false positive. The rules are those of
``evaluation.stats``, vectorized over thousands of workflows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from evaluation.stats import additional_sample_size, alpha_level, family_p_value

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Level = Callable[[int], float]


@dataclass(frozen=True)
class Plan:
    """``candidates`` are evaluated at each of the sizes: the first hold-out and each extension of it."""

    first: int = 100
    step: int = 100
    extensions: int = 5
    candidates: int = 10

    @property
    def sizes(self) -> list[int]:
        """Documents of the hold-out, from the first evaluation to the last extension."""
        return [self.first + self.step * extension for extension in range(self.extensions + 1)]

    @property
    def evaluations(self) -> int:
        """The number of hold-out evaluations."""
        return len(self.sizes) * self.candidates


def counted(look: int) -> float:
    """The level of a hold-out evaluation under alpha spending."""
    return alpha_level(look)


def naive(look: int) -> float:
    """5% for every evaluation, without alpha spending."""
    return 0.05


# -- rates -----------------------------------------------------------------------------------------


@cache
def critical(n: int, threshold: float, level: float) -> int:
    """The minimum successes of ``n`` whose exact lower bound reaches the threshold at this level, else n + 1."""
    good = np.arange(n + 1)
    passing = scipy_stats.binom.sf(good - 1, n, threshold) <= level
    return int(good[passing][0]) if passing.any() else n + 1


def correlated(rng: np.random.Generator, shape: tuple[int, int, int], rate: float, rho: float) -> Bools:
    """Whether each document is right, (rounds, candidates, documents): some are hard for every candidate (``rho``: the
    correlation of the normal variables behind it, 0 for none).
    """
    rounds, candidates, documents = shape
    hard = rng.standard_normal((rounds, 1, documents), dtype=np.float32)
    own = rng.standard_normal((rounds, candidates, documents), dtype=np.float32)
    limit = np.float32(scipy_stats.norm.ppf(rate))
    return np.sqrt(np.float32(rho)) * hard + np.sqrt(np.float32(1 - rho)) * own < limit


def rates(
    rng: np.random.Generator, rounds: int, plan: Plan, *, threshold: float, rho: float = 0.0, level: Level = counted
) -> float:
    """The share of workflows in which any evaluation of any candidate passes a gate on a rate of documents."""
    right = correlated(rng, (rounds, plan.candidates, plan.sizes[-1]), threshold, rho)
    passed = np.zeros(rounds, dtype=bool)
    for look, (size, candidate) in enumerate(_order(plan), 1):
        good = right[:, candidate, :size].sum(axis=1)
        passed |= good >= critical(size, threshold, level(look))
    return float(passed.mean())


def _order(plan: Plan) -> list[tuple[int, int]]:
    return [(size, candidate) for size in plan.sizes for candidate in range(plan.candidates)]


def best_of(
    rng: np.random.Generator, rounds: int, *, documents: int, candidates: int, threshold: float, level: Level
) -> float:
    """Ten candidates are evaluated and the best one is tested, at the level of its number.

    With ``naive``, as if it were the only one.
    """
    good = rng.binomial(documents, threshold, size=(rounds, candidates))
    best = good.argmax(axis=1)
    needed = np.array([critical(documents, threshold, level(place + 1)) for place in range(candidates)])
    return float((good[np.arange(rounds), best] >= needed[best]).mean())


def by_price(
    rng: np.random.Generator, rounds: int, *, first: int, extensions: int, threshold: float, level: Level = counted
) -> float:
    """One candidate whose hold-out grows to the required sample size, as often as it is computed."""
    passed = 0
    for _ in range(rounds):
        good, n = int(rng.binomial(first, threshold)), first
        for look in range(1, extensions + 2):
            if good >= critical(n, threshold, level(look)):
                passed += 1
                break
            if good / n <= threshold + 0.004:
                break  # so near that no price, or one of tens of thousands, is named
            wanted = _price(good, n, threshold, level(look + 1))
            if wanted is None or wanted.more > 20_000:
                break
            good, n = good + int(rng.binomial(wanted.more, threshold)), n + wanted.more
    return passed / rounds


@cache
def _price(good: int, n: int, threshold: float, level: float) -> Any:
    return additional_sample_size(good, n, threshold, level)


# -- bounds of losses ------------------------------------------------------------------------------


def below(losses: Floats, limit: float, level: float) -> Bools:
    """Whether ``paired_loss(...).value`` of each data set is within the limit; ``losses`` is (documents, data sets)."""
    values = np.unique(losses)
    counts = np.stack([(losses == value).sum(axis=0) for value in values])
    rows = zip(*counts.tolist(), strict=True)
    return np.array([_p_value(tuple(values.tolist()), row, limit) <= level for row in rows])


@cache
def _p_value(values: tuple[float, ...], counts: tuple[int, ...], limit: float) -> float:
    rows = [(value, 1.0) for value, count in zip(values, counts, strict=True) for _ in range(count)]
    return family_p_value(rows, limit)


def regressions(
    rng: np.random.Generator,
    rounds: int,
    plan: Plan,
    *,
    limit: float,
    churn: float,
    level: Level = counted,
) -> float:
    """The share of workflows in which any candidate, truly worse by ``limit``, passes a gate on no regression.

    Half the fields of a document are broken or fixed: broken in ``churn + 2 * limit`` of the documents, fixed in
    ``churn``.
    """
    passed = np.zeros(rounds, dtype=bool)
    draw = rng.random((plan.sizes[-1], plan.candidates, rounds), dtype=np.float32)
    lost = churn + 2 * limit
    losses = np.where(draw < lost, 0.5, np.where(draw < lost + churn, -0.5, 0.0))
    for look, (size, candidate) in enumerate(_order(plan), 1):
        passed |= below(losses[:size, candidate], limit, level(look))
    return float(passed.mean())


def field_errors(
    rng: np.random.Generator, rounds: int, plan: Plan, *, rate: float, fields: int = 8, level: Level = counted
) -> float:
    """The share of workflows in which any candidate passes a gate on field errors, with a true rate of ``rate``.

    Half the documents are right or wrong as a whole. With equal numbers of fields the rate is a mean over documents.
    """
    passed = np.zeros(rounds, dtype=bool)
    shape = (plan.sizes[-1], plan.candidates, rounds)
    alike = (rng.random(shape, dtype=np.float32) < rate).astype(np.float32)
    apart = (rng.binomial(fields, rate, shape) / fields).astype(np.float32)
    losses = np.where(rng.random(shape, dtype=np.float32) < 0.5, alike, apart).astype(np.float64)
    for look, (size, candidate) in enumerate(_order(plan), 1):
        passed |= below(losses[:size, candidate], rate, level(look))
    return float(passed.mean())
