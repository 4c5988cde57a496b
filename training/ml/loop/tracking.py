"""Trackers: the curves of a run in TensorBoard and Weights & Biases, from its events.

A tracker that fails is dropped with a warning, and the run continues.
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

TRACKED_VALUES = {
    "metrics": ("train", ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")),
    "validation": ("validation", ("loss",)),
    "samples": ("samples", ("field_exact", "schema_valid")),
}


class Tracker(Protocol):
    """A destination for curves."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Logs the values of one step."""

    def close(self) -> None:
        """Writes pending values."""


def check_trackers(spec: RunSpec) -> None:
    """Raises Refused where a tracker's package is missing."""
    for name in spec.trackers:
        if find_spec(name) is None:
            raise Refused(
                f"trackers: package {name} is not installed. Install it (pip install {name}), or remove the tracker.",
                code="trackers",
            )


def start_trackers(spec: RunSpec, emitter: Emitter, *, resumed_from: int) -> Callable[[], None]:
    """Subscribes the spec's trackers to the events; returns a function that closes them.

    ``resumed_from``: the step of the checkpoint, 0 without one.
    """
    opened: dict[str, Tracker] = {}

    def guarded(name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a tracker raises
            opened.pop(name, None)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)  # its text can name hosts and users
            message = f"{name} failed and was turned off ({type(error).__name__}). See the run's log."
            emitter.emit("warning", step=resumed_from, message=message)

    def start(name: str) -> None:
        opened[name] = _OPENERS[name](spec, resumed_from)
        if address := getattr(opened[name], "url", None):
            emitter.emit("tracker", name=name, url=address)

    def on_event(event: str, values: dict[str, Any]) -> None:
        points = _points(event, values)
        for name, tracker in list(opened.items()) if points else ():
            guarded(name, partial(tracker.log, int(values["step"]), points))

    def close() -> None:
        for name, tracker in list(opened.items()):
            guarded(name, tracker.close)

    for name in spec.trackers:
        guarded(name, partial(start, name))
    emitter.subscribe(on_event)
    return close


def _points(event: str, values: dict[str, Any]) -> dict[str, float]:
    group, names = TRACKED_VALUES.get(event, ("", ()))
    return {f"{group}/{name}": float(values[name]) for name in names if values.get(name) is not None}


def run_url() -> str:
    """The address of the run's page in the studio, which its supervisor sets; empty on the command line."""
    return os.environ.get("SLM_RUN_URL", "")


def _config(spec: RunSpec) -> dict[str, Any]:
    return {key: value for key, value in asdict(spec).items() if key != "contract"}


class _TensorBoard:
    """Event files below ``<output_dir>/tensorboard``, for ``tensorboard --logdir``."""

    def __init__(self, spec: RunSpec, resumed_from: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(spec.output_dir) / "tensorboard"
        # A resumed run repeats the points after its last checkpoint; TensorBoard drops the earlier ones.
        self._writer = SummaryWriter(str(folder), purge_step=resumed_from + 1 if resumed_from else None, flush_secs=10)
        if not resumed_from:
            self._writer.add_text("spec", "    " + spec.to_yaml().replace("\n", "\n    "), 0)
            self._writer.add_text("studio", run_url(), 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Logs the values of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes pending values."""
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases below ``<output_dir>/wandb``. Offline unless WANDB_MODE says otherwise."""

    def __init__(self, spec: RunSpec, resumed_from: int) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # otherwise it sends crash reports even offline
        import wandb

        Path(spec.output_dir).mkdir(parents=True, exist_ok=True)
        name = Path(spec.output_dir).name
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "slm-studio"),
            name=name,
            # The same id after a resume, so that `wandb sync` joins both parts.
            id=hashlib.sha256(os.path.realpath(spec.output_dir).encode()).hexdigest()[:16],
            resume="allow",
            dir=spec.output_dir,
            mode=mode,
            notes=run_url(),
            config={"studio_run": run_url(), **_config(spec)},
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True),
        )

    @property
    def url(self) -> str | None:
        """The run's page at Weights & Biases; None where it is offline."""
        return str(self._run.url) if self._run.url else None

    def log(self, step: int, values: dict[str, float]) -> None:
        """Logs the values of one step."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Writes pending values."""
        self._run.finish()


_OPENERS: dict[str, Callable[[RunSpec, int], Tracker]] = {"tensorboard": _TensorBoard, "wandb": _Wandb}
