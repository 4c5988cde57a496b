"""A trainer without a model: it emits events and saves checkpoints like the real one, in milliseconds.

``python -m tests.training.fake_trainer SPEC.yaml [--resume]``. ``fake.json`` in the folder has its plan:
``steps``, ``pace`` (seconds a step), ``save_every``, and faults: ``die_at`` (a step at which it kills itself, once),
``die_always``, ``error_at`` (a step with an ``error`` event, once), ``slow_save`` (seconds that a checkpoint takes).
A spec with ``eval_every`` is evaluated four times, with the field accuracy of ``objective``.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from slmstudio.runs.parent_death import die_with_parent
from slmstudio.storage.hashing import folder_hash
from training.spec import RunSpec

TOKENS_A_STEP = 100


def loss(step: int) -> float:
    """The same curve in every attempt."""
    return round(2.0 / step, 6)


def objective(learning_rate: float) -> float:
    """A field accuracy that is the highest at a learning rate of 0.001."""
    return round(0.9 - 0.2 * abs(math.log10(learning_rate) + 3), 6)


def emit(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


class Fake:
    """One attempt."""

    def __init__(self, spec: RunSpec, resume: bool) -> None:
        self.spec = spec
        self.folder = folder = Path(spec.output_dir)
        self.plan = {"steps": 20, "pace": 0.02, "save_every": 5, "slow_save": 0.0}
        if (folder / "fake.json").exists():
            self.plan |= json.loads((folder / "fake.json").read_text())
        self.state = folder / "state.json"
        saved = json.loads(self.state.read_text()) if resume and self.state.exists() else {}
        self.first = int(saved.get("step", 0))
        self.earlier_seconds = float(saved.get("seconds", 0.0))
        self.stopped = False
        self.began = 0.0
        signal.signal(signal.SIGTERM, self._stop)
        with (folder / "attempts.jsonl").open("a") as file:
            devices = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES",)}
            file.write(json.dumps({"from": self.first, "pid": os.getpid(), **devices}) + "\n")

    def _stop(self, *_: object) -> None:
        self.stopped = True

    def run(self) -> None:
        steps = int(self.plan["steps"])
        self.began = time.monotonic()
        emit("start", total_steps=steps, train_rows=14, resumed_from=self.first)
        step = self.first
        for step in range(self.first + 1, steps + 1):
            time.sleep(self.plan["pace"])
            emit("metrics", step=step, loss=loss(step), epoch=step / steps)
            if self.spec.eval_every and step % (steps // 4) == 0:
                emit("samples", step=step, field_exact=objective(self.spec.learning_rate), rows=[])
            self._fault(step)
            if self.stopped or step % int(self.plan["save_every"]) == 0:
                self._save(step)
            if self.stopped:
                break
        if not self.stopped:
            for kind in ("adapter", "merged"):
                self._artifact(kind)
        emit("done", steps=step, seconds=self.seconds, tokens=step * TOKENS_A_STEP, stopped=self.stopped)

    @property
    def seconds(self) -> float:
        """Of all attempts, as far as their work is kept."""
        return self.earlier_seconds + time.monotonic() - self.began

    def _save(self, step: int) -> None:
        time.sleep(self.plan["slow_save"])
        self.state.with_suffix(".new").write_text(json.dumps({"step": step, "seconds": self.seconds}))
        self.state.with_suffix(".new").rename(self.state)
        emit("checkpoint", step=step, path="state", bytes=9, sha256="0" * 64)

    def _artifact(self, kind: str) -> None:
        target = self.folder / kind
        target.mkdir(exist_ok=True)
        (target / "model.safetensors").write_bytes(b"weights")
        (target / "tokenizer.json").write_text("{}")
        emit("artifact", kind=kind, path=str(target), files=[], sha256=folder_hash(target))

    def _fault(self, step: int) -> None:
        if step == self.plan.get("die_always") or (step == self.plan.get("die_at") and self._once("died")):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.plan.get("error_at") and self._once("erred"):
            emit("error", kind="disk", message="The disk is full. Free some space.")
            sys.exit(1)

    def _once(self, name: str) -> bool:
        mark = self.folder / name
        if mark.exists():
            return False
        mark.touch()
        return True


if __name__ == "__main__":
    die_with_parent()
    Fake(RunSpec.from_yaml(Path(sys.argv[1]).read_text()), "--resume" in sys.argv).run()
