"""Saves a run's checkpoints and events, and resumes the run from the newest intact checkpoint."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file, sha256_text
from training.ml.events import Emitter, event_line, is_main_process
from training.ml.loop.checkpoints import Checkpoint, CheckpointStore, DiskFull
from training.ml.loop.progress_callback import ProgressCallback
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

#: the events of a step; each has its step
RECORDED_EVENTS = ("metrics", "validation", "samples", "warning", "checkpoint")
#: settings that do not affect the weights
IGNORED_SETTINGS = ("output_dir", "save_every", "trackers", "sample_documents", "sample_seconds", "keep_best_and_last")


class CheckpointManager:
    """The checkpoints of one run below ``<output_dir>/state``."""

    def __init__(
        self,
        folder: Path,
        fingerprint_values: dict[str, Any],
        trainer: ResumableTrainer,
        progress: ProgressCallback,
        emitter: Emitter,
    ) -> None:
        """``fingerprint_values``: what the results depend on; a checkpoint with other values is rejected."""
        self.store = CheckpointStore(folder)
        self._event_log = EventLog(folder / "events.jsonl")
        self._fingerprint_values = fingerprint_values
        self._trainer = trainer
        self._progress = progress
        self._emitter = emitter
        self._warned_full = False
        trainer.save_checkpoint = self.save_checkpoint

    def find_checkpoint(self, *, resume: bool) -> Checkpoint | None:
        """The checkpoint to resume from, with the progress restored to it; later ones are deleted.

        Without one, or without ``resume``, all are deleted.

        Raises:
            Refused: the newest checkpoint belongs to another spec, model or dataset.
        """
        newest = self.store.newest(self._warn_damaged) if resume else None
        if newest is None:
            if is_main_process():
                self.store.clear()
            self._trainer.accelerator.wait_for_everyone()
            return None
        check_fingerprint(newest.facts["course"], self._fingerprint_values)
        if is_main_process():
            self.store.remove_above(newest.step)
        self._progress.restore(newest.step, newest.facts["progress"])
        return newest

    def replay_events(self, checkpoint: Checkpoint | None) -> None:
        """Right after ``start``: repeats the events up to the checkpoint, and records later ones for the next resume.

        The supervisor may have been killed before it stored the earlier events.
        """
        if not is_main_process():
            return
        for line in self._event_log.events_up_to(checkpoint.step) if checkpoint else ():
            self._emitter.emit_recorded(line)
        self._emitter.subscribe(self._event_log.record)
        if checkpoint:
            self._emit_checkpoint(checkpoint)

    def save_checkpoint(self) -> None:
        """Saves a checkpoint and emits its event. On a full disk the run continues, with one warning.

        Raises:
            Refused: the disk is full, and early stopping needs this checkpoint to restore the best weights.
        """
        states = self._trainer.random_states()
        failed = [self._write(states) if is_main_process() else ""]
        if self._trainer.args.world_size > 1:
            broadcast_object_list(failed)
        self._progress.on_checkpoint_saved()
        if not failed[0]:
            return
        step = self._trainer.state.global_step
        if self._progress.early_stopping.keeps_best and self._progress.early_stopping.best_step == step:
            raise Refused(
                f"{failed[0]} The run was stopped, because early_stopping needs the checkpoint of its best step.",
                code="disk",
            )
        if not self._warned_full:
            self._warned_full = True
            outcome = "The run stops without one." if self._progress.stopped else "The run continues."
            self._emitter.emit("warning", step=step, message=f"{failed[0]} {outcome}")

    def restore_best(self) -> int | None:
        """After training: gives the model the weights to save, those of the best step or of the last, averaged or not.

        Emits a warning where those of the best step are missing. Returns the best step where the model has its weights;
        else None.
        """
        self._trainer.use_average()
        early_stopping = self._progress.early_stopping
        best = early_stopping.best_step
        if best is None or best == self._trainer.state.global_step:
            return best
        if not early_stopping.keeps_best:
            return None
        checkpoint = self.store.read(best)
        if checkpoint is None:
            message = f"The weights of the best step, {best}, cannot be read. The weights of the last step are saved."
            self._emitter.emit("warning", step=self._trainer.state.global_step, message=message)
            return None
        self._trainer.load_result(checkpoint.path)
        return best

    def load_other(self, kept: int | None) -> int | None:
        """After ``restore_best``, which returned ``kept``: where best and last are both kept, loads the weights that it
        did not choose.

        Returns their step; None where both are the same, or where they cannot be read, with a warning.
        """
        early_stopping = self._progress.early_stopping
        last, best = self._trainer.state.global_step, early_stopping.best_step
        if not early_stopping.keeps_both or best is None or best == last:
            return None
        if early_stopping.keeps_best and kept is None:  # the model has the weights of the last step already
            return None
        step = best if kept is None else last
        checkpoint = self.store.read(step)
        if checkpoint is None:
            message = f"The weights of step {step} cannot be read. Only those of step {kept or last} are saved."
            self._emitter.emit("warning", step=last, message=message)
            return None
        self._trainer.load_result(checkpoint.path)
        return step

    def _write(self, states: list[dict[str, Any]]) -> str:
        """Saves a checkpoint; returns a message where the disk is full, else an empty text."""
        step = self._trainer.state.global_step
        state = self._progress.state()
        facts = {
            "course": self._fingerprint_values,
            "best_step": state["best_step"] if self._progress.early_stopping.needs_best else None,
            "progress": state,
        }

        def fill(folder: Path) -> None:
            self._trainer.write_checkpoint(folder, states)
            self._event_log.flush()  # before the checkpoint becomes valid, so that no event up to it is missing

        try:
            checkpoint = self.store.write(step, facts, fill, needed=self._trainer.checkpoint_bytes())
        except DiskFull as error:
            return str(error)
        self._warned_full = False
        self._emit_checkpoint(checkpoint)
        return ""

    def _emit_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._emitter.emit(
            "checkpoint",
            step=checkpoint.step,
            path=str(checkpoint.path),
            bytes=checkpoint.bytes,
            sha256=checkpoint.sha256,
        )

    def _warn_damaged(self, step: int) -> None:
        message = f"The checkpoint of step {step} is damaged; the one before it is used."
        self._emitter.emit("warning", step=step, message=message)


# -- recorded events ---------------------------------------------------------------------------------------------------


class EventLog:
    """Records events in memory and, with ``flush``, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0  # valid bytes of the file; later ones are overwritten
        self._pending: list[str] = []

    def events_up_to(self, step: int) -> list[str]:
        """The lines of the steps up to ``step``. Later lines are overwritten: those steps are trained again."""
        try:
            text = self._path.read_bytes()
        except OSError:
            return []  # a run of an older version
        lines = []
        self._size = 0
        for line in text.splitlines(keepends=True):
            if not line.endswith(b"\n") or not 0 <= _step(line) <= step:
                break
            self._size += len(line)
            lines.append(line.decode().rstrip("\n"))
        return lines

    def record(self, event: str, values: dict[str, Any]) -> None:
        """Records an event of a step."""
        if event in RECORDED_EVENTS:
            self._pending.append(event_line(event, values))

    def flush(self) -> None:
        """Writes all recorded events to disk. After an OSError the next call writes them again."""
        lines = "".join(f"{line}\n" for line in self._pending).encode("utf-8", "backslashreplace")
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(lines)
        self._pending = []


def _step(line: bytes) -> int:
    """The step of an event; -1 where the line is not a valid one."""
    try:
        event = json.loads(line)
        return int(event["step"]) if event["event"] in RECORDED_EVENTS else -1
    except (ValueError, KeyError, TypeError):
        return -1


# -- what the results depend on ----------------------------------------------------------------------------------------


def fingerprint_values(spec: RunSpec, *, precision: str) -> dict[str, Any]:
    """Dotted names of the spec with their values; model and dataset by their hashes instead of paths.

    ``precision``: what ``auto`` resolved to on this machine.
    """
    values = {key: value for key, value in asdict(spec).items() if key not in IGNORED_SETTINGS}
    values["precision"] = precision
    values["base_model"] = spec.base_model.sha256 or folder_hash(spec.base_model.path)
    values["dataset"] = spec.dataset.sha256 or sha256_file(spec.dataset.path)
    values["silver"] = spec.silver.sha256 if spec.silver is not None else None
    values["contract"]["schema"] = sha256_text(json.dumps(spec.contract.schema, default=str))
    return _as_json(values)


def check_fingerprint(stored: dict[str, Any], current: dict[str, Any]) -> None:
    """Raises Refused, with the fields, where a checkpoint has another fingerprint than the run.

    A field that did not exist when the checkpoint was written counts as its default.
    """
    before = {**_defaults(), **stored}
    changed = sorted(name for name in {*before, *current} if before.get(name) != current.get(name))
    if changed:
        raise Refused(
            f"The checkpoint was saved with a different {_listed(changed)}. A run can resume only with the same spec, "
            "model and dataset. Start a new run.",
            code="resume",
        )


def _defaults() -> dict[str, Any]:
    """The fingerprint values of a spec with defaults only."""
    contract = ContractRef(instruction="", schema={})
    blank = RunSpec(base_model=ModelRef(path=""), dataset=DatasetRef(path=""), contract=contract, output_dir="")
    values = {
        key: value for key, value in asdict(blank).items() if key not in (*IGNORED_SETTINGS, "base_model", "dataset")
    }
    return _as_json(values)


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Flat, with the types that a checkpoint's file gives back: lists for tuples."""
    flat: dict[str, Any] = json.loads(json.dumps(_flat(values)))
    return flat


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
