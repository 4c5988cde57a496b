"""What a learning curve says about more labels: by field, with its chart and its price. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.learning_curves.fit import FittedCurve, Measurement, fit
from slmstudio.text.formatting import percent

WIDTH, HEIGHT = 600, 160
#: labels that the outlook adds
MORE = 100
_STEPS = 60
Point = tuple[float, float]


@dataclass(frozen=True)
class Outlook:
    """A field: its accuracy with all labels now, and with ``MORE``; intervals of 90%. ``gain`` as a difference.

    ``is_flat``: the interval of the gain includes nothing worth mentioning (below half a percentage point at its end).
    """

    name: str
    now: float
    then: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float

    @property
    def is_flat(self) -> bool:
        return self.gain_high < 0.005


@dataclass(frozen=True)
class CurveChart:
    """A chart as SVG geometry in a box of ``width`` by ``height``: accuracy over labels.

    ``now``: where all current labels are. ``dots`` with their text. ``accuracies`` and ``sizes`` are the ticks of the
    axes: percent of the height from the top and of the width from the left, and the value there.
    """

    name: str
    line: str
    band: str
    dots: list[tuple[float, float, str]]
    now: float
    accuracies: list[Point]
    sizes: list[tuple[float, int]]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class FieldCurve:
    """A field with its measurements; ``outlook`` and a band only where a curve could be fitted."""

    name: str
    chart: CurveChart
    outlook: Outlook | None = None


@dataclass(frozen=True)
class Price:
    """What ``MORE`` labels cost: ``amount`` in ``currency``, or hours of work; None where neither is known."""

    amount: float | None = None
    currency: str = ""
    hours: float | None = None


def field_curves(points: Sequence[tuple[int, Mapping[str, Sequence[int]]]], labels: int) -> list[FieldCurve]:
    """The curves by field, all fields together first. ``points``: labels, and right and scored values by field."""
    rows: dict[str, list[Measurement]] = {}
    for count, fields in points:
        for name, (right, scored) in fields.items():
            if scored:
                rows.setdefault(name, []).append(Measurement(count, right, scored))
    if len(rows) == 2:  # one field: it is all fields together
        rows.pop("", None)
    return [_field_curve(name, own, labels) for name, own in sorted(rows.items())]


def _field_curve(name: str, rows: list[Measurement], labels: int) -> FieldCurve:
    curve = fit(rows)
    chart = _chart(name, rows, curve, labels)
    if curve is None:
        return FieldCurve(name, chart)
    gain, gain_low, gain_high = curve.gain(labels, MORE)
    low, high = curve.band(labels + MORE)
    then = curve.law.accuracy(labels + MORE)
    outlook = Outlook(name, curve.law.accuracy(labels), then, low, high, gain, gain_low, gain_high)
    return FieldCurve(name, chart, outlook)


def _chart(name: str, rows: list[Measurement], curve: FittedCurve | None, labels: int) -> CurveChart:
    limit = max(2 * labels, labels + MORE)
    sizes = [max(1.0, limit * step / _STEPS) for step in range(1, _STEPS + 1)]
    first = min(row.labels for row in rows)
    sizes = [size for size in sizes if size >= 0.8 * first]
    bands = [(curve.band(size), curve.law.accuracy(size)) for size in sizes] if curve is not None else []
    lowest = min([1 - row.error for row in rows] + [low for (low, _), _ in bands])
    bottom = max(0.0, min(0.9, int(10 * lowest) / 10))

    def at(size: float, accuracy: float) -> Point:
        share = (min(1.0, max(bottom, accuracy)) - bottom) / (1 - bottom)
        return round(WIDTH * size / limit, 1), round(HEIGHT - share * HEIGHT, 1)

    def path(points: Sequence[Point]) -> str:
        return " ".join(f"{x},{y}" for x, y in points)

    upper = [at(size, high) for size, ((_, high), _) in zip(sizes, bands, strict=True)] if bands else []
    lower = [at(size, low) for size, ((low, _), _) in zip(sizes, bands, strict=True)] if bands else []
    line = [at(size, value) for size, (_, value) in zip(sizes, bands, strict=True)] if bands else []
    dots = [(*at(row.labels, 1 - row.error), f"{row.labels:,} labels: {percent(1 - row.error)}") for row in rows]
    return CurveChart(
        name,
        path(line),
        path([*upper, *reversed(lower)]),
        dots,
        round(WIDTH * labels / limit, 1),
        [(_percent(1 - tick, 1 - bottom), tick) for tick in _ticks(bottom, 1.0)],
        [(_percent(tick, limit), int(tick)) for tick in _ticks(0, limit)],
        f"Accuracy of {name or 'all fields'} by number of labels: " + "; ".join(text for *_, text in dots),
    )


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)


def _ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``, at most six."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) < 5.0001)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(number * step, 10) for number in range(first, last + 1)]


def price(*, review_cost: float | None, currency: str, seconds: float | None) -> Price:
    """The price of ``MORE`` labels: by the contract's cost of a review, and the median time of a label."""
    return Price(
        None if review_cost is None else MORE * review_cost,
        currency,
        None if seconds is None else MORE * seconds / 3600,
    )
