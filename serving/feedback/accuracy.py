"""Accuracy on live traffic with its interval, from the judged part of the uniform sample. Pure.

*Horvitz-Thompson* weights every judged request by one over its probability of being drawn (Horvitz and Thompson, 1952),
here as the ratio of two such sums (Hájek, 1971). *Prediction-powered* estimation also uses the requests that were not
drawn (Angelopoulos et al., 2023; arXiv:2301.09633), through a predictor of whether an output is right, and subtracts
the predictor's error on the judged ones, so that a bad predictor makes it no less valid; its weight lambda minimizes
the variance (Angelopoulos, Duchi and Zrnic, 2023; arXiv:2311.01453).

Not every drawn request is judged. Requests that were also drawn for another reason are judged sooner, so that the
weights are divided by the share that is judged, apart for these and for the others (weighting classes; Särndal et al.,
Model Assisted Survey Sampling, 1992, 15.6).

The interval is Wilson's with the effective number of judgments (Kish, 1965), which is right near 100% too. The traffic
of the period is taken as a sample of the traffic to come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slmstudio.intervals import Interval, wilson

#: half of the width that a live accuracy should have, in the forecast
TARGET = 0.02
#: right and wrong judgments from which the predictor is used: with fewer, its weight is mostly noise
MIN_EACH = 8
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request of the uniform sample. ``right``: None without a judgment; ``is_targeted``: it was also drawn for
    another reason. ``correct`` of ``counted`` fields are right."""

    probability: float
    right: bool | None = None
    predictor: float | None = None
    is_targeted: bool = False
    correct: int = 0
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """All answered requests of the period: their number, and of the predicted ones the number, the sum and the sum of
    the squares of the predictor."""

    requests: int = 0
    predicted: int = 0
    predictor_sum: float = 0.0
    predictor_squares: float = 0.0

    @property
    def mean(self) -> float:
        """The mean of the predictor; requests without one count as the mean."""
        return self.predictor_sum / self.predicted if self.predicted else 0.0

    @property
    def variance(self) -> float:
        """Over all requests."""
        if not self.predicted or not self.requests:
            return 0.0
        within = max(0.0, self.predictor_squares / self.predicted - self.mean**2)
        return within * self.predicted / self.requests


@dataclass(frozen=True, slots=True)
class Estimate:
    """An accuracy with its 95% interval. ``effective``: judgments of a simple random sample that would say as much."""

    value: float
    low: float
    high: float
    judged: int
    effective: float
    method: str
    weight: float = 0.0

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


HORVITZ_THOMPSON, PREDICTION_POWERED = "Horvitz-Thompson", "prediction-powered"


def estimate(sample: Sequence[Sampled], traffic: Traffic) -> Estimate | None:
    """The share of requests whose output is right in all fields; None without a judgment."""
    judged = [one for one in sample if one.right is not None]
    if not judged:
        return None
    weights = _weights(sample)
    total = sum(weights)
    values = [float(bool(one.right)) for one in judged]
    simple = sum(w * y for w, y in zip(weights, values, strict=True)) / total
    effective = total**2 / sum(w * w for w in weights)
    right = sum(values)
    if min(right, len(judged) - right) < MIN_EACH or not traffic.variance:
        return _estimate(simple, len(judged), effective, HORVITZ_THOMPSON)
    return _prediction_powered(judged, weights, values, traffic, simple, effective)


def _prediction_powered(
    judged: Sequence[Sampled],
    weights: Sequence[float],
    values: Sequence[float],
    traffic: Traffic,
    simple: float,
    effective: float,
) -> Estimate:
    total, n = sum(weights), len(judged)
    predicted = [traffic.mean if one.predictor is None else one.predictor for one in judged]
    center = sum(w * f for w, f in zip(weights, predicted, strict=True)) / total
    rows = list(zip(weights, values, predicted, strict=True))
    covariance = sum(w * (y - simple) * (f - center) for w, y, f in rows) / total
    share = effective / max(traffic.requests, effective)
    weight = min(1.0, max(0.0, covariance / ((1 + share) * traffic.variance)))
    value = weight * traffic.mean + sum(w * (y - weight * f) for w, y, f in rows) / total
    rest = simple - weight * center
    # Two parameters are estimated; the judgments that they cost are the difference to 1.
    spread = sum(w * (y - weight * f - rest) ** 2 for w, y, f in rows) / total * n / (n - 2)
    variance = spread / effective + weight**2 * traffic.variance / max(traffic.requests, 1)
    plain = simple * (1 - simple) / effective
    gain = max(1.0, plain / variance) if variance > 0 else 1.0
    if gain <= 1.0:
        return _estimate(simple, n, effective, HORVITZ_THOMPSON)
    return _estimate(min(1.0, max(0.0, value)), n, effective * gain, PREDICTION_POWERED, weight)


def field_accuracy(sample: Sequence[Sampled]) -> Estimate | None:
    """The share of fields that are right, the request as the unit; None where no judgment names its fields."""
    judged = [one for one in sample if one.right is not None]
    rows = [(w, one) for w, one in zip(_weights(sample), judged, strict=True) if one.counted]
    if not rows:
        return None
    fields = sum(w * one.counted for w, one in rows)
    share = sum(w * one.correct for w, one in rows) / fields
    n = len(rows)
    spread = sum((w * (one.correct - share * one.counted)) ** 2 for w, one in rows) / fields**2
    kish = sum(w for w, _ in rows) ** 2 / sum(w * w for w, _ in rows)
    variance = spread * n / (n - 1) if n > 1 else 0.0
    # Where nothing differs, a request counts as one observation.
    effective = share * (1 - share) / variance if variance > 0 else kish
    return _estimate(share, n, min(effective, float(sum(one.counted for _, one in rows))), HORVITZ_THOMPSON)


def _weights(sample: Sequence[Sampled]) -> list[float]:
    """The weights of the judged requests."""
    drawn = {True: 0.0, False: 0.0}
    judged = {True: 0.0, False: 0.0}
    for one in sample:
        drawn[one.is_targeted] += 1 / one.probability
        judged[one.is_targeted] += (one.right is not None) / one.probability
    if any(drawn[cell] and not judged[cell] for cell in drawn):  # nothing is known about a class: one for all
        factor = dict.fromkeys(drawn, 1.0)
    else:
        factor = {cell: drawn[cell] / judged[cell] if judged[cell] else 1.0 for cell in drawn}
    return [factor[one.is_targeted] / one.probability for one in sample if one.right is not None]


def _estimate(value: float, judged: int, effective: float, method: str, weight: float = 0.0) -> Estimate:
    interval: Interval = wilson(value, effective)
    low, high = interval
    return Estimate(value, low, high, judged, effective, method, weight)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the interval is narrow enough. ``labels``: more judgments; 0: it is. ``days``: None without a rate."""

    target: float
    labels: int
    days: float | None


def forecast(found: Estimate | None, *, per_day: float, target: float = TARGET, expected: float = 0.9) -> Forecast:
    """Judgments until the interval is ``target`` to each side, and the days that takes at ``per_day`` judgments.

    ``expected``: the accuracy to plan with, where nothing is known yet.
    """
    judged = found.judged if found is not None else 0
    if found is not None and found.half_width <= target:
        return Forecast(target, 0, 0.0)
    value = found.value if found is not None else expected
    each = found.effective / found.judged if found is not None else 1.0
    low, high = max(1, judged), 4_000_000
    while low < high:
        middle = (low + high) // 2
        if _half_width(value, middle * each) <= target:
            high = middle
        else:
            low = middle + 1
    more = max(1, low - judged)
    return Forecast(target, more, more / per_day if per_day > 0 else None)


def _half_width(value: float, n: float) -> float:
    return _Z / (1 + _Z**2 / n) * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n * n))
