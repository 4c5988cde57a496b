"""A classical model: a predictor for each field of a schema, and its files.

The folder has ``model.json`` and ``arrays.safetensors``, and no code: what a model does is in this package.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from evaluation.inference.classical_spec import ClassicalTrainSpec, class_fields, extracted_fields
from evaluation.ml.classical.classifier import Classifier
from evaluation.ml.classical.extractor import Extractor
from evaluation.ml.classical.features import Features, load_features, new_features
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, Node, split
from training.ml.data.rows import Row

FORMAT = 1
_MISSING = object()


@dataclass(frozen=True)
class ClassicalPrediction:
    """The output for a document in canonical JSON, and the probability of each predicted field by its path."""

    text: str
    confidence: dict[str, float]


@dataclass
class ClassicalPredictors:
    """``usual``: the most frequent gold value of each field in canonical JSON, for a required field without a
    prediction that must not be null.
    """

    compiled: CompiledSchema
    features: Features | None
    classifiers: dict[str, Classifier] = field(default_factory=dict)
    extractors: dict[str, Extractor] = field(default_factory=dict)
    usual: dict[str, str] = field(default_factory=dict)

    @classmethod
    def train(cls, spec: ClassicalTrainSpec, compiled: CompiledSchema, rows: Sequence[Row]) -> "ClassicalPredictors":
        """Trains on rows. Deterministic for a seed, a machine and versions of the libraries."""
        texts = [row.text for row in rows]
        gold = {
            item.pattern: [value_at(row.gold, item.pattern) for row in rows]
            for item in compiled.fields
            if _single(item)
        }
        model = cls(compiled, None, usual=_usual(gold))
        classes = class_fields(compiled)
        if classes:
            model.features = new_features(spec.kind)
            vectors = model.features.fit(texts)
            strength = model.features.regularization
            for item in classes:
                model.classifiers[item.pattern] = Classifier.train(
                    vectors, gold[item.pattern], regularization=strength, seed=spec.seed
                )
        for item in extracted_fields(compiled):
            extractor = Extractor.train(compiled, item, texts, gold[item.pattern], seed=spec.seed)
            if extractor is not None:
                model.extractors[item.pattern] = extractor
        return model

    def predict(self, text: str) -> ClassicalPrediction:
        """The output for a document. It is valid under the schema except where a value that it requires is unknown."""
        values: dict[str, Any] = {}
        confidence: dict[str, float] = {}
        if self.features is not None:
            vectors = self.features.transform([text])
            for pattern, classifier in self.classifiers.items():
                values[pattern], confidence[pattern] = classifier.predict(vectors)
        for pattern, extractor in self.extractors.items():
            values[pattern], confidence[pattern] = extractor.predict(text)
        output = self._assembled(self.compiled.root, values)
        output = {} if output is _MISSING else output
        return ClassicalPrediction(self.compiled.canonical(output), confidence)

    def _assembled(self, node: Node, values: Mapping[str, Any]) -> Any:
        if node.shape == "object":
            parts = {name: self._assembled(child, values) for name, child in node.children.items()}
            present = {name: value for name, value in parts.items() if value is not _MISSING}
            is_empty = all(value is None for value in present.values())
            return present if node.required or not is_empty else None if node.nullable else _MISSING
        value = values.get(node.pattern)
        if value is not None:
            return value
        if node.nullable:
            return None
        if not node.required:
            return _MISSING
        if node.shape == "array":
            return []
        return loads(self.usual[node.pattern]) if node.pattern in self.usual else _MISSING

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Writes the files of the model. ``facts``: what is recorded with it."""
        values, arrays = self.features.state() if self.features is not None else ({}, {})
        fields: dict[str, Any] = {}
        for number, (pattern, classifier) in enumerate(self.classifiers.items()):
            fields[pattern] = {"classes": classifier.classes, "number": number}
            arrays |= {f"classifier.{number}.weights": classifier.weights, f"classifier.{number}.bias": classifier.bias}
        extractors: dict[str, Any] = {}
        for number, (pattern, extractor) in enumerate(self.extractors.items()):
            extractors[pattern], array = extractor.state()
            extractors[pattern]["number"] = number
            arrays[f"extractor.{number}.weights"] = array
        stored = {
            "format": FORMAT,
            "schema_sha256": self.compiled.hash,
            "classifiers": fields,
            "extractors": extractors,
            "usual": self.usual,
            "facts": dict(facts),
            **({"features": values} if values else {}),
        }
        (folder / "model.json").write_text(json.dumps(stored, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "arrays.safetensors")

    @classmethod
    def load(cls, folder: Path, compiled: CompiledSchema) -> "ClassicalPredictors":
        """Reads a model."""
        stored = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "arrays.safetensors")
        features = load_features(stored["features"], arrays) if "features" in stored else None
        model = cls(compiled, features, usual=stored["usual"])
        for pattern, values in stored["classifiers"].items():
            weights, bias = (arrays[f"classifier.{values['number']}.{name}"] for name in ("weights", "bias"))
            model.classifiers[pattern] = Classifier(tuple(values["classes"]), weights, bias)
        for pattern, values in stored["extractors"].items():
            weights = arrays[f"extractor.{values['number']}.weights"]
            model.extractors[pattern] = Extractor.load(compiled, compiled.by_pattern[pattern], values, weights)
        return model


def _single(item: Any) -> bool:
    return "[]" not in item.pattern and bool(item.pattern)


def value_at(value: Any, pattern: str) -> Any:
    """The value at a path without rows; None where there is none."""
    for step in split(pattern):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _usual(gold: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    usual = {}
    for pattern, values in gold.items():
        counts = Counter(dumps(value) for value in values if value is not None)
        if counts:
            usual[pattern] = min(counts, key=lambda text: (-counts[text], text))
    return usual
