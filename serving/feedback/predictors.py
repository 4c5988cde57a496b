"""How likely an output is right, before anyone judges it: from the confidence of its fields. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def predictor(confidence: Mapping[str, Any]) -> float | None:
    """The lowest probability of a field; None without any.

    Prediction-powered estimates are valid for any predictor; a better one makes their intervals narrower.
    """
    lows = [_low(value) for value in confidence.values()]
    return min(lows, default=None)


def _low(value: Any) -> float:
    return float(value[0] if isinstance(value, Sequence) else value)
