"""Faults during a run: the error names what to change, and checkpoints are kept."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from slmstudio.errors import Refused
from tests.training.ml.test_resume import outcome, spec_file
from tests.training.ml.test_train import run
from tests.training.ml_data import named, rows, tiny
from tests.training.ml_process import nursery


@pytest.mark.slow
def test_out_of_memory_names_settings_to_change(tmp_path: Path) -> None:
    made = rows(train=2, validation=0)
    for row in made:
        row["text"] += " and again" * 200
    spec = spec_file(tmp_path, made=made, batch_size=2, max_length=2048, early_stopping=None, method="full")
    events = list(nursery().run(spec, "--AS=60000000"))
    assert nursery().code == 2
    assert named(events, "start")
    assert events[-1]["kind"] == "memory"
    assert "batch_size" in events[-1]["message"]
    assert "max_length" in events[-1]["message"]


@pytest.mark.slow
def test_full_disk_at_the_end_fails_only_the_save(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, max_steps=2)
    events = list(nursery().run(spec, "--FSIZE=300000"))
    assert nursery().code == 2
    assert (events[-1]["kind"], named(events, "checkpoint")[-1]["step"]) == ("disk", 2)
    assert "Free some space" in events[-1]["message"]
    assert not (tmp_path / "out" / "merged").exists(), "half a model would fill the disk and be of no use"
    again = list(nursery().run(spec, "--resume"))
    assert named(again, "metrics") == named(events, "metrics")  # reported again, not trained again
    assert outcome(again)["steps"] == 2


@pytest.mark.slow
def test_full_disk_for_checkpoints_is_warned_once(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, max_steps=3, save_every=1, early_stopping=None)
    events = list(nursery().run(spec, "--FSIZE=60000"))
    messages = [event["message"] for event in named(events, "warning") if "could not be saved" in event["message"]]
    assert len(messages) == 1
    assert messages[0].endswith("The run continues.")
    assert [event["step"] for event in named(events, "metrics")] == [1, 2, 3]
    assert not named(events, "checkpoint")
    assert not list((tmp_path / "out" / "state").iterdir())


def test_early_stopping_fails_where_the_best_step_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(Refused, match="early_stopping") as caught:
        run(tmp_path, eval_every=1, early_stopping=9, sample_documents=0)
    assert caught.value.code == "disk"
    assert not list((tmp_path / "out" / "state").iterdir())


def test_nan_loss_names_the_learning_rate(tmp_path: Path) -> None:
    broken = tmp_path / "model"
    shutil.copytree(tiny(), broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"].fill_(math.inf)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refused, match="learning_rate") as caught:
        run(tmp_path, model=broken)
    assert caught.value.code == "diverged"
    assert not (tmp_path / "out" / "state").exists()
