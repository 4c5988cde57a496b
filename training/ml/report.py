"""Turns what the trainer does into events, and stops it when it is asked to or when it has gone astray."""

import math
import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from training.ml import device as machine
from training.ml.events import Emitter, Refused
from training.ml.trainer import CompletionTrainer, Stopped
from training.ml.watch import Watch

_MOST_METRICS = 2000


class StopSignal:
    """Set by SIGTERM and SIGINT: the run ends after the step it is in, and saves what is there."""

    def __init__(self) -> None:
        self.set = False

    def listen(self) -> None:
        """Installs the handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.set = True


class Reporter(TrainerCallback):
    """The events of a run: metrics, validation, samples, warning."""

    def __init__(self, emitter: Emitter, stop: StopSignal, sample: Callable[[], dict[str, Any]] | None) -> None:
        """``sample`` gives the values of a ``samples`` event; called after each look at the validation split."""
        self._emitter = emitter
        self._stop = stop
        self._sample = sample
        self._watch = Watch()
        self._trainer: CompletionTrainer | None = None
        self._step_started = (0.0, 0)
        self._rate = 0.0
        self._started = time.monotonic()
        self.last_validation = -1

    def attach(self, trainer: CompletionTrainer) -> None:
        """The trainer whose tokens are counted."""
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Notes time and tokens."""
        assert self._trainer is not None
        self._step_started = (time.monotonic(), self._trainer.tokens_seen)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Speed of the step; stops where somebody asked for it."""
        assert self._trainer is not None
        began, seen = self._step_started
        self._rate = (self._trainer.tokens_seen - seen) / max(time.monotonic() - began, 1e-9)
        self._leave_if_asked()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stops in the middle of a look at the validation split, too."""
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self._stop.set:
            raise Stopped

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Metrics of a step; ends the run where the loss is no number any more."""
        if not logs or "loss" not in logs:
            return
        assert self._trainer is not None
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Refused(
                "diverged",
                f"The loss is not a number any more after step {state.global_step}. Start again with a lower learning "
                "rate.",
            )
        elapsed = time.monotonic() - self._started
        left = elapsed / state.global_step * (state.max_steps - state.global_step)
        stride = math.ceil(state.max_steps / _MOST_METRICS)
        if state.global_step % stride == 0 or state.global_step in (1, state.max_steps):
            self._emitter.emit(
                "metrics",
                step=state.global_step,
                epoch=round(state.epoch or 0.0, 4),
                loss=loss,
                learning_rate=float(logs.get("learning_rate", 0.0)),
                grad_norm=norm,
                tokens_per_second=round(self._rate, 1),
                memory_bytes=machine.memory_bytes(self._trainer.args.device),
                seconds_left=round(left, 1),
            )
        for message in self._watch.train(loss):
            self._emitter.emit("warning", step=state.global_step, message=message)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Validation loss, then samples."""
        loss = (metrics or {}).get("eval_loss")
        if loss is None:
            return
        self.last_validation = state.global_step
        where = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4)}
        self._emitter.emit("validation", **where, loss=float(loss))
        for message in self._watch.validation(state.global_step, float(loss)):
            self._emitter.emit("warning", step=state.global_step, message=message)
        if self._sample:
            self._emitter.emit("samples", **where, **self._sample())
        self._leave_if_asked()
