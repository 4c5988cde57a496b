"""The migration to one threshold: former calibrations are fitted again, and former budgets become a threshold."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from serving.confidence.calibration import ConfidenceCalibration, DocumentRecord, proven, thresholds

migration = import_module("serving.migrations.0005_one_sampling_rate")


class Rows:
    """What a migration reads of a model."""

    def __init__(self, *rows: Any) -> None:
        self.objects, self._rows = self, rows

    def get_model(self, app: str, name: str) -> "Rows":
        return self

    def order_by(self, *names: str) -> "Rows":
        return self

    def iterator(self, chunk_size: int) -> Any:
        return iter(self._rows)


def former(number: int) -> list[Any]:
    """A record of a document as it was stored, without its confidence as it is served."""
    is_sure = number % 5 != 0
    right = is_sure or number % 2 == 0
    return [f"d{number}", 1, 1, int(not right), 1, [["total", 0.99 if is_sure else 0.5, 0.7, 0, int(right)]]]


def test_calibrations_are_fitted_again_from_their_records() -> None:
    records = [former(number) for number in range(500)]
    old = {"values": 500, "wrong": 50, "invalid": 0, "violations": 0, "augrc": {}, "limits": {}}
    row = SimpleNamespace(records=records, fits={"values": {}, "nulls": {}}, summary=old, save=lambda **_: None)
    migration.refit(Rows(row), None)
    calibration = ConfidenceCalibration({key: tuple(fit) for key, fit in row.fits.items()})
    assert calibration.probability("total", 0.99, False) > 0.98
    assert calibration.probability("total", 0.5, False) == pytest.approx(0.5, abs=0.01)
    assert set(row.summary) == {"values", "wrong", "invalid", "violations", "error", "fields"}
    assert row.summary["error"]["calibrated"] < 0.02
    current = [DocumentRecord.from_json(record) for record in row.records]
    best = proven(thresholds(current), 0.02)
    assert best is not None
    assert migration._limit(row.records, 0.02, "proven") == best.threshold
    assert migration._limit(row.records, 0.0001, "proven") == 1.0
    assert migration._limit(row.records, 0.5, "expected") < best.threshold
    assert migration._limit([], 0.5, "proven") == 1.0
