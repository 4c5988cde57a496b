"""Calibrated confidence of pre-labels: how often a field with this confidence is right, learned from labels. Pure.

By field an isotonic regression (Zadrozny and Elkan 2002) of "right" on the confidence, where there are enough labels;
otherwise the confidence itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import pattern_of
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values.kinds.values import normalize

#: labeled values of a field that calibrate it
MIN_VALUES = 30


class Calibration:
    """``labels``: documents that it was learned from."""

    def __init__(self, observed: Mapping[str, list[tuple[float, bool]]], labels: int) -> None:
        self.labels = labels
        self._curves: dict[str, Any] = {}
        for pattern, pairs in observed.items():
            if len(pairs) >= MIN_VALUES:
                from sklearn.isotonic import IsotonicRegression

                curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
                self._curves[pattern] = curve.fit([sure for sure, _ in pairs], [float(right) for _, right in pairs])

    def field(self, pattern: str, confidence: float) -> float:
        """The probability that a value of this confidence is right."""
        curve = self._curves.get(pattern)
        return confidence if curve is None else float(curve.predict(np.asarray([confidence]))[0])

    def document(self, confidence: Mapping[str, float]) -> float:
        """The probability that all fields are right, if their errors are independent."""
        return float(np.prod([self.field(pattern_of(path), value) for path, value in confidence.items()]))


def calibrate(compiled: CompiledSchema, judged: Iterable[tuple[Mapping[str, float], Any, Any]]) -> Calibration:
    """A calibration from the confidence and the value of predictions, and gold."""
    observed: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    labels = 0
    for confidence, value, gold in judged:
        labels += 1
        for leaf in pair(compiled.root, gold, value):
            if leaf.output_path in confidence:
                right = normalize(leaf.gold, leaf.field) == normalize(leaf.output, leaf.field)
                observed[leaf.field.pattern].append((confidence[leaf.output_path], right))
    return Calibration(observed, labels)
