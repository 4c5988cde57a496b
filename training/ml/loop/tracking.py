"""The curves of a run for TensorBoard and Weights & Biases. The studio's own pages need neither.

Both follow the events that everybody else is told. A tracker that fails is dropped with a warning, and the run goes on.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from slmstudio.errors import Refused
from training.ml.events import Emitter
from training.spec import RunSpec

_NAMES = {
    "metrics": ("train", ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")),
    "validation": ("validation", ("loss",)),
    "samples": ("samples", ("field_exact", "schema_valid")),
}


class Tracker(Protocol):
    """Somewhere that curves go."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Points of one step."""

    def close(self) -> None:
        """Writes what is held back."""


def check(spec: RunSpec) -> None:
    """Refused, naming the field, where a tracker's package is missing."""
    for name in spec.trackers:
        if find_spec(name) is None:
            raise Refused(
                f"trackers: {name} is not installed here. Install it (pip install {name}), or leave it out.",
                code="trackers",
            )


def follow(spec: RunSpec, emitter: Emitter, *, resumed_from: int) -> Callable[[], None]:
    """Has the spec's trackers follow the events; returns what closes them. ``resumed_from``: the last step before."""
    opened: dict[str, Tracker] = {}

    def guarded(name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a tracker raises
            opened.pop(name, None)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # its text may name hosts and people
            message = f"{name} has stopped following this run ({type(error).__name__}). The run's log has more."
            emitter.emit("warning", step=resumed_from, message=message)

    def start(name: str) -> None:
        opened[name] = _OPENERS[name](spec, resumed_from)

    def heard(event: str, values: dict[str, Any]) -> None:
        points = _points(event, values)
        for name, tracker in list(opened.items()) if points else ():
            guarded(name, partial(tracker.log, int(values["step"]), points))

    def close() -> None:
        for name, tracker in list(opened.items()):
            guarded(name, tracker.close)

    for name in spec.trackers:
        guarded(name, partial(start, name))
    emitter.follow(heard)
    return close


def _points(event: str, values: dict[str, Any]) -> dict[str, float]:
    group, names = _NAMES.get(event, ("", ()))
    return {f"{group}/{name}": float(values[name]) for name in names if values.get(name) is not None}


class _TensorBoard:
    """Event files below ``<output_dir>/tensorboard``, for ``tensorboard --logdir``."""

    def __init__(self, spec: RunSpec, resumed_from: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(spec.output_dir) / "tensorboard"
        # Points of a run that was killed, after its last checkpoint, are told again: the reader drops the first ones.
        self._writer = SummaryWriter(str(folder), purge_step=resumed_from + 1 if resumed_from else None, flush_secs=10)
        if not resumed_from:
            self._writer.add_text("spec", "    " + spec.to_yaml().replace("\n", "\n    "), 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Points of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is held back."""
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases below ``<output_dir>/wandb``. Offline unless WANDB_MODE says otherwise."""

    def __init__(self, spec: RunSpec, resumed_from: int) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # its own crash reports would go out all the same
        import wandb

        Path(spec.output_dir).mkdir(parents=True, exist_ok=True)
        name = Path(spec.output_dir).name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "slm-studio"),
            name=name,
            # The same after a resume, so that `wandb sync` puts both parts together.
            id=hashlib.sha256(os.path.realpath(spec.output_dir).encode()).hexdigest()[:16],
            resume="allow",
            dir=spec.output_dir,
            mode=mode,
            config={key: value for key, value in asdict(spec).items() if key != "contract"},
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True),
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Points of one step."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Writes what is held back."""
        self._run.finish()


_OPENERS: dict[str, Callable[[RunSpec, int], Tracker]] = {"tensorboard": _TensorBoard, "wandb": _Wandb}
