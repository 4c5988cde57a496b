"""Several processes share a run: each step matches that of one process, and one of them emits events."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.ml.test_train import Events, run, spec_in
from tests.training.ml_data import named
from tests.training.ml_process import nursery

CHANGES: dict[str, Any] = {"batch_size": 2, "max_steps": 4, "eval_every": 1, "lora": {"r": 4, "alpha": 8}}


def launch(spec: Path, *flags: str, stop: bool = False) -> Events:
    """The events of two processes; with ``stop`` both are stopped after their first step."""
    events: Events = []
    for event in nursery().run(spec, "--processes=2", *flags):
        events.append(event)
        if stop and event["event"] == "metrics":
            nursery().send(signal.SIGTERM)
            stop = False
    assert nursery().code == 0, events[-1:]
    return events


@pytest.mark.slow
def test_two_processes_match_one_with_and_without_a_stop(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_in(tmp_path / "two", devices=2, **CHANGES).to_yaml())
    first = launch(spec, stop=True)
    assert named(first, "done")[0]["stopped"] is True
    rest = launch(spec, "--resume")
    single = run(tmp_path / "one", accumulation=2, **CHANGES)
    for name in ("start", "done"):
        assert len(named(rest, name)) == 1
    assert named(rest, "start")[0]["resumed_from"] == named(first, "checkpoint")[-1]["step"] < 4
    for alone in named(single, "metrics"):
        [shared] = [step for step in named(rest, "metrics") if step["step"] == alone["step"]]  # reported again
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert shared["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
        assert shared["tokens"] == alone["tokens"]
    assert (tmp_path / "two" / "out" / "merged").is_dir()
    assert json.loads((tmp_path / "two" / "out" / "environment.json").read_text())["devices"] == 2
