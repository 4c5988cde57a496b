"""A small language model for experiments: trained and run by the child processes of the product, without a studio."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path
from typing import Any

from evaluation.inference.spec import DocumentsRef, EvalSpec
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.scoring.scorer import DocumentScore, score_document
from slmstudio.runs.child_environment import cpu_settings
from slmstudio.stack.environment import ROOT
from training.hyperparameters.values import Hyperparameters
from training.ml.data.rows import Row
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec, WindowPlan


@dataclass(frozen=True)
class Trained:
    """A fine-tuned model: its folder, how it reads long documents, and the minutes of training."""

    folder: Path
    windows: WindowPlan | None
    minutes: float


class Task:
    """A contract and a base model, with a folder for everything that is written."""

    def __init__(self, folder: Path, base: Path, instruction: str, schema: dict[str, Any]) -> None:
        self.folder = folder
        self.compiled: CompiledSchema = compile_schema(schema)
        self._base = base
        self._contract = ContractRef(instruction=instruction, schema=schema)
        folder.mkdir(parents=True, exist_ok=True)

    def train(self, name: str, rows: Sequence[Row], hyperparameters: Hyperparameters, **changes: Any) -> Trained:
        """Fine-tunes the base model on rows."""
        chosen = {
            field: getattr(hyperparameters, field)
            for field in ("method", "learning_rate", "epochs", "batch_size", "accumulation", "augmentation")
        }
        spec = RunSpec(
            base_model=ModelRef(path=str(self._base)),
            dataset=DatasetRef(path=str(self._write(f"{name}.train", rows, "train"))),
            contract=self._contract,
            output_dir=str(self.folder / name),
            sample_documents=0,
            **{**chosen, **changes},
        )
        started = time.monotonic()
        events = self._child("training.ml.train", name, spec.to_yaml())
        windows = next(event["windows"] for event in events if event["event"] == "start")
        plan = WindowPlan(**{key: windows[key] for key in ("size", "whole", "answer")}) if windows else None
        return Trained(self.folder / name / "merged", plan, (time.monotonic() - started) / 60)

    def answer(self, model: Trained, rows: Sequence[Row], *, name: str, at_once: int = 1) -> list[dict[str, Any]]:
        """The outputs of a model for rows, in their order: ``raw``, ``latency_ms``, ``windows``."""
        outputs = self.folder / f"{name}.outputs.jsonl"
        spec = EvalSpec(
            model=ModelRef(path=str(model.folder)),
            contract=self._contract,
            documents=DocumentsRef(path=str(self._write(f"{name}.documents", rows, "holdout")), split="holdout"),
            outputs=str(outputs),
            at_once=at_once,
            windows=model.windows,
        )
        self._child("evaluation.ml.generate", name, spec.to_yaml())
        found = {one["id"]: one for one in map(json.loads, outputs.read_text(encoding="utf-8").splitlines())}
        return [found[row.id] for row in rows]

    def scores(self, rows: Sequence[Row], outputs: Sequence[dict[str, Any]]) -> list[DocumentScore]:
        """Every output against its gold."""
        return [
            score_document(self.compiled, text=row.text, gold=row.gold, raw=output["raw"])
            for row, output in zip(rows, outputs, strict=True)
        ]

    def _write(self, name: str, rows: Sequence[Row], split: str) -> Path:
        path = self.folder / f"{name}.jsonl"
        lines = [dumps({"id": row.id, "split": split, "text": row.text, "gold": row.gold}) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    def _child(self, module: str, name: str, spec: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.{module.rpartition('.')[2]}.yaml"
        path.write_text(spec, encoding="utf-8")
        with path.with_suffix(".log").open("w+", encoding="utf-8") as log:
            done = subprocess.run(
                [sys.executable, "-m", module, str(path)], cwd=ROOT, env={**cpu_settings(), **environ},
                stdout=log, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            log.seek(0)
            lines = log.readlines()
            if done.returncode:
                raise SystemExit(f"{module} failed: {''.join(lines[-5:])}")
            return [json.loads(line) for line in lines if line.startswith('{"event"')]


def gold_of(value: Any, rows: Sequence[Row]) -> list[Row]:
    """The rows with other labels, by place."""
    return [replace(row, gold=one) for row, one in zip(rows, value, strict=True)]
