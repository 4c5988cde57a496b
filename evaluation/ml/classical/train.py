"""Trains a classical model: ``python -m evaluation.ml.classical.train SPEC.yaml``.

Events: start {documents}; done {labels, labels_sha256, classes, seconds, seed, environment}. The folder of the spec
appears whole.
"""

import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from evaluation.inference.classical_spec import ClassicalTrainSpec
from evaluation.ml.classical.model import ClassicalPredictors
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from slmstudio.workers.hardware import host_environment
from training.ml.data.rows import Row, compiled, of_split, read_rows
from training.ml.events import Emitter, run_child

PACKAGES = ("scikit-learn", "numpy", "scipy", "torch", "transformers", "tokenizers")


def training_rows(spec: ClassicalTrainSpec, rows: list[Row]) -> list[Row]:
    """The training rows of a spec. A number of labels takes the first ones in an order that the seed draws.

    Raises:
        Refused: there are fewer than the spec asks for, or none.
    """
    excluded = set(spec.excluded)
    labeled = sorted((row for row in of_split(rows, "train") if row.id not in excluded), key=lambda row: row.id)
    random.Random(spec.seed).shuffle(labeled)
    if not labeled or len(labeled) < spec.labels:
        raise Refused(
            f"The training split has {len(labeled):,} labels that can be used; {max(spec.labels, 1):,} are needed.",
            code="dataset",
        )
    return labeled[: spec.labels] if spec.labels else labeled


def labels_sha256(rows: list[Row]) -> str:
    """SHA-256 of the ids and gold of the rows, whatever their order."""
    return sha256_text("\n".join(sorted(dumps([row.id, row.gold]) for row in rows)))


def main(spec: ClassicalTrainSpec, emitter: Emitter) -> None:
    """The child process."""
    schema = compiled(spec.contract)
    rows = training_rows(spec, read_rows(spec.dataset.path, spec.dataset.sha256))
    emitter.emit("start", documents=len(rows))
    started = time.perf_counter()
    model = ClassicalPredictors.train(spec, schema, rows)
    facts: dict[str, Any] = {
        "kind": spec.kind,
        "labels": len(rows),
        "labels_sha256": labels_sha256(rows),
        "classes": sum(len(classifier.classes) for classifier in model.classifiers.values()),
        "seed": spec.seed,
    }
    folder = Path(spec.output_dir)
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    model.save(draft, facts)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    seconds = round(time.perf_counter() - started, 2)
    emitter.emit("done", **facts, seconds=seconds, environment=host_environment(PACKAGES))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, ClassicalTrainSpec.from_yaml, main))
