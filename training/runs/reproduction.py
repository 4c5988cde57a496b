"""Trains the model of a finished run again, in the foreground: the child process of its job, in another folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slmstudio.storage.hashing import folder_manifest
from slmstudio.workers.gpu_reservations import reserve_gpus
from training.child_processes import Event, run_in_foreground, spec_file
from training.models import ModelVersion
from training.runs.jobs import trainer_command, verify_inputs
from training.runs.run_spec import resolved_spec
from training.spec import CARD_FILES, RunSpec


@dataclass(frozen=True)
class RepeatedTraining:
    """A model that was trained again: the folder with its merged weights, and the facts of its ``start`` event."""

    folder: Path
    facts: dict[str, Any]


def run_on_device(
    command: list[str], log: Path, on_event: Callable[[Event], None], devices: int = 1
) -> dict[str, Event]:
    """Runs a child process as the jobs do, on devices that no other job uses; returns the last event of each name.

    ``on_event`` also gets ``waiting`` while they are in use.

    Raises:
        ChildFailed, NotEnoughGpus: as ``run_in_foreground`` and ``reserve_gpus``.
    """

    def wait() -> bool:
        on_event({"event": "waiting"})
        return True

    with reserve_gpus(devices, wait=wait) as reserved:
        return run_in_foreground(command, log, on_event=on_event, env=reserved.env, keep=reserved.locks)


def train_again(*, version: ModelVersion, folder: Path, on_event: Callable[[Event], None]) -> RepeatedTraining:
    """Trains by the spec of a version's run, with the precision that it resolved to. Nothing of the run changes.

    Raises:
        ChildFailed: the base model or the dataset is missing or changed, or the training failed.
        NotEnoughGpus: the machine has fewer GPUs than the spec needs.
    """
    run, both = version.training_run, version.is_alternative
    spec = resolved_spec(run, RunSpec.from_yaml(run.spec))
    spec = replace(spec, output_dir=str(folder), trackers=(), keep_best_and_last=both)
    verify_inputs(spec)
    path = spec_file(spec.to_yaml())
    try:
        events = run_on_device(trainer_command(spec, path), folder / "log.txt", on_event, spec.devices)
    finally:
        path.unlink(missing_ok=True)
    return RepeatedTraining(folder / ("other/merged" if both else "merged"), events.get("start", {}))


def changed_files(version: ModelVersion, folder: Path) -> list[str]:
    """The files of a model version that differ in a folder, or that only one of them has; its card does not count."""
    before = {str(entry["path"]): str(entry["sha256"]) for entry in version.files if entry["path"] not in CARD_FILES}
    now = {entry["path"]: entry["sha256"] for entry in folder_manifest(folder) if entry["path"] not in CARD_FILES}
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
