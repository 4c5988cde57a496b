"""Answers the documents of a spec with a classical model: ``python -m evaluation.ml.classical.answer SPEC.yaml``.

Events as those of ``evaluation.ml.generate``. One document at a time; there are no tokens. ``confidence`` has the
probability of each predicted field.
"""

import sys
import time
from pathlib import Path

from evaluation.inference.classical_spec import ClassicalSpec
from evaluation.ml.classical.model import ClassicalPredictors
from evaluation.ml.classical.train import PACKAGES
from evaluation.ml.prompts import DocumentOutput, selected_rows, write_outputs
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from slmstudio.workers.hardware import host_environment, peak_resident_bytes
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.events import Emitter, describe_error, run_child

#: characters of a document; every word of it can begin some candidates
MAX_CHARACTERS = 250_000
#: how the error of a longer document begins
TOO_LONG = "The document has "


def answer(model: ClassicalPredictors, row: Row) -> DocumentOutput:
    """The output for one document, or why there is none. Never raises."""
    if len(row.text) > MAX_CHARACTERS:
        error = f"{TOO_LONG}{len(row.text):,} characters, more than {MAX_CHARACTERS:,}."
        return DocumentOutput.failed(row.id, error, 0)
    started = time.perf_counter()
    try:
        made = model.predict(row.text)
    except Exception as error:
        return DocumentOutput.failed(row.id, describe_error(error)[1], (time.perf_counter() - started) * 1000)
    confidence = {path: (round(value, 6), round(value, 6)) for path, value in made.confidence.items()}
    elapsed = round((time.perf_counter() - started) * 1000, 3)
    return DocumentOutput(row.id, made.text, "stop", elapsed, 0, 0, "", confidence)


def main(spec: ClassicalSpec, emitter: Emitter) -> None:
    """The child process."""
    folder = Path(spec.model.path)
    if spec.model.sha256 and folder_hash(folder) != spec.model.sha256:
        raise Refused("The files of the classical model have changed: their hash differs.", code="model")
    schema = compiled(spec.contract)
    selected = selected_rows(read_rows(spec.documents.path, spec.documents.sha256), spec.documents)
    started = time.perf_counter()
    model = ClassicalPredictors.load(folder, schema)
    answer(model, selected[0])  # the first call imports and allocates
    environment = host_environment(PACKAGES)
    emitter.emit(
        "start",
        documents=len(selected),
        device="cpu",
        processor=environment["processor"],
        environment={**environment, "device": "cpu"},
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        seed=spec.seed,
        at_once=1,
    )
    write_outputs(spec.outputs, (answer(model, row) for row in selected), emitter, peak_resident_bytes)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, ClassicalSpec.from_yaml, main))
