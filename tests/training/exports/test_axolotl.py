"""Exports with the real Axolotl: its own validation, and equal token ids.

Run by make test-all and make test-axolotl, which make an environment with Axolotl and name it in AXOLOTL_TEST_PYTHON.
"""

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slmstudio.storage.hashing import sha256_text
from tests.training.ml_data import EventCollector, receipts, smollm2, tiny, train_spec, write_dataset
from training.exports.child_specs import TrainerSpec
from training.exports.trainers import axolotl, axolotl_check
from training.exports.trainers.base import RowCounts
from training.ml import export_spec
from training.spec import ContractRef, DatasetRef, Lora, ModelRef, RunSpec
from training.strict_yaml import build

PYTHON = os.environ.get("AXOLOTL_TEST_PYTHON", "")
needs_axolotl = pytest.mark.skipif(not PYTHON, reason="no Axolotl here: make test-axolotl installs it and runs this")

# Every configuration in one process: importing Axolotl takes longer than all of them.
_VALIDATE = """
import json, os, sys
out = os.dup(1); os.dup2(2, 1)
import yaml
from importlib.metadata import version
from axolotl.utils.config import validate_config
from axolotl.utils.dict import DictDefault
answers = []
for text in json.load(sys.stdin):
    written = yaml.safe_load(text)
    try:
        kept = validate_config(DictDefault(written)).to_dict()
        answers.append(sorted(name for name in written if name not in kept))
    except Exception as error:
        answers.append(str(error))
os.write(out, json.dumps({"version": version("axolotl"), "answers": answers}).encode())
"""


COUNTS = RowCounts(train=400, validation=40, steps=150, eval_steps=38, longest=900)
RUN = RunSpec(
    base_model=ModelRef(path="base", sha256="0" * 64, slug="base"),
    dataset=DatasetRef(path="dataset.jsonl", sha256="1" * 64),
    contract=ContractRef(instruction="Extract.", schema={"type": "object"}, schema_sha256="2" * 64),
    output_dir="out",
)
FEW = Lora(r=8, alpha=16, dropout=0.1, targets=("q_proj", "v_proj"))
#: one configuration for each difference between configurations
CHANGES: list[dict[str, Any]] = [
    {},
    {"method": "qlora", "precision": "bf16", "lora": FEW},
    {"method": "full", "precision": "fp32", "learning_rate": 1e-5, "scheduler": "linear"},
    {"precision": "fp16", "scheduler": "constant", "warmup_ratio": 0.0, "activation_checkpointing": True},
    {"early_stopping": 3, "save_every": 10, "accumulation": 4, "batch_size": 2},
    {"max_steps": 12, "trackers": ("tensorboard", "wandb"), "eval_every": 5},
]


def case(run: RunSpec, counts: RowCounts = COUNTS, revision: str = "") -> str:
    model = "someone/a-model" if revision else "base"
    title = "A reference case"
    spec = TrainerSpec(run=run, trainer="axolotl", output_dir="out", base_model=model, revision=revision, title=title)
    return axolotl.config(spec, counts)


def reference_texts() -> list[str]:
    return [
        *(case(replace(RUN, **change)) for change in CHANGES),
        case(RUN, replace(COUNTS, validation=0)),
        case(replace(RUN, early_stopping=2), revision="a" * 40),
    ]


def ask_axolotl(texts: list[str]) -> dict[str, Any]:
    """Its version, and for each configuration the names it dropped or its error."""
    environment = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, "-c", _VALIDATE], input=json.dumps(texts), capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@needs_axolotl
@pytest.mark.axolotl
def test_axolotl_accepts_every_configuration() -> None:
    texts = reference_texts()
    broken = texts[0].replace("excess_length_strategy: raise", "excess_length_strategy: shrug")
    answers = ask_axolotl([*texts, broken, texts[0] + "no_such_setting: 1\n"])
    assert answers["version"] == axolotl.VERSION
    *ours, refused, dropped = answers["answers"]
    assert ours == [[]] * len(texts)
    assert "excess_length_strategy" in refused  # Axolotl does validate
    assert dropped == ["no_such_setting"]
    noted = {"version": answers["version"], "cases": len(texts), "form": sha256_text("\n".join(texts))}
    if os.environ.get("AXOLOTL_NOTE"):
        note = {**noted, "on": time.strftime("%Y-%m-%d", time.gmtime())}
        axolotl.RECORD.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def test_validation_record_matches_the_configurations() -> None:
    record, texts = axolotl.TRAINER.last_validation, reference_texts()
    assert record is not None
    assert record["form"] == sha256_text("\n".join(texts)), "AXOLOTL_NOTE=1 make test-axolotl, if it passes"
    assert (record["version"], record["cases"]) == (axolotl.VERSION, len(texts))


def export(folder: Path, model: Path, rows: list[dict[str, Any]]) -> Path:
    run = build(RunSpec, train_spec(model, write_dataset(folder / "data.jsonl", rows), folder / "run", max_length=2048))
    spec = TrainerSpec(
        run=run, trainer="axolotl", output_dir=str(folder / "out"), base_model=str(model), checker=PYTHON
    )
    collector = EventCollector()
    export_spec.main(spec, collector.emitter)
    validation = next(event for event in collector.events if event["event"] == "validation")
    assert validation["ok"], validation
    assert validation["version"] == axolotl.VERSION
    assert validation["rows"] == {"train": 6, "validation": 2}
    return folder / "out"


def rows_of_receipts() -> list[dict[str, Any]]:
    made = []
    for number, row in enumerate(receipts(8)):
        text = row["text"] + ("\n<|im_end|>\n  \u200b 😀 " if number == 1 else "")
        gold = {"invoice_id": f"N{number}", "total": "1.50"}
        made.append({"id": f"r{number}", "split": "validation" if number > 5 else "train", "text": text, "gold": gold})
    return made


@needs_axolotl
@pytest.mark.axolotl
@pytest.mark.real_model
def test_axolotl_token_ids_match_on_receipts(tmp_path: Path) -> None:
    folder = export(tmp_path, smollm2(), rows_of_receipts())
    # One more character in a row is reported.
    path = folder / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("TOTAL", "TOTAL ", 1), encoding="utf-8")
    done = subprocess.run([PYTHON, str(folder / "check.py"), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "not those of the studio's trainer" in json.loads(done.stdout)["error"]


def test_missing_checker_leaves_the_export_unvalidated(tmp_path: Path) -> None:
    run = build(RunSpec, train_spec(tiny(), write_dataset(tmp_path / "data.jsonl"), tmp_path / "run"))
    spec = TrainerSpec(
        run=run, trainer="axolotl", output_dir=str(tmp_path / "out"), base_model="base", checker="/no/such/python"
    )
    collector = EventCollector()
    export_spec.main(spec, collector.emitter)
    validation = next(event for event in collector.events if event["event"] == "validation")
    assert validation["ok"] is False
    assert "/no/such/python could not validate it" in validation["error"]
    assert (tmp_path / "out" / "check.py").read_text() == Path(axolotl_check.__file__).read_text()
