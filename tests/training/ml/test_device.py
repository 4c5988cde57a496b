"""Which floats a run computes in."""

import json
from pathlib import Path

import pytest
import torch

from training.ml.hardware import device as machine
from training.ml.train import original_precision
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize(("gain", "chosen"), [(0.5, "fp32"), (1.0, "fp32"), (1.9, "bf16")])
def test_bf16_is_chosen_where_it_is_faster_not_where_it_is_there(
    monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str
) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda: True)
    monkeypatch.setattr(machine, "_bf16_speedup", lambda: gain)
    assert machine.resolve_precision("auto", CPU) == chosen
    assert machine.resolve_precision("bf16", CPU) == "bf16", "what a person chose stands"


def test_processes_of_one_run_agree_without_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda: True)
    monkeypatch.setattr(machine, "_bf16_speedup", lambda: pytest.fail("each would time for itself"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert machine.resolve_precision("auto", CPU) == "fp32"


def test_the_gain_is_timed_on_this_very_machine() -> None:
    assert 0.02 < machine._bf16_speedup() < 50


def test_a_run_goes_on_with_the_floats_it_began_with(tmp_path: Path) -> None:
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
