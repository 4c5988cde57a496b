"""Saves a run's checkpoints, and resumes the run from the newest intact one."""

from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from slmstudio.errors import Refused
from training.ml.events import Emitter
from training.ml.loop.checkpoints import Checkpoint, CheckpointStore, DiskFull
from training.ml.loop.event_log import EventLog
from training.ml.loop.fingerprint import check_fingerprint, fingerprint
from training.ml.loop.launch import is_main_process
from training.ml.loop.progress_callback import ProgressCallback
from training.ml.loop.resumable_trainer import ResumableTrainer


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
        found = self.store.newest(self._warn_damaged) if resume else None
        if found is None:
            if is_main_process():
                self.store.clear()
            self._trainer.accelerator.wait_for_everyone()
            return None
        check_fingerprint(found.facts["course"], self._fingerprint_values)
        if is_main_process():
            self.store.remove_above(found.step)
        self._progress.restore(found.step, found.facts["progress"])
        return found

    def replay_events(self, found: Checkpoint | None) -> None:
        """Right after ``start``: repeats the events up to the checkpoint, and records later ones for the next resume.

        The supervisor may have been killed before it stored the earlier events.
        """
        if not is_main_process():
            return
        for line in self._event_log.events_up_to(found.step) if found else ():
            self._emitter.emit_recorded(line)
        self._emitter.subscribe(self._event_log.record)
        if found:
            self._emit_checkpoint(found)

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
        found = self.store.read(best)
        if found is None:
            message = f"The weights of the best step, {best}, cannot be read. The weights of the last step are saved."
            self._emitter.emit("warning", step=self._trainer.state.global_step, message=message)
            return None
        self._trainer.load_result(found.path)
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
        found = self.store.read(step)
        if found is None:
            message = f"The weights of step {step} cannot be read. Only those of step {kept or last} are saved."
            self._emitter.emit("warning", step=last, message=message)
            return None
        self._trainer.load_result(found.path)
        return step

    def _write(self, states: list[dict[str, Any]]) -> str:
        """Saves a checkpoint; returns a message where the disk is full, else an empty text."""
        step = self._trainer.state.global_step
        state = self._progress.state()
        facts = {
            "course": self._fingerprint_values,
            "course_sha256": fingerprint(self._fingerprint_values),
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
