"""Answers the documents of a spec with a trained encoder: ``python -m evaluation.ml.answer_encoder SPEC.yaml``.

The same spec, events and file as ``evaluation.ml.generate``. Nothing is generated: prompt, examples and maximum output
length do not apply, ``mode`` is constrained, and ``confidence`` always has the probability of each field.

Latency is that of one document at a time: tokenization, windows of tokens, heads, decoding. With ``at_once`` documents
of similar length are computed together, and the latency of each is that of its batch.
"""

import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.inference.spec import EvalSpec
from evaluation.ml.prompts import DocumentOutput, selected_rows, write_outputs
from slmstudio.errors import Refused
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.encoders.predictor import MAX_CHARACTERS, NO_TEXT, TOO_LONG, Prediction, Predictor, load_predictor
from training.ml.events import Emitter, describe_error, run_child
from training.ml.hardware import device as machine
from training.ml.modeling.folder_checks import check_ref, is_encoder


def answers(predictor: Predictor, rows: Sequence[Row], at_once: int) -> Iterator[DocumentOutput]:
    """The output of each document; in batches the longest first."""
    ordered = rows if at_once == 1 else sorted(rows, key=lambda row: (-len(row.text), row.id))
    for at in range(0, len(ordered), at_once):
        yield from answer_batch(predictor, ordered[at : at + at_once])


def answer_batch(predictor: Predictor, rows: Sequence[Row]) -> list[DocumentOutput]:
    """The output for each document, or why there is none. Never raises: of a batch that fails, each document is
    answered by itself.
    """
    started = time.perf_counter()
    readable = [row for row in rows if not _obstacle(row.text)]
    try:
        predictions = predictor.predict_together([row.text for row in readable])
    except Exception as error:
        if len(rows) > 1:
            traceback.print_exc()
            return [output for row in rows for output in answer_batch(predictor, [row])]
        if not isinstance(error, Refused):
            traceback.print_exc()
        return [DocumentOutput.failed(rows[0].id, describe_error(error)[1], _milliseconds(started))]
    elapsed = _milliseconds(started)
    by_id = {row.id: prediction for row, prediction in zip(readable, predictions, strict=True)}
    return [
        _output(row.id, by_id[row.id], elapsed)
        if row.id in by_id
        else DocumentOutput.failed(row.id, _obstacle(row.text), elapsed)
        for row in rows
    ]


def _obstacle(text: str) -> str:
    """Why a document cannot be read; "" if it can."""
    if len(text) > MAX_CHARACTERS:
        return f"{TOO_LONG}{len(text):,} characters, more than {MAX_CHARACTERS:,}."
    return "" if text.strip() else NO_TEXT


def _output(name: str, prediction: Prediction, latency_ms: float) -> DocumentOutput:
    confidence = {path: (round(value, 6), round(value, 6)) for path, value in prediction.confidence.items()}
    return DocumentOutput(name, prediction.text, "stop", latency_ms, prediction.tokens, 0, "", confidence)


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    if not is_encoder(check_ref(spec.model)):
        raise Refused("This model is not an encoder.", code="model")
    schema = compiled(spec.contract)
    selected = selected_rows(read_rows(spec.documents.path, spec.documents.sha256), spec.documents)
    machine.set_threads()
    device = machine.pick_device()
    precision = machine.resolve_precision(spec.precision, device)
    started = time.perf_counter()
    predictor = load_predictor(Path(spec.model.path), schema, precision)
    answer_batch(predictor, selected[:1])  # the first call imports and allocates
    environment = machine.environment(device, precision)
    emitter.emit(
        "start",
        documents=len(selected),
        device=device.type,
        precision=precision,
        threads=environment["threads"],
        processor=environment["processor"],
        environment=environment,
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        seed=spec.seed,
        at_once=spec.at_once,
    )
    write_outputs(
        spec.outputs, answers(predictor, selected, spec.at_once), emitter, lambda: machine.memory_bytes(device)
    )


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))
