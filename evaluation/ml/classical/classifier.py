"""A classifier for one field: multinomial logistic regression over features of the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from slmstudio.contract.json_text import dumps, loads

_MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Classifier:
    """``classes``: the values in canonical JSON; ``weights``: a row for each class, none where there is one class."""

    classes: tuple[str, ...]
    weights: Any
    bias: Any

    @classmethod
    def train(cls, vectors: Any, values: Sequence[Any], *, regularization: float, seed: int) -> "Classifier":
        """Fits the values of a field, null among them, to the vectors of their texts."""
        labels = [dumps(value) for value in values]
        classes = tuple(sorted(set(labels)))
        if len(classes) == 1:
            return cls(classes, np.zeros((1, 0), np.float32), np.zeros(1, np.float32))
        # Encoded, because scikit-learn has another model for two classes given as texts or numbers.
        place = {label: at for at, label in enumerate(classes)}
        fitted = LogisticRegression(C=regularization, max_iter=_MAX_ITERATIONS, random_state=seed)
        fitted.fit(vectors, [place[label] for label in labels])
        weights, bias = np.asarray(fitted.coef_, np.float32), np.asarray(fitted.intercept_, np.float32)
        if len(classes) == 2:  # one row, for the second class
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.concatenate([np.zeros_like(bias), bias])
        return cls(classes, weights, bias)

    @cached_property
    def _columns(self) -> Any:
        """The weights as a product with a sparse row needs them: it would copy all of them for each document."""
        return np.ascontiguousarray(self.weights.T)

    def predict(self, vectors: Any) -> tuple[Any, float]:
        """The most probable value for the one text in ``vectors``, and its probability."""
        if len(self.classes) == 1:
            return loads(self.classes[0]), 1.0
        scores = np.asarray(vectors @ self._columns, np.float64).ravel() + self.bias
        odds = np.exp(scores - scores.max())
        best = int(odds.argmax())
        return loads(self.classes[best]), float(odds[best] / odds.sum())
