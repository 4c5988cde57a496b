"""Exports with the real Axolotl: its own validation, and equal token ids.

Run by make test-all and make test-axolotl, which make an environment with Axolotl and name it in AXOLOTL_TEST_PYTHON.
"""

import json
import os
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.training.ml_data import EventCollector, receipts, smollm2, tiny, train_spec, write_dataset
from training.exports.child_specs import TrainerSpec
from training.exports.trainers import axolotl, axolotl_check
from training.ml import export_spec
from training.spec import RunSpec
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


def ask_axolotl(texts: list[str]) -> dict[str, Any]:
    """Its version, and for each configuration the names it dropped or its error."""
    environment = {**os.environ, "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, "-c", _VALIDATE], input=json.dumps(texts), capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_axolotl
@pytest.mark.axolotl
def test_axolotl_accepts_every_configuration() -> None:
    texts = [axolotl.config(spec, counts) for spec, counts in axolotl.reference_cases()]
    broken = texts[0].replace("excess_length_strategy: raise", "excess_length_strategy: shrug")
    found = ask_axolotl([*texts, broken, texts[0] + "no_such_setting: 1\n"])
    assert found["version"] == axolotl.VERSION
    *ours, refused, dropped = found["answers"]
    assert ours == [[]] * len(texts)
    assert "excess_length_strategy" in refused  # Axolotl does validate
    assert dropped == ["no_such_setting"]
    noted = {"version": found["version"], "cases": len(texts), "form": axolotl.configuration_hash()}
    if os.environ.get("AXOLOTL_NOTE"):
        note = {**noted, "on": time.strftime("%Y-%m-%d", time.gmtime())}
        axolotl.NOTE.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def test_validation_record_matches_the_configurations() -> None:
    fact = axolotl.last_validation()
    assert fact is not None, "what is written for Axolotl has changed: AXOLOTL_NOTE=1 make test-axolotl, if it passes"
    assert (fact.version, fact.cases) == (axolotl.VERSION, len(axolotl.reference_cases()))


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


def test_studio_does_not_depend_on_axolotl() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("axolotl")
