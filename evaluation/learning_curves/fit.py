"""Fits a learning curve and predicts the accuracy with more labels. Pure.

The accuracy is a scaled logistic function of the logarithm of the labels, ``top / (1 + exp(-(a + b * ln n)))``: the
Morgan-Mercer-Flodin curve, one of the best of those that Viering and Loog compare (2023, arXiv:2103.10948). A power law
of the error misses the steep start of tasks with many classes (docs/benchmarks.md). It is fitted by weighted
least squares of the logits, for a grid of tops. The band comes from a parametric bootstrap: every measurement is drawn
again with the variance of its documents and the spread between subsets of its size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
#: accuracies with unlimited labels that are tried, the highest first
_TOPS = np.linspace(1.0, 0.3, 71)
#: keeps logits finite
_EDGE = 1e-3
_DRAWS = 400
#: different sizes that a fit needs
MIN_SIZES = 3


@dataclass(frozen=True, slots=True)
class Measurement:
    """The accuracy of one model: ``labels`` it was trained on, ``right`` of ``scored`` values."""

    labels: int
    right: int
    scored: int

    @property
    def error(self) -> float:
        """The share of wrong values."""
        return 1 - self.right / self.scored


@dataclass(frozen=True, slots=True)
class Law:
    """``accuracy(n) = top / (1 + exp(-(intercept + slope * ln n)))``, from 0 to 1."""

    top: float
    intercept: float
    slope: float

    def accuracy(self, labels: float) -> float:
        """The accuracy with this number of labels."""
        return self.top / (1 + math.exp(-(self.intercept + self.slope * math.log(labels))))


@dataclass(frozen=True)
class FittedCurve:
    """The fitted law, and laws fitted to redrawn measurements: a row with top, intercept and slope for each."""

    law: Law
    draws: Numbers

    def band(self, labels: float, level: float = 0.9) -> tuple[float, float]:
        """The interval of the accuracy with this number of labels."""
        low, high = np.quantile(self._drawn(labels), [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def gain(self, labels: int, more: int, level: float = 0.9) -> tuple[float, float, float]:
        """What ``more`` labels add to the accuracy, with its interval."""
        gains = self._drawn(labels + more) - self._drawn(labels)
        low, high = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
        return self.law.accuracy(labels + more) - self.law.accuracy(labels), float(low), float(high)

    def _drawn(self, labels: float) -> Numbers:
        top, intercept, slope = self.draws.T
        accuracies: Numbers = top / (1 + np.exp(-(intercept + slope * math.log(labels))))
        return accuracies


def fit(measurements: Sequence[Measurement], *, seed: int = 17) -> FittedCurve | None:
    """The curve through measurements; None with fewer than ``MIN_SIZES`` sizes."""
    rows = [row for row in measurements if row.scored]
    if len({row.labels for row in rows}) < MIN_SIZES:
        return None
    labels = np.asarray([row.labels for row in rows], dtype=float)
    accuracy = np.asarray([1 - row.error for row in rows])
    # Of a rate with half a success added, so that a perfect score has a weight.
    smooth = np.asarray([(row.right + 0.5) / (row.scored + 1) for row in rows])
    variance = smooth * (1 - smooth) / np.asarray([row.scored for row in rows], dtype=float)
    weights = 1 / (variance + _between(labels, accuracy))
    law = Law(*_laws(labels, accuracy[None], weights)[0].tolist())
    fitted = np.asarray([law.accuracy(count) for count in labels])
    noise = np.random.default_rng(seed).normal(size=(_DRAWS, len(rows))) / np.sqrt(weights)
    return FittedCurve(law, _laws(labels, np.clip(fitted + noise, 0, 1), weights))


def _between(labels: Numbers, accuracy: Numbers) -> Numbers:
    """The variance between runs of the same size (seeds, subsets), for each measurement. A size with one run has that
    of the largest size with several.
    """
    variance = np.zeros(len(labels))
    last = 0.0
    for size in np.unique(labels):
        own = accuracy[labels == size]
        last = float(own.var(ddof=1)) if len(own) > 1 else last
        variance[labels == size] = last
    return variance


def _laws(labels: Numbers, accuracy: Numbers, weights: Numbers) -> Numbers:
    """The best law for each row of measurements by weighted least squares: top, intercept and slope. Of equally good
    ones that with the highest top. The slope is not negative.
    """
    x = np.log(labels)
    # Rows, tops, measurements.
    share = np.clip(accuracy[:, None, :] / _TOPS[None, :, None], _EDGE, 1 - _EDGE)
    logits = np.log(share / (1 - share))
    own = weights * (_TOPS[None, :, None] * share * (1 - share)) ** 2
    total = own.sum(axis=2)
    mean_x, mean_y = (own * x).sum(axis=2) / total, (own * logits).sum(axis=2) / total
    apart = x - mean_x[:, :, None]
    slope = np.maximum(0, (own * apart * (logits - mean_y[:, :, None])).sum(axis=2) / (own * apart**2).sum(axis=2))
    intercept = mean_y - slope * mean_x
    fitted = _TOPS[None, :, None] / (1 + np.exp(-(intercept[:, :, None] + slope[:, :, None] * x)))
    loss = (weights * (accuracy[:, None, :] - fitted) ** 2).sum(axis=2)
    # The first of those within rounding of the best.
    best = np.argmax(loss <= loss.min(axis=1, keepdims=True) + 1e-6, axis=1)
    rows = np.arange(len(accuracy))
    return np.stack([_TOPS[best], intercept[rows, best], slope[rows, best]], axis=1)
