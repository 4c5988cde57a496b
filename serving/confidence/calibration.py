"""Turns token probabilities of a field into the probability that its value is correct. Pure.

Fitted on outputs for the validation split, per engine and quantization. Values and nulls are fitted apart: a model that
is sure that a field is absent is wrong for other reasons than one that is sure of a value. A field with at least
``ISOTONIC`` samples gets an isotonic regression (Zadrozny and Elkan, 2002), one with fewer a logistic one on the logit
of its lowest token probability (Platt, 1999) with a ridge penalty; a field with fewer than ``ENOUGH`` samples, or
without both outcomes, uses the fit over all fields.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

#: samples from which a field has an isotonic fit, and from which it has a fit of its own
ISOTONIC = 200
ENOUGH = 40
#: pseudo-counts on each side: no probability is 0 or 1 after some hundred samples
_PRIOR = 1.0
#: penalty of the slope and the intercept of the logistic fit, around 1 and 0: the probability itself
_RIDGE = 1.0
_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Sample:
    """A field of one output: the lowest probability of its tokens, whether it is null, and whether it is correct.

    ``document`` groups the fields of one document.
    """

    pattern: str
    minimum: float
    is_null: bool
    is_correct: bool
    document: str = ""


@dataclass(frozen=True)
class Fit:
    """A monotone map from a token probability: a step function over ``knots`` with ``values``, or, without knots, a
    logistic function of the logit with ``slope`` and ``intercept``. ``samples``: how many it is from."""

    samples: int
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def probability(self, minimum: float) -> float:
        """The probability that the value is correct."""
        if self.knots:
            return self.values[max(0, bisect_right(self.knots, minimum) - 1)]
        return _sigmoid(self.slope * _logit(minimum) + self.intercept)


@dataclass(frozen=True)
class Calibration:
    """Fits by kind of value and field pattern; "" is the fit over all fields."""

    values: dict[str, Fit] = field(default_factory=dict)
    nulls: dict[str, Fit] = field(default_factory=dict)

    def probability(self, pattern: str, minimum: float, *, is_null: bool) -> float:
        """The probability that a field is correct; the token probability itself where nothing is known."""
        fits = self.nulls if is_null else self.values
        found = fits.get(pattern) or fits.get("")
        return minimum if found is None else found.probability(minimum)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Calibration":
        """Reads ``as_dict`` again."""

        def fits(rows: dict[str, Any]) -> dict[str, Fit]:
            return {
                name: Fit(**{**row, "knots": tuple(row["knots"]), "values": tuple(row["values"])})
                for name, row in rows.items()
            }

        return cls(fits(value["values"]), fits(value["nulls"]))


def fit(samples: Iterable[Sample]) -> Calibration:
    """Fits a calibration; fields and kinds of values without samples have none."""
    groups: dict[bool, defaultdict[str, list[Sample]]] = {True: defaultdict(list), False: defaultdict(list)}
    for one in samples:
        for name in {one.pattern, ""}:
            groups[one.is_null][name].append(one)
    found: dict[bool, dict[str, Fit]] = {}
    for is_null, by_name in groups.items():
        found[is_null] = {
            name: _fit(rows)
            for name, rows in by_name.items()
            if not name or (len(rows) >= ENOUGH and 0 < sum(row.is_correct for row in rows) < len(rows))
        }
    return Calibration(found[False], found[True])


def _fit(rows: Sequence[Sample]) -> Fit:
    if len(rows) >= ISOTONIC:
        return _isotonic(rows)
    return _logistic(rows)


def _isotonic(rows: Sequence[Sample]) -> Fit:
    from scipy.optimize import isotonic_regression

    ordered = sorted(rows, key=lambda row: row.minimum)
    # Equal probabilities are one point; the pseudo-counts keep the ends away from 0 and 1.
    points: list[list[float]] = []
    for row in ordered:
        if points and points[-1][0] == row.minimum:
            points[-1][1] += row.is_correct
            points[-1][2] += 1
        else:
            points.append([row.minimum, float(row.is_correct), 1.0])
    fitted = isotonic_regression([right / count for _, right, count in points], weights=[p[2] for p in points])
    blocks = [int(start) for start in fitted.blocks]
    knots, values = [], []
    for begin, end in pairwise(blocks):
        right, count = sum(p[1] for p in points[begin:end]), sum(p[2] for p in points[begin:end])
        knots.append(points[begin][0])
        values.append((right + _PRIOR) / (count + 2 * _PRIOR))
    # The pseudo-counts weigh more in small blocks: made monotone again.
    for place in range(1, len(values)):
        values[place] = max(values[place], values[place - 1])
    return Fit(len(rows), knots=tuple(knots), values=tuple(values))


def _logistic(rows: Sequence[Sample]) -> Fit:
    """Newton's method on the penalized likelihood; two parameters."""
    points = [(_logit(row.minimum), float(row.is_correct)) for row in rows]
    slope, intercept = 1.0, 0.0
    for _ in range(50):
        g0 = g1 = 0.0
        h00 = h11 = _RIDGE
        h01 = 0.0
        g0 += _RIDGE * intercept
        g1 += _RIDGE * (slope - 1.0)
        for x, y in points:
            p = _sigmoid(slope * x + intercept)
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
    return Fit(len(rows), slope=max(0.0, slope), intercept=intercept)


def _logit(probability: float) -> float:
    clipped = min(max(probability, _EDGE), 1 - _EDGE)
    return math.log(clipped / (1 - clipped))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
