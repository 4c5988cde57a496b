"""The precision that a run computes in."""

import json
from pathlib import Path

import pytest
import torch

from training.ml.hardware import device as machine
from training.ml.train import original_precision
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gain", "chosen"), [(0.5, "fp32"), (1.0, "fp32"), (1.9, "bf16")])
def test_bf16_is_chosen_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda: True)
    monkeypatch.setattr(machine, "_bf16_speedup", lambda: gain)
    assert machine.resolve_precision("auto", CPU) == chosen
    assert machine.resolve_precision("bf16", CPU) == "bf16", "an explicit choice is kept"


def test_processes_of_one_run_agree_without_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda: True)
    monkeypatch.setattr(machine, "_bf16_speedup", lambda: pytest.fail("each would time for itself"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert machine.resolve_precision("auto", CPU) == "fp32"


def test_bf16_speedup_is_measured() -> None:
    assert 0.02 < machine._bf16_speedup() < 50


def test_resumed_run_keeps_its_precision(tmp_path: Path) -> None:
    spec = RunSpec(
        base_model=ModelRef(path=""),
        dataset=DatasetRef(path=""),
        contract=ContractRef(instruction="", schema={}),
        output_dir=str(tmp_path),
    )
    assert original_precision(tmp_path, spec) == "auto"
    (tmp_path / "environment.json").write_text(json.dumps({"precision": "bf16"}), encoding="utf-8")
    assert original_precision(tmp_path, spec) == "bf16"
    (tmp_path / "environment.json").write_text("cut off", encoding="utf-8")
    assert original_precision(tmp_path, spec) == "auto"
