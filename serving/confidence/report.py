"""The figures of a calibration as they are stored with its package. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from serving.confidence.automation import augrc, calibration_error, reliability
from serving.confidence.budget import points
from serving.confidence.calibration import Calibration
from serving.confidence.records import DocumentRecord, scored


def summary(calibration: Calibration, records: Sequence[DocumentRecord]) -> dict[str, Any]:
    """``error``, ``augrc``, ``reliability`` of the token probabilities (``raw``) and of the calibrated confidence, by
    fits without the document; ``fields``: pattern -> figures; ``limits``: what each limit achieves, by unit."""
    raw, calibrated = scored(records, raw=True), scored(records)
    return {
        "values": len(calibrated),
        "wrong": sum(not one.is_correct for one in calibrated),
        "invalid": sum(not one.is_valid for one in records),
        "violations": sum(one.is_valid and not one.holds for one in records),
        "combined": {"values": bool(calibration.values.weights), "nulls": bool(calibration.nulls.weights)},
        "error": {"raw": calibration_error(raw), "calibrated": calibration_error(calibrated)},
        "augrc": {"raw": augrc(raw), "calibrated": augrc(calibrated)},
        "reliability": {
            "raw": [asdict(one) for one in reliability(raw)],
            "calibrated": [asdict(one) for one in reliability(calibrated)],
        },
        "fields": _fields(calibration, records),
        "limits": {
            "field": [asdict(one) for one in points(records, "field")],
            "document": [asdict(one) for one in points(records, "document")],
        },
    }


def _fields(calibration: Calibration, records: Sequence[DocumentRecord]) -> dict[str, Any]:
    counts = Counter(one.pattern for record in records for one in record.fields)
    found = {}
    for pattern in dict.fromkeys(one.pattern for record in records for one in record.fields):
        rows = scored(records, pattern=pattern)
        found[pattern] = {
            "samples": counts[pattern],
            "accuracy": sum(one.is_correct for one in rows) / len(rows),
            "error": {
                "raw": calibration_error(scored(records, raw=True, pattern=pattern)),
                "calibrated": calibration_error(rows),
            },
            "fit": _name(calibration, pattern),
        }
    return found


def _name(calibration: Calibration, pattern: str) -> str:
    """How the values of a field are calibrated: isotonic, logistic, or pooled with all fields."""
    fit = calibration.values.fits.get(pattern)
    if fit is None:
        return "pooled"
    return "isotonic" if fit.knots else "logistic"
