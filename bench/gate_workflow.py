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

from evaluation.stats import additional_sample_size, alpha_level
from evaluation.stats.resampling import RESAMPLES, TAIL

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
    """5 % for every evaluation, without alpha spending."""
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


# -- bounds by bootstrap ---------------------------------------------------------------------------


@cache
def _weights(n: int, resamples: int) -> Floats:
    """The weight of each document in each resample, over n."""
    drawn = np.random.default_rng(17).integers(0, n, size=(resamples, n))
    rows = np.zeros((resamples, n), dtype=np.float32)
    np.add.at(rows, (np.arange(resamples)[:, None], drawn), 1.0)
    return rows / n


def upper_losses(losses: Floats, confidence: float, resamples: int = RESAMPLES) -> Floats:
    """``paired_loss(...).value`` of many data sets; ``losses`` is (documents, data sets)."""
    n = len(losses)
    estimate = losses.mean(axis=0)
    resampled = np.sort(_weights(n, resamples) @ losses.astype(np.float32), axis=0)
    end = _bca(losses, estimate, resampled, confidence)
    if (1 - confidence) * resamples < TAIL:
        reach = losses.std(axis=0, ddof=1) / np.sqrt(n) * scipy_stats.t.ppf(confidence, n - 1)
        end = np.maximum(end, estimate + reach)
    same = np.ptp(losses, axis=0) == 0
    spread = np.where(same, 0.0, np.maximum(0.0, end - estimate))
    return np.minimum(1.0, estimate + spread + _margins(losses, confidence))


def _bca(losses: Floats, estimate: Floats, resampled: Floats, confidence: float) -> Floats:
    """Upper BCa bounds (Efron 1987), as in scipy.stats.bootstrap."""
    n, resamples = len(losses), len(resampled)
    below = (resampled < estimate[None, :].astype(np.float32)).sum(axis=0) + (
        resampled <= estimate[None, :].astype(np.float32)
    ).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = scipy_stats.norm.ppf(below / (2 * resamples))
        without = (losses.sum(axis=0) - losses) / (n - 1)
        off = without.mean(axis=0) - without
        acceleration = (off**3).sum(axis=0) / (6 * ((off**2).sum(axis=0)) ** 1.5)
        z = bias + scipy_stats.norm.ppf(confidence)
        place = scipy_stats.norm.cdf(bias + z / (1 - acceleration * z))
    place = np.where(np.isnan(place), confidence, place) * (resamples - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, resamples - 1)
    columns = np.arange(resampled.shape[1])
    found: Floats = resampled[low, columns] + (place - low) * (resampled[high, columns] - resampled[low, columns])
    return found


def _margins(losses: Floats, confidence: float) -> Floats:
    """``LossBound.margin`` of each data set."""
    n = len(losses)
    counts = np.arange(n + 1)
    upper = np.where(counts < n, scipy_stats.beta.ppf(confidence, counts + 1, np.maximum(n - counts, 1e-9)), 1.0)
    unseen = upper - scipy_stats.binom.ppf(confidence, n, counts / n) / n
    losing = (losses > 0).sum(axis=0)
    lost = np.where(losses > 0, losses, 0.0)
    severity, worst = (lost.sum(axis=0) + 1) / (losing + 1), lost.max(axis=0)
    return np.maximum(unseen[losing] * severity, upper[0] * (1 - worst))


def regressions(
    rng: np.random.Generator,
    rounds: int,
    plan: Plan,
    *,
    limit: float,
    churn: float,
    level: Level = counted,
    resamples: int = RESAMPLES,
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
        passed |= upper_losses(losses[:size, candidate], 1 - level(look), resamples) < limit
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
        passed |= upper_losses(losses[:size, candidate], 1 - level(look)) <= rate
    return float(passed.mean())
