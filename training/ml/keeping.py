"""Writes a run's checkpoints while it is trained, and takes the run up again from the newest whole one."""

from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from training.ml.building import leads
from training.ml.checkpoints import Checkpoint, NoRoom, Store
from training.ml.course import check_same, course_hash
from training.ml.events import Emitter, Refused
from training.ml.report import Reporter
from training.ml.resumable import ResumableTrainer


class Keeper:
    """The checkpoints of one run below ``<output_dir>/state``."""

    def __init__(
        self, folder: Path, course: dict[str, Any], trainer: ResumableTrainer, reporter: Reporter, emitter: Emitter
    ) -> None:
        """``course``: what the run depends on; a checkpoint of another one is refused."""
        self.store = Store(folder)
        self._course = course
        self._trainer = trainer
        self._reporter = reporter
        self._emitter = emitter
        self._said_full = False
        trainer.keep = self.keep

    def begin(self, *, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from, with the reporter set back to it. A run that starts afresh clears the others.

        Raises:
            Refused: the newest checkpoint was written for another spec, model or dataset.
        """
        found = self.store.newest(self._damaged) if resume else None
        if found is None:
            if leads():
                self.store.clear()
            self._trainer.accelerator.wait_for_everyone()
            return None
        check_same(found.facts["course"], self._course)
        self._reporter.restore(found.step, found.facts["progress"])
        return found

    def keep(self) -> None:
        """Writes a checkpoint of now and tells of it. Without room the run goes on and says so, once.

        Raises:
            Refused: there is no room, and early stopping needs this very checkpoint to come back to.
        """
        states = self._trainer.random_states()
        failed = [self._write(states) if leads() else ""]
        if self._trainer.args.world_size > 1:
            broadcast_object_list(failed)
        self._reporter.kept()
        if not failed[0]:
            return
        step = self._trainer.state.global_step
        if self._reporter.looks.patience is not None and self._reporter.looks.best_step == step:
            raise Refused("disk", f"{failed[0]} The run was ended, because early_stopping has to keep its best step.")
        if not self._said_full:
            self._said_full = True
            then = "The run stops without one." if self._reporter.stopped else "The run goes on."
            self._emitter.emit("warning", step=step, message=f"{failed[0]} {then}")

    def restore_best(self) -> None:
        """Has the weights of the best look in the model; a warning where they are gone."""
        best = self._reporter.looks.best_step
        if best is None or best == self._trainer.state.global_step:
            return
        found = self.store.read(best)
        if found is None:
            message = f"The weights of step {best}, the best one, cannot be read. Those of the last step are saved."
            self._emitter.emit("warning", step=self._trainer.state.global_step, message=message)
            return
        self._trainer.load_weights(found.path)

    def _write(self, states: list[dict[str, Any]]) -> str:
        """Empty, or a sentence about why there was no room."""
        step = self._trainer.state.global_step
        progress = self._reporter.state()
        facts = {
            "course": self._course,
            "course_sha256": course_hash(self._course),
            "best_step": progress["best_step"] if self._reporter.looks.patience is not None else None,
            "progress": progress,
        }
        try:
            made = self.store.write(
                step,
                facts,
                lambda folder: self._trainer.write(folder, states),
                needed=self._trainer.checkpoint_bytes(),
            )
        except NoRoom as error:
            return str(error)
        self._said_full = False
        self._emitter.emit("checkpoint", step=step, path=str(made.path), bytes=made.bytes, sha256=made.sha256)
        return ""

    def _damaged(self, step: int) -> None:
        message = f"The checkpoint of step {step} is damaged and is not used; the one before it is."
        self._emitter.emit("warning", step=step, message=message)
