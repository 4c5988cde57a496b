"""Writes a run's checkpoints while it is trained, and takes the run up again from the newest whole one."""

from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from slmstudio.errors import Refused
from training.ml.events import Emitter
from training.ml.loop.checkpoints import Checkpoint, NoRoom, Store
from training.ml.loop.event_log import Told
from training.ml.loop.fingerprint import check_same, course_hash
from training.ml.loop.progress_callback import Reporter
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.modeling.assembly import leads


class Keeper:
    """The checkpoints of one run below ``<output_dir>/state``."""

    def __init__(
        self, folder: Path, course: dict[str, Any], trainer: ResumableTrainer, reporter: Reporter, emitter: Emitter
    ) -> None:
        """``course``: what the run depends on; a checkpoint of another one is refused."""
        self.store = Store(folder)
        self._told = Told(folder / "events.jsonl")
        self._course = course
        self._trainer = trainer
        self._reporter = reporter
        self._emitter = emitter
        self._said_full = False
        trainer.keep = self.keep

    def begin(self, *, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from, with the reporter set back to it. Others after it, or all of them where the run
        starts afresh, are removed.

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
        if leads():
            self.store.remove_above(found.step)
        self._reporter.restore(found.step, found.facts["progress"])
        return found

    def tell_again(self, found: Checkpoint | None) -> None:
        """Right after ``start``: tells what was told of the steps up to the checkpoint that the run goes on from, since
        whoever listened may have been killed before it was noted. From here on everything is kept for the next time.
        """
        if not leads():
            return
        for line in self._told.up_to(found.step) if found else ():
            self._emitter.repeat(line)
        self._emitter.follow(self._told.hear)
        if found:
            self._tell(found)

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
            raise Refused(
                f"{failed[0]} The run was ended, because early_stopping has to keep its best step.", code="disk"
            )
        if not self._said_full:
            self._said_full = True
            then = "The run stops without one." if self._reporter.stopped else "The run goes on."
            self._emitter.emit("warning", step=step, message=f"{failed[0]} {then}")

    def restore_best(self) -> int | None:
        """With early stopping, has the weights of the best look in the model; a warning where they are gone.

        Returns the step of the best look where the model has its weights, with or without early stopping; else None.
        """
        looks = self._reporter.looks
        best = looks.best_step
        if best is None or best == self._trainer.state.global_step:
            return best
        if looks.patience is None:
            return None
        found = self.store.read(best)
        if found is None:
            message = f"The weights of step {best}, the best one, cannot be read. Those of the last step are saved."
            self._emitter.emit("warning", step=self._trainer.state.global_step, message=message)
            return None
        self._trainer.load_weights(found.path)
        return best

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

        def fill(folder: Path) -> None:
            self._trainer.write(folder, states)
            self._told.flush()  # before the checkpoint counts, so that nothing up to it is ever missing

        try:
            made = self.store.write(step, facts, fill, needed=self._trainer.checkpoint_bytes())
        except NoRoom as error:
            return str(error)
        self._said_full = False
        self._tell(made)
        return ""

    def _tell(self, made: Checkpoint) -> None:
        self._emitter.emit("checkpoint", step=made.step, path=str(made.path), bytes=made.bytes, sha256=made.sha256)

    def _damaged(self, step: int) -> None:
        message = f"The checkpoint of step {step} is damaged and is not used; the one before it is."
        self._emitter.emit("warning", step=step, message=message)
