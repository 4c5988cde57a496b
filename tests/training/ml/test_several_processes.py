"""Several processes share a run: each step matches that of one process, and one of them emits events."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.ml.test_train import Events, run, spec_in
from tests.training.ml_data import REPO, named

CHANGES: dict[str, Any] = {"batch_size": 2, "max_steps": 4, "eval_every": 1, "lora": {"r": 4, "alpha": 8}}
#: what `accelerate launch` calls for GPUs; for a CPU it would want MPI
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "training.ml.train")


def launch(spec: Path, *flags: str, stop: bool = False) -> Events:
    """The events of two processes; with ``stop`` both are stopped after their first step."""
    group = subprocess.Popen(
        [sys.executable, *LAUNCHER, str(spec), *flags],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    assert group.stdout is not None
    events: Events = []
    for line in group.stdout:
        events.append(json.loads(line))
        if stop and events[-1]["event"] == "metrics":
            os.killpg(group.pid, signal.SIGTERM)
            stop = False
    group.wait(timeout=120)
    return events


@pytest.mark.slow
def test_two_processes_match_one_with_and_without_a_stop(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec_in(tmp_path / "two", devices=2, **CHANGES).to_yaml())
    first = launch(spec, stop=True)
    assert named(first, "done")[0]["stopped"] is True
    rest = launch(spec, "--resume")
    one = run(tmp_path / "one", accumulation=2, **CHANGES)
    for name in ("start", "done"):
        assert len(named(rest, name)) == 1
    assert named(rest, "start")[0]["resumed_from"] == named(first, "checkpoint")[-1]["step"] < 4
    for alone in named(one, "metrics"):
        [shared] = [step for step in named(rest, "metrics") if step["step"] == alone["step"]]  # reported again
        assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert shared["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
        assert shared["tokens"] == alone["tokens"]
    assert (tmp_path / "two" / "out" / "merged").is_dir()
    assert json.loads((tmp_path / "two" / "out" / "environment.json").read_text())["devices"] == 2
