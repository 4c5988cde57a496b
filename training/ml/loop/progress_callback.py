"""Turns what the trainer does into events, and stops it when it is asked to or when it has gone astray.

The order within a step is the trainer's: weights move, ``on_step_end``, ``on_log``, and where one is due a look at the
validation split and a checkpoint. So a checkpoint always stands between two steps, and all about the first is told.
"""

import math
import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from slmstudio.errors import Refused
from training.ml.events import Emitter
from training.ml.hardware import device as machine
from training.ml.loop.curve_warnings import Watch
from training.ml.loop.early_stopping import Looks
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.trainer import Stopped

_MOST_METRICS = 2000
#: seconds after which a checkpoint is written without anything else to call for it
SAVE_SECONDS = 300.0


class StopSignal:
    """Set by SIGTERM and SIGINT: the run ends after the step it is in, with a checkpoint."""

    def __init__(self) -> None:
        self.set = False

    def listen(self) -> None:
        """Installs the handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.set = True


class Reporter(TrainerCallback):
    """The events of a run: metrics, validation, samples, warning. Also decides when a checkpoint is due."""

    def __init__(
        self,
        emitter: Emitter,
        stop: StopSignal,
        sample: Callable[[], dict[str, Any]] | None,
        *,
        looks: Looks | None = None,
        watch: Watch | None = None,
        save_every: int | None = None,
    ) -> None:
        """``sample`` gives the values of a ``samples`` event; called after each look at the validation split.

        ``save_every``: steps between checkpoints; None: after each look and every five minutes.
        """
        self._emitter = emitter
        self._stop = stop
        self._sample = sample
        self._save_every = save_every
        self._trainer: ResumableTrainer | None = None
        self._step_started = 0.0
        self._seen_before = 0
        self._train_started = 0.0
        self._rate = 0.0
        self._started = time.monotonic()
        self._kept_at = time.monotonic()
        self._first_step = 0
        self._seconds_before = 0.0
        self._peak_before = 0
        self.looks = looks or Looks()
        self.watch = watch or Watch()
        self.tokens = 0
        self.look_due = False  # this step's look at the validation split was asked for and not taken
        self.stopped = False
        self.stopped_early = False

    def attach(self, trainer: ResumableTrainer) -> None:
        """The trainer whose tokens are counted."""
        self._trainer = trainer

    @property
    def seconds(self) -> float:
        """Time spent on this run, that of the processes before a resume included as far as their work counts."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def peak_memory(self) -> int:
        """Most bytes that any process of this run has used."""
        assert self._trainer is not None
        return max(self._peak_before, machine.memory_bytes(self._trainer.args.device))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON values."""
        return {
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.peak_memory,
            "look_due": self.look_due,
            "stopped_early": self.stopped_early,
            "best_step": self.looks.best_step,
            "looks": self.looks.state(),
            "watch": self.watch.state(),
        }

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Goes on after ``step`` from what ``state`` gave."""
        self._first_step = step
        self.tokens = int(state["tokens"])
        self._seconds_before = float(state["seconds"])
        self._peak_before = int(state["peak_memory_bytes"])
        self.look_due, self.stopped_early = bool(state["look_due"]), bool(state["stopped_early"])
        self.looks.restore(state["looks"])
        self.watch.restore(state["watch"])

    def kept(self) -> None:
        """A checkpoint has been written, or tried: the next one is due in five minutes."""
        self._kept_at = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock of the time left."""
        self._train_started = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Notes time and tokens."""
        assert self._trainer is not None
        self._step_started = time.monotonic()
        self._seen_before = self._trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts the step's tokens; says what is due after it, or that it is the last one."""
        assert self._trainer is not None
        late = self._save_every is None and time.monotonic() - self._kept_at >= SAVE_SECONDS
        seen, stop, save = self._trainer.summed(self._trainer.tokens_seen - self._seen_before, self._stop.set, late)
        self.tokens += int(seen)
        self._rate = seen / max(time.monotonic() - self._step_started, 1e-9)
        last = state.global_step >= state.max_steps
        control.should_evaluate = self._trainer.eval_dataset is not None and (control.should_evaluate or last)
        due = self._save_every is not None and state.global_step % self._save_every == 0
        control.should_save = bool(save) or due or last
        if stop:
            self.stopped = True
            self.look_due = control.should_evaluate
            control.should_evaluate, control.should_save, control.should_training_stop = False, False, True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops in the middle of a look at the validation split, too."""
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        """Several processes stop together, and that only between steps."""
        if self._stop.set and self._alone:
            self.stopped = self.look_due = True
            raise Stopped

    @property
    def _alone(self) -> bool:
        return self._trainer is None or self._trainer.args.world_size == 1

    def stop_sampling(self) -> bool:
        """Whether the samples of this look are to be cut short."""
        return self._stop.set and self._alone

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Metrics of a step; ends the run where the loss is no number any more."""
        if not logs or "loss" not in logs:
            return
        assert self._trainer is not None
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss) or not (
            math.isfinite(norm) or self._trainer.args.fp16
        ):  # fp16 leaves such a step out by itself
            raise Refused(
                f"The loss is not a number any more after step {state.global_step}. Start again with a lower "
                "learning_rate.",
                code="diverged",
            )
        memory = machine.memory_bytes(self._trainer.args.device)
        stride = math.ceil(state.max_steps / _MOST_METRICS)
        if state.global_step % stride == 0 or state.global_step in (1, state.max_steps):
            self._emitter.emit(
                "metrics",
                step=state.global_step,
                epoch=round(state.epoch or 0.0, 4),
                loss=loss,
                learning_rate=float(logs.get("learning_rate", 0.0)),
                grad_norm=norm,
                tokens=self.tokens,
                tokens_per_second=round(self._rate, 1),
                memory_bytes=memory,
                seconds_left=round(self._seconds_left(state), 1),
            )
        for warnings in (self.watch.train(loss), self.watch.speed(self._rate), self.watch.memory(memory)):
            for message in warnings:
                self._emitter.emit("warning", step=state.global_step, message=message)

    def _seconds_left(self, state: Any) -> float:
        done = max(1, state.global_step - self._first_step)
        return (time.monotonic() - self._train_started) / done * (state.max_steps - state.global_step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Validation loss, then samples, then what follows from them."""
        loss = (metrics or {}).get("eval_loss")
        if loss is None:
            return
        where = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4)}
        self._emitter.emit("validation", **where, loss=float(loss))
        if self._sample:
            samples = self._sample()
            self._leave_if_asked()  # before the samples are told: a look counts when it is whole
            self._emitter.emit("samples", **where, **samples)
        self._leave_if_asked()
        self.look_due = False
        best = self.looks.take(state.global_step, float(loss))
        for message in self.watch.validation(float(loss)):
            self._emitter.emit("warning", step=state.global_step, message=message)
        if self.looks.spent:
            self.stopped_early = control.should_training_stop = True
        if self._save_every is None or self.stopped_early or (best and self.looks.patience is not None):
            control.should_save = True
