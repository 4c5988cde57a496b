"""Ranks gold labels by how likely they are wrong, from predictions of models that did not see them. Pure.

The ranking is by the ratio of the probabilities of gold and prediction, lowest first. In docs/benchmarks.md it is
about as good as the probability of gold alone where labels were changed to any class, and better where they were
changed to a similar class.

*Confident to be wrong* is a label by confident learning (Northcutt, Jiang, Chuang 2021, arXiv:1911.00068): the model
predicts another class with at least the mean probability of that class among the documents that have it as gold.

Predictions of language models have one probability, that of the predicted value, so gold gets at most the rest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.structure import pattern_of
from slmstudio.text.classifier import Matrix

#: classes of less frequent values, and free values, share one mean per field
MIN_CLASS_SIZE = 5


@dataclass(frozen=True, slots=True)
class CheckedLabel:
    """One field (its path) of a document: gold and an independent prediction, both as JSON texts, with their
    probabilities.

    ``probability`` is that of the prediction, ``gold_probability`` that of gold; from 0 to 1. ``model``: who predicted;
    ``output``: all of its output, with at least the field; ``label``: the whole gold label.
    """

    document: int
    field: str
    gold: str
    prediction: str
    probability: float
    gold_probability: float
    model: str = ""
    output: Any = None
    label: Any = None

    @property
    def pattern(self) -> str:
        """The field without numbers of rows."""
        return pattern_of(self.field)

    @property
    def ratio(self) -> float:
        """The probability of gold relative to that of the prediction; 0 is most suspect."""
        return self.gold_probability / self.probability if self.probability else 0.0


def checks_of(
    documents: Sequence[int], field: str, gold: Sequence[str], probabilities: Matrix, classes: Sequence[str]
) -> list[CheckedLabel]:
    """The checks of a field from out-of-fold probabilities: a row per document, a column per class."""
    column = {name: at for at, name in enumerate(classes)}
    best = probabilities.argmax(axis=1)
    return [
        CheckedLabel(
            pk, field, own, classes[at], float(probabilities[row, at]), float(probabilities[row, column[own]])
        )
        for row, (pk, own, at) in enumerate(zip(documents, gold, best.tolist(), strict=True))
    ]  # fmt: skip


def rank(checks: Sequence[CheckedLabel]) -> list[tuple[CheckedLabel, bool]]:
    """The labels that differ from their prediction, by the ratio of the probabilities of gold and prediction, and
    whether each is wrong by confident learning."""
    means = _ClassMeans(checks)
    suspects = sorted(
        (check for check in checks if check.gold != check.prediction),
        key=lambda check: (check.ratio, check.field, check.document),
    )
    return [(check, check.probability >= means.of(check.pattern, check.prediction)) for check in suspects]


class _ClassMeans:
    """The mean probability of gold, by field and class."""

    def __init__(self, rows: Sequence[CheckedLabel]) -> None:
        by_class: dict[tuple[str, str], list[float]] = defaultdict(list)
        by_field: dict[str, list[float]] = defaultdict(list)
        for check in rows:
            by_class[check.pattern, check.gold].append(check.gold_probability)
            by_field[check.pattern].append(check.gold_probability)
        self._classes = {key: _mean(own) for key, own in by_class.items() if len(own) >= MIN_CLASS_SIZE}
        self._fields = {field: _mean(own) for field, own in by_field.items()}

    def of(self, pattern: str, value: str) -> float:
        return self._classes.get((pattern, value), self._fields[pattern])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(checks: Iterable[CheckedLabel], suspects: Sequence[tuple[CheckedLabel, bool]]) -> list[dict[str, Any]]:
    """By field: the labels that were checked, those that differ, and those confident to be wrong."""
    total: dict[str, int] = defaultdict(int)
    for check in checks:
        total[check.pattern] += 1
    return [
        {
            "field": field,
            "checked": number,
            "differ": sum(check.pattern == field for check, _ in suspects),
            "confident": sum(check.pattern == field and confident for check, confident in suspects),
        }
        for field, number in sorted(total.items())
    ]
