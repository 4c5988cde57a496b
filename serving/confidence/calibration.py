"""Turns the signals of a value into the probability that it is correct. Pure.

Fitted on outputs for the validation split, per engine and quantization. Values and nulls are fitted apart: a model that
is sure that a field is absent is wrong for other reasons than one that is sure of a value. A value's *score* is the
logit of its lowest token probability, or, where that predicts better, a combination of all its signals. A field with at
least ``ISOTONIC`` samples gets an isotonic regression on the score (Zadrozny and Elkan, 2002), interpolated between the
centers of its blocks (Oron and Flournoy, 2017), so that a limit can lie within a block; one with fewer a logistic one
(Platt, 1999) with a ridge penalty; a field with fewer than ``ENOUGH`` samples, or without both outcomes, uses the fit
over all fields.
"""

import math
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from serving.confidence.signals import Signals, logit, sigmoid

#: samples from which a field has an isotonic fit, and from which it has a fit of its own
ISOTONIC = 200
ENOUGH = 40
#: parts of the documents for scores that were fitted without them
FOLDS = 5
#: pseudo-counts on each side: no probability is 0 or 1 after some hundred samples
_PRIOR = 1.0
#: penalty of the slope and the intercept of the logistic fit, around 1 and 0: the probability itself
_RIDGE = 1.0
#: a combination of signals needs as many wrong and as many right values, and must predict better by this share
_COMBINED_FROM = 25
_BETTER = 0.01
_FEATURES = 5
_SEED = 17


@dataclass(frozen=True, slots=True)
class Sample:
    """A field of one output: its signals, and whether it is correct. ``document`` groups the fields of a document."""

    pattern: str
    signals: Signals
    is_correct: bool
    document: str = ""


@dataclass(frozen=True)
class Fit:
    """A monotone map from a score: linear between ``knots`` with ``values`` (``is_step``, in packages of before: a step
    function), or, without knots, a logistic function with ``slope`` and ``intercept``. ``samples``: how many it is
    from."""

    samples: int
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    is_step: bool = True

    def probability(self, score: float) -> float:
        """The probability that the value is correct."""
        if not self.knots:
            return sigmoid(self.slope * score + self.intercept)
        at = bisect_right(self.knots, score) - 1
        if self.is_step or at < 0 or at + 1 == len(self.knots):
            return self.values[max(0, at)]
        (left, right), (low, high) = self.knots[at : at + 2], self.values[at : at + 2]
        return low + (high - low) * (score - left) / (right - left)


@dataclass(frozen=True)
class Kind:
    """The calibration of values, or of nulls. ``weights``: of the features, the last of the constant; (): the score is
    the first feature. ``fits``: by field pattern; "" is the fit over all fields.
    """

    weights: tuple[float, ...] = ()
    fits: dict[str, Fit] = field(default_factory=dict)

    def score(self, signals: Signals) -> float:
        """What the fits are of."""
        if not self.weights:
            return logit(signals.minimum)
        *weights, constant = self.weights
        return sum(w * x for w, x in zip(weights, signals.features, strict=True)) + constant


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model on an engine."""

    values: Kind = field(default_factory=Kind)
    nulls: Kind = field(default_factory=Kind)

    def probability(self, pattern: str, signals: Signals) -> float:
        """The probability that a field is correct; the lowest token probability itself where nothing is known."""
        kind = self.nulls if signals.is_null else self.values
        found = kind.fits.get(pattern) or kind.fits.get("")
        return signals.minimum if found is None else found.probability(kind.score(signals))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Calibration":
        """Reads ``as_dict`` again."""

        def kind(rows: dict[str, Any]) -> Kind:
            fits = {
                name: Fit(**{**row, "knots": tuple(row["knots"]), "values": tuple(row["values"])})
                for name, row in rows["fits"].items()
            }
            return Kind(tuple(rows["weights"]), fits)

        return cls(kind(value["values"]), kind(value["nulls"]))


def fit(samples: Iterable[Sample], *, share: float = 1.0) -> Calibration:
    """Fits a calibration; fields and kinds of values without samples have none.

    ``share``: of all samples, if these are a part of them. The numbers above count for all, so that a part gets the
    same kinds of fits.
    """
    apart: dict[bool, list[Sample]] = {True: [], False: []}
    for one in samples:
        apart[one.signals.is_null].append(one)
    return Calibration(_best_kind(apart[False], share), _best_kind(apart[True], share))


def cross_fitted(samples: Sequence[Sample], folds: int = FOLDS) -> list[float]:
    """The calibrated probability of each sample, by a fit without the documents of its fold: what the calibration
    achieves on documents that it has not seen."""
    fold = _folds(samples, folds)
    found = [0.0] * len(samples)
    for number in range(folds):
        inside = [at for at in range(len(samples)) if fold[at] == number]
        if inside:
            rest = [one for at, one in enumerate(samples) if fold[at] != number]
            calibration = fit(rest, share=len(rest) / len(samples))
            for at in inside:
                found[at] = calibration.probability(samples[at].pattern, samples[at].signals)
    return found


def _folds(samples: Sequence[Sample], folds: int) -> list[int]:
    """All fields of a document are in one fold. Documents are shuffled: their order may mean something."""
    names = list(dict.fromkeys(one.document for one in samples))
    random.Random(_SEED).shuffle(names)
    number = {name: at % folds for at, name in enumerate(names)}
    return [number[one.document] for one in samples]


def _best_kind(samples: Sequence[Sample], share: float) -> Kind:
    """With the combination of all signals, where it predicts left-out documents better than the lowest probability."""
    plain = Kind((), _fits(samples, (), share))
    wrong = sum(not one.is_correct for one in samples)
    if min(wrong, len(samples) - wrong) < share * _COMBINED_FROM or len({one.document for one in samples}) < 2:
        return plain
    fold = _folds(samples, 2)
    losses = [0.0, 0.0]
    for number in range(2):
        rest = [one for at, one in enumerate(samples) if fold[at] != number]
        weights = _weights(rest)
        half = share * len(rest) / len(samples)
        kinds = Kind((), _fits(rest, (), half)), Kind(weights, _fits(rest, weights, half))
        for at, one in enumerate(samples):
            if fold[at] == number:
                for which, kind in enumerate(kinds):
                    found = kind.fits.get(one.pattern) or kind.fits.get("")
                    p = found.probability(kind.score(one.signals)) if found else one.signals.minimum
                    losses[which] -= math.log(max(1e-6, p if one.is_correct else 1 - p))
    if losses[1] > losses[0] * (1 - _BETTER):
        return plain
    weights = _weights(samples)
    return Kind(weights, _fits(samples, weights, share))


def _fits(samples: Sequence[Sample], weights: tuple[float, ...], share: float) -> dict[str, Fit]:
    kind = Kind(weights)
    groups: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one in samples:
        for name in {one.pattern, ""}:
            groups[name].append((kind.score(one.signals), one.is_correct))
    return {
        name: _isotonic(rows) if len(rows) >= share * ISOTONIC else _logistic(rows)
        for name, rows in groups.items()
        if not name or (len(rows) >= share * ENOUGH and 0 < sum(right for _, right in rows) < len(rows))
    }


def _weights(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Ridge logistic regression on all features, around the logit of the lowest probability alone; Newton's method."""
    import numpy as np

    x = np.array([[*one.signals.features, 1.0] for one in samples])
    y = np.array([float(one.is_correct) for one in samples])
    prior = np.zeros(_FEATURES + 1)
    prior[0] = 1.0
    weights = prior.copy()
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - y) + _RIDGE * (weights - prior)
        hessian = (x * np.maximum(p * (1 - p), 1e-9)[:, None]).T @ x + _RIDGE * np.eye(len(prior))
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        weights = weights - step * min(1.0, 2.0 / size if size else 1.0)
        if size < 1e-9:
            break
    return tuple(float(one) for one in weights)


def _isotonic(rows: Sequence[tuple[float, bool]]) -> Fit:
    from scipy.optimize import isotonic_regression

    # Equal scores are one point; the pseudo-counts keep the ends away from 0 and 1.
    points: list[list[float]] = []
    for score, is_correct in sorted(rows):
        if points and points[-1][0] == score:
            points[-1][1] += is_correct
            points[-1][2] += 1
        else:
            points.append([score, float(is_correct), 1.0])
    fitted = isotonic_regression([right / count for _, right, count in points], weights=[p[2] for p in points])
    blocks = [int(start) for start in fitted.blocks]
    knots, values = [], []
    for begin, end in pairwise(blocks):
        correct, count = sum(p[1] for p in points[begin:end]), sum(p[2] for p in points[begin:end])
        knots.append(sum(score * times for score, _, times in points[begin:end]) / count)
        values.append((correct + _PRIOR) / (count + 2 * _PRIOR))
    # The pseudo-counts weigh more in small blocks: made monotone again.
    for place in range(1, len(values)):
        values[place] = max(values[place], values[place - 1])
    return Fit(len(rows), knots=tuple(knots), values=tuple(values), is_step=False)


def _logistic(points: Sequence[tuple[float, bool]]) -> Fit:
    """Newton's method on the penalized likelihood; two parameters."""
    slope, intercept = 1.0, 0.0
    for _ in range(50):
        g0, g1 = _RIDGE * intercept, _RIDGE * (slope - 1.0)
        h00 = h11 = _RIDGE
        h01 = 0.0
        for x, y in points:
            p = sigmoid(slope * x + intercept)
            w = max(p * (1 - p), 1e-9)
            g0, g1 = g0 + p - y, g1 + (p - y) * x
            h00, h01, h11 = h00 + w, h01 + w * x, h11 + w * x * x
        determinant = h00 * h11 - h01 * h01
        step0, step1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        # A long step overshoots where all answers are the same.
        size = max(abs(step0), abs(step1))
        scale = min(1.0, 2.0 / size) if size else 1.0
        intercept, slope = intercept - scale * step0, slope - scale * step1
        if size < 1e-9:
            break
    # More probable tokens never mean a less probable value.
    return Fit(len(points), slope=max(0.0, slope), intercept=intercept)
