"""The fit of a learning curve: it finds the law that made the measurements, and its band covers it."""

import itertools

import numpy as np
import pytest

from evaluation.learning_curves.fit import Law, Measurement, fit
from evaluation.learning_curves.outlook import field_curves, price

LAW = Law(0.95, -4.0, 0.9)


def measured(rng: np.random.Generator, scored: int = 400) -> list[Measurement]:
    rows = []
    for labels, repeats in ((24, 3), (50, 3), (100, 3), (200, 1)):
        for _ in range(repeats):
            rows.append(Measurement(labels, int(rng.binomial(scored, LAW.accuracy(labels))), scored))
    return rows


def test_exact_measurements_give_the_law() -> None:
    rows = [Measurement(labels, round(100_000 * LAW.accuracy(labels)), 100_000) for labels in (24, 50, 100, 200)]
    fitted = fit(rows)
    assert fitted is not None
    assert fitted.law.accuracy(400) == pytest.approx(LAW.accuracy(400), abs=0.005)
    perfect = fit([Measurement(labels, 50, 50) for labels in (10, 20, 40)])
    assert perfect is not None
    assert perfect.law.accuracy(80) == pytest.approx(1, abs=0.002)
    assert fit([Measurement(10, 5, 10), Measurement(20, 6, 10)]) is None, "two sizes are no curve"


def test_the_band_covers_what_comes() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(20):
        fitted = fit(measured(rng))
        assert fitted is not None
        low, high = fitted.band(300)
        inside += low <= LAW.accuracy(300) <= high
    assert inside >= 15


def test_the_outlook_by_field() -> None:
    fields = {"": [40, 50], "date": [20, 25], "total": [20, 25]}
    curves = field_curves([(labels, fields) for labels in (12, 25, 50)], 50)
    assert [curve.name for curve in curves] == ["", "date", "total"]
    outlook = curves[1].outlook
    assert outlook is not None
    assert [outlook.now, outlook.then] == pytest.approx([0.8, 0.8], abs=0.001)
    chart = curves[0].chart
    assert chart.sizes == [(0.0, 0), (33.33, 50), (66.67, 100), (100.0, 150)]
    assert chart.accuracies == [(100.0, 0.6), (75.0, 0.7), (50.0, 0.8), (25.0, 0.9), (0.0, 1.0)]
    assert [curve.name for curve in field_curves([(9, {"": [1, 2], "queue": [1, 2]})], 9)] == ["queue"]


def test_a_field_that_is_always_right_or_never() -> None:
    for sizes, right in itertools.product(((12,), (12, 25, 50)), (0, 20)):
        [curve] = field_curves([(labels, {"currency": [right, 20]}) for labels in sizes], 12)
        bottom, top = curve.chart.accuracies[0], curve.chart.accuracies[-1]
        assert bottom == (100.0, 0.9 if right else 0.0)
        assert top == (0.0, 1.0)


def test_the_price_of_a_hundred_labels() -> None:
    hundred = price(review_cost=0.5, currency="EUR", seconds=36)
    assert (hundred.amount, hundred.currency, hundred.hours) == (50, "EUR", 1)
