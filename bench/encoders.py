"""A replica of a trained encoder on one core: documents per second, memory, agreement of int8 with fp32, calibration.

    .venv/bin/python -m bench.encoders MODEL_FOLDER --data receipts.jsonl --schema receipt.json [--documents 200]

``MODEL_FOLDER`` is the folder ``merged`` of a training run. A row of the data has a text; where all have gold, too, the
accuracy and the calibration of each field are printed, with a 95% interval by resampling the documents. On a machine
that does other work, processor time says what the replica needs: it does not count the waiting for the core.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import psutil

from bench.harness import free_port, running, table, wait_for
from serving.confidence.calibration import calibration_error, cross_fitted, judged_fields
from serving.engines import ENGINES
from serving.packages.spec import FILE, OutputTokens, ServeSpec
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from training.ml.encoders.onnx_scorer import FILES, OnnxPrecision
from training.spec import ContractRef

CONCURRENT = 4
#: of the documents, for the interval of a calibration error
RESAMPLES = 1000


@dataclass
class Figures:
    """Of one replica. ``processor_ms``: of one document; ``answers``: the outputs."""

    megabytes: float
    memory: float
    per_second: float
    processor_ms: float
    median_ms: float
    answers: list[dict[str, Any]]


def main() -> None:
    """Exports the model, asks a replica of each precision, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with text")
    parser.add_argument("--schema", type=Path, required=True, help="JSON Schema, or an object with it as schema")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    value = loads(options.schema.read_text(encoding="utf-8"))
    schema = value.get("schema", value)
    rows = [loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()[: options.documents]]
    texts = [row["text"] for row in rows]
    with tempfile.TemporaryDirectory(prefix="slm-encoders-") as temporary:
        folder = Path(temporary)
        from training.ml.encoders.onnx_export import export_onnx  # loads torch

        export_onnx(options.model, compile_schema(schema), folder / "model", get_args(OnnxPrecision))
        made = {name: measured(folder, name, schema, texts, options.core) for name in ("encoder", "encoder_fp32")}
    heads = ("", "file MB", "memory MB", "documents/s", "processor ms", "median ms")
    lines = [
        (ENGINES[name].label, *(f"{number:,.1f}" for number in list(vars(figures).values())[:-1]))
        for name, figures in made.items()
    ]
    print(table(f"{len(texts)} documents, one core, {CONCURRENT} at once", heads, lines))
    pairs = zip(made["encoder"].answers, made["encoder_fp32"].answers, strict=True)
    outputs = [(json.loads(left["raw"] or "{}"), json.loads(right["raw"] or "{}")) for left, right in pairs]
    fields = [left.get(name) == value for left, right in outputs for name, value in right.items()]
    print(f"{len(fields) - sum(fields)} of {len(fields)} top-level values differ in int8.")
    if all("gold" in row for row in rows):
        for name, figures in made.items():
            print(calibration_table(ENGINES[name].label, compile_schema(schema), rows, figures.answers))


def calibration_table(
    title: str, schema: CompiledSchema, rows: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]
) -> str:
    """By field: values, how many of them are right, and the expected calibration error of their probabilities.

    As they are, calibrated on four fifths of the documents at a time, and of probabilities that are exactly right: with
    few values the error of those is no zero either.
    """
    samples = [
        (str(number), field)
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True))
        for field in judged_fields(
            schema, text=row["text"], gold=row["gold"], raw=answer["raw"] or "", probabilities=answer["confidence"]
        )
        or ()
        if field.probability is not None
    ]
    values: dict[str, list[tuple[str, float, float, bool]]] = {}  # document, probability, calibrated, whether right
    for (document, field), calibrated in zip(samples, cross_fitted(samples), strict=True):
        values.setdefault(field.pattern, []).append((document, field.probability or 0, calibrated, field.is_correct))
    lines = []
    for pattern, of_field in values.items():
        right = sum(is_right for *_, is_right in of_field)
        as_is = interval([(document, (raw, is_right)) for document, raw, _, is_right in of_field])
        fitted = interval([(document, (sure, is_right)) for document, _, sure, is_right in of_field])
        exact = perfect([sure for _, _, sure, _ in of_field])
        lines.append((pattern, str(len(of_field)), f"{100 * right / len(of_field):.1f}%", as_is, fitted, exact))
    return table(title, ("field", "values", "right", "as they are", "calibrated", "exact probabilities"), lines)


def interval(pairs: Sequence[tuple[str, tuple[float, bool]]]) -> str:
    """The expected calibration error with a 95% interval, by resampling documents."""
    by_document: dict[str, list[tuple[float, bool]]] = {}
    for document, pair in pairs:
        by_document.setdefault(document, []).append(pair)
    documents, draw = list(by_document.values()), random.Random(1)
    drawn = sorted(
        calibration_error([pair for document in draw.choices(documents, k=len(documents)) for pair in document])
        for _ in range(RESAMPLES)
    )
    low, high = drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40]
    return f"{calibration_error([pair for _, pair in pairs]):.3f} ({low:.3f} to {high:.3f})"


def perfect(probabilities: Sequence[float]) -> str:
    """The mean error where values are right exactly as often as these probabilities say."""
    draw = random.Random(1)
    errors = [
        calibration_error([(probability, draw.random() < probability) for probability in probabilities])
        for _ in range(RESAMPLES)
    ]
    return f"{sum(errors) / len(errors):.3f}"


def measured(folder: Path, engine: str, schema: Any, texts: Sequence[str], core: int) -> Figures:
    """Asks a replica of the package in ``folder`` for every text."""
    contract = ContractRef(instruction="Extract.", schema=schema)
    spec = ServeSpec(engine=engine, contract=contract, output_tokens=OutputTokens(reserved=0, maximum=0))
    (folder / FILE).write_text(spec.to_yaml(), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "serving.ml.replica", str(folder), "--address", f"http://127.0.0.1:{port}"]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # the replica inherits it
    with running(*command, quiet=True) as process:
        os.sched_setaffinity(0, allowed)
        wait_for(port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:

            def ask(text: str) -> tuple[dict[str, Any], float]:
                began = time.perf_counter()
                return client.post("/answer", json={"text": text}).json(), 1_000 * (time.perf_counter() - began)

            ask(texts[0])
            before, began = _processor(process), time.perf_counter()
            with ThreadPoolExecutor(CONCURRENT) as threads:
                answers = [answer for answer, _ in threads.map(ask, texts)]
            seconds, used = time.perf_counter() - began, _processor(process) - before
            alone = sorted(latency for _, latency in map(ask, texts[: len(texts) // 4]))
        memory = process.memory_info().rss / 1e6
    size = (folder / "model" / FILES[ENGINES[engine].precision]).stat().st_size / 1e6
    latency = alone[len(alone) // 2]
    return Figures(size, memory, len(texts) / seconds, 1_000 * used / len(texts), latency, answers)


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
