"""An extractor for one field: the candidates that its rule finds in a document, ranked by what gold looks like.

The ranking is a logistic regression over the words around a candidate, its place and its shape.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression

from evaluation.ml.classical.candidates import (
    MAX_LINES,
    Candidate,
    CandidateRule,
    Extent,
    descriptions,
    rendered,
)
from slmstudio.contract.schema.compiled import CompiledSchema, Field
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.values.evidence import find
from slmstudio.contract.values.kinds.values import normalize

_BUCKETS = 2**15
_HASHER = FeatureHasher(_BUCKETS, input_type="string", dtype=np.float32)
#: documents, and wrong and right candidates of each, that the ranking learns from
_MAX_DOCUMENTS, _MAX_WRONG, _MAX_RIGHT = 800, 40, 40
_REGULARIZATION = 2.0
_MAX_ITERATIONS = 300
_MAX_WORDS = 10
#: candidates that are scored together, which bounds the memory for a long document
_SCORED_TOGETHER = 10_000


@dataclass
class Extractor:
    """``weights``: of the hashed features, with the bias as the last one. ``absent``: the share of gold without a
    value; less likely candidates than that are no output.
    """

    rule: CandidateRule
    weights: Any
    absent: float

    @classmethod
    def train(
        cls, compiled: CompiledSchema, field: Field, texts: Sequence[str], gold: Sequence[Any], *, seed: int
    ) -> "Extractor | None":
        """Learns from documents and their gold values. None where no gold value stands in its document."""
        pairs = [(text, value) for text, value in zip(texts, gold, strict=True) if value is not None]
        present = len(pairs)
        draw = random.Random(seed)
        if len(pairs) > _MAX_DOCUMENTS:
            pairs = draw.sample(pairs, _MAX_DOCUMENTS)
        rule = CandidateRule(compiled, field, _extent(field, pairs))
        features: list[list[str]] = []
        labels: list[int] = []
        wrong_kept = wrong_found = right_kept = right_found = 0
        for text, value in pairs:
            candidates = rule.find(text)
            wanted = normalize(value, field)
            right = [at for at, candidate in enumerate(candidates) if normalize(candidate.value, field) == wanted]
            if not right:
                continue
            wrong = sorted(set(range(len(candidates))) - set(right))
            right_found += len(right)
            right = right if len(right) <= _MAX_RIGHT else draw.sample(right, _MAX_RIGHT)
            right_kept += len(right)
            kept = draw.sample(wrong, min(len(wrong), _MAX_WRONG))
            wrong_found, wrong_kept = wrong_found + len(wrong), wrong_kept + len(kept)
            features += descriptions(text, candidates, [*right, *kept])
            labels += [1] * len(right) + [0] * len(kept)
        if not any(labels):
            return None
        weights = np.zeros(_BUCKETS + 1, np.float32)
        if not all(labels):
            fitted = LogisticRegression(C=_REGULARIZATION, max_iter=_MAX_ITERATIONS, random_state=seed)
            fitted.fit(_HASHER.transform(features), labels)
            weights[:-1] = fitted.coef_[0]
            # Only some of the candidates were shown: the odds of all are others (King and Zeng 2001, (7)).
            shown = math.log(wrong_kept / wrong_found) - math.log(right_kept / right_found)
            weights[-1] = fitted.intercept_[0] + shown
        return cls(rule, weights, absent=round(1 - present / len(gold), 4))

    def predict(self, text: str) -> tuple[Any, float]:
        """The value of a document and its probability; (None, p) where none is likely enough."""
        text = self.rule.extent.searched(text)
        candidates = self.rule.find(text)
        if not candidates:
            return None, self.absent
        scores = self._scores(text, candidates)
        best = int(scores.argmax())
        probability = 1 / (1 + math.exp(-float(scores[best])))
        if probability < self.absent:
            return None, 1 - probability
        return candidates[best].value, probability

    def _scores(self, text: str, candidates: Sequence[Candidate]) -> Any:
        parts = []
        for start in range(0, len(candidates), _SCORED_TOGETHER):
            wanted = range(start, min(start + _SCORED_TOGETHER, len(candidates)))
            parts.append(_HASHER.transform(descriptions(text, candidates, wanted)) @ self.weights[:-1])
        return np.concatenate(parts) + self.weights[-1]

    def state(self) -> tuple[dict[str, Any], Any]:
        """What ``load`` needs, as JSON and an array."""
        return {"extent": asdict(self.rule.extent), "absent": self.absent}, self.weights

    @classmethod
    def load(cls, compiled: CompiledSchema, field: Field, values: dict[str, Any], weights: Any) -> "Extractor":
        """The extractor of a stored model."""
        return cls(CandidateRule(compiled, field, Extent(**values["extent"])), weights, values["absent"])


def _extent(field: Field, pairs: Sequence[tuple[str, Any]]) -> Extent:
    """How long the gold texts of a field are, where they stand in their documents, of which one in twenty may be
    longer; and whether gold has negative numbers.
    """
    words: list[int] = []
    lines: list[int] = []
    spaced = 0
    for text, value in pairs:
        if not isinstance(value, str):
            continue
        spaced += (value in rendered(text, spaced_commas=True)) - (value in rendered(text, spaced_commas=False))
        for span in find(value, field, text)[:1]:
            lines.append(text[span.start : span.end].count("\n") + 1)
            if lines[-1] == 1:
                words.append(len(value.split()))
    longest = min(_most(words), _MAX_WORDS), min(_most(lines), MAX_LINES)
    accounting = any(is_number(value) and value < 0 for _, value in pairs)
    return Extent(*longest, spaced > 0, characters=None, accounting=accounting)


def _most(counts: list[int]) -> int:
    return sorted(counts)[math.ceil(0.95 * len(counts)) - 1] if counts else 1
