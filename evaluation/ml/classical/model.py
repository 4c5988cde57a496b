"""A classical model: a predictor for each field of a schema, and its files.

The folder has ``model.json`` and ``arrays.safetensors``, and no code: what a model does is in this package.
"""

import json
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
from slmstudio.contract.assembly import assembled, usual_values, value_at
from slmstudio.contract.schema.compiled import CompiledSchema
from training.ml.data.rows import Row

FORMAT = 1


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
        model = cls(compiled, None, usual=usual_values(gold))
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
        output = assembled(self.compiled.root, values, self.usual)
        return ClassicalPrediction(self.compiled.canonical(output), confidence)

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
