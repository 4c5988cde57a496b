"""The trainer's callback: emits the events of a run, and stops it on request or when the loss diverges.

The trainer's order within a step: weight update, ``on_step_end``, ``on_log``, then an evaluation and a checkpoint where
due. So a checkpoint is always between two steps, after all events of the first.
"""

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from transformers import TrainerCallback

from slmstudio.errors import Refused
from training.ml.events import Emitter
from training.ml.hardware import device as machine
from training.ml.loop.curve_warnings import TrainingMonitor
from training.ml.loop.resumable_trainer import ResumableTrainer, TrainingStopped

MAX_METRICS = 2000
#: seconds after which a checkpoint is saved in any case
SAVE_SECONDS = 300.0


@dataclass
class EarlyStopping:
    """Tracks the scores of evaluations in order, lower ones being better.

    ``metric``: the score is the validation loss in nats per token, or the negative field accuracy. ``patience``:
    evaluations in a row without a new lowest score before the run stops; None never stops it. ``misses`` counts them;
    field names are keys of checkpoints. ``keeps_both``: the weights of the best evaluation and of the last step are
    saved.
    """

    patience: int | None = None
    metric: str = "validation_loss"
    best_step: int | None = None
    best_loss: float | None = None
    misses: int = 0
    keeps_both: bool = False

    def update(self, step: int, loss: float) -> bool:
        """Takes an evaluation; True where its score is the lowest so far. NaN never is."""
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.misses = step, loss, 0
            return True
        self.misses += 1
        return False

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best evaluation are saved; else those of the last step are."""
        return self.patience is not None or self.metric == "field_accuracy"

    @property
    def needs_best(self) -> bool:
        """Whether the checkpoint of the best evaluation is needed at the end."""
        return self.keeps_best or self.keeps_both

    @property
    def should_stop(self) -> bool:
        """Whether the patience is used up."""
        return self.patience is not None and self.misses >= self.patience

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in ("patience", "metric", "keeps_both")}

    def restore(self, state: dict[str, Any]) -> None:
        """Restores ``state``."""
        for key, value in state.items():
            setattr(self, key, value)


class StopSignal:
    """Set by SIGTERM and SIGINT: the run ends after the current step, with a checkpoint."""

    def __init__(self) -> None:
        self.set = False

    def listen(self) -> None:
        """Installs the handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, *_: object) -> None:
        self.set = True


class ProgressCallback(TrainerCallback):
    """Emits metrics, validation, samples and warnings; decides when a checkpoint is due."""

    def __init__(
        self,
        emitter: Emitter,
        stop: StopSignal,
        sample: Callable[[], dict[str, Any]] | None,
        *,
        early_stopping: EarlyStopping | None = None,
        monitor: TrainingMonitor | None = None,
        save_every: int | None = None,
    ) -> None:
        """``sample`` returns the values of a ``samples`` event; called after each evaluation.

        ``save_every``: steps between checkpoints; None: after each evaluation and every five minutes.
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
        self._saved_at = time.monotonic()
        self._first_step = 0
        self._seconds_before = 0.0
        self._peak_before = 0
        self.early_stopping = early_stopping or EarlyStopping()
        self.monitor = monitor or TrainingMonitor()
        self.tokens = 0
        self.evaluation_due = False  # the evaluation of this step was due and was interrupted
        self.stopped = False
        self.stopped_early = False

    def attach(self, trainer: ResumableTrainer) -> None:
        """Sets the trainer whose tokens are counted."""
        self._trainer = trainer

    @property
    def seconds(self) -> float:
        """Training time of this run, with that of earlier processes up to their checkpoint."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def peak_memory(self) -> int:
        """Peak memory of all processes of this run, in bytes."""
        assert self._trainer is not None
        return max(self._peak_before, machine.memory_bytes(self._trainer.args.device))

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON values."""
        return {
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.peak_memory,
            "look_due": self.evaluation_due,
            "stopped_early": self.stopped_early,
            "best_step": self.early_stopping.best_step,
            "looks": self.early_stopping.state(),
            "watch": self.monitor.state(),
        }

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Restores ``state`` at ``step``."""
        self._first_step = step
        self.tokens = int(state["tokens"])
        self._seconds_before = float(state["seconds"])
        self._peak_before = int(state["peak_memory_bytes"])
        self.evaluation_due, self.stopped_early = bool(state["look_due"]), bool(state["stopped_early"])
        self.early_stopping.restore(state["looks"])
        self.monitor.restore(state["watch"])

    def on_checkpoint_saved(self) -> None:
        """A checkpoint was saved or attempted; the next one is due in five minutes."""
        self._saved_at = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock for the remaining time."""
        self._train_started = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stores time and tokens at the start of a step."""
        assert self._trainer is not None
        self._step_started = time.monotonic()
        self._seen_before = self._trainer.tokens_seen

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts the step's tokens and decides what is due after it."""
        assert self._trainer is not None
        late = self._save_every is None and time.monotonic() - self._saved_at >= SAVE_SECONDS
        seen, stop, save = self._trainer.sum_over_processes(
            self._trainer.tokens_seen - self._seen_before, self._stop.set, late
        )
        self.tokens += int(seen)
        self._rate = seen / max(time.monotonic() - self._step_started, 1e-9)
        last = state.global_step >= state.max_steps
        control.should_evaluate = self._trainer.eval_dataset is not None and (control.should_evaluate or last)
        due = self._save_every is not None and state.global_step % self._save_every == 0
        control.should_save = bool(save) or due or last
        if stop:
            self.stopped = True
            self.evaluation_due = control.should_evaluate
            control.should_evaluate, control.should_save, control.should_training_stop = False, False, True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Allows a stop in the middle of an evaluation."""
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        """Stops immediately; several processes stop together, between steps only."""
        if self._stop.set and self._is_single_process:
            self.stopped = self.evaluation_due = True
            raise TrainingStopped

    @property
    def _is_single_process(self) -> bool:
        return self._trainer is None or self._trainer.args.world_size == 1

    def should_stop_sampling(self) -> bool:
        """Whether sampling is to be interrupted."""
        return self._stop.set and self._is_single_process

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Emits metrics and warnings of a step; ends the run where the loss is not finite."""
        if not logs or "loss" not in logs:
            return
        assert self._trainer is not None
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss) or not (math.isfinite(norm) or self._trainer.args.fp16):  # fp16 skips such a step
            raise Refused(
                f"The loss is not a number after step {state.global_step}. Start again with a lower learning_rate.",
                code="diverged",
            )
        memory = machine.memory_bytes(self._trainer.args.device)
        stride = math.ceil(state.max_steps / MAX_METRICS)
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
        for warnings in (self.monitor.train(loss), self.monitor.speed(self._rate), self.monitor.memory(memory)):
            for message in warnings:
                self._emitter.emit("warning", step=state.global_step, message=message)

    def _seconds_left(self, state: Any) -> float:
        done = max(1, state.global_step - self._first_step)
        return float((time.monotonic() - self._train_started) / done * (state.max_steps - state.global_step))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Emits validation loss and samples; updates early stopping."""
        loss = (metrics or {}).get("eval_loss")
        if loss is None:
            return
        where = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4)}
        self._emitter.emit("validation", **where, loss=float(loss))
        samples: dict[str, Any] = {}
        if self._sample:
            samples = self._sample()
            self._stop_if_requested()  # before the samples are emitted: only a complete evaluation counts
            self._emitter.emit("samples", **where, **samples)
        self._stop_if_requested()
        self.evaluation_due = False
        best = self.early_stopping.update(state.global_step, self._score(float(loss), samples))
        for message in self.monitor.validation(float(loss)):
            self._emitter.emit("warning", step=state.global_step, message=message)
        if self.early_stopping.should_stop:
            self.stopped_early = control.should_training_stop = True
        if self._save_every is None or self.stopped_early or (best and self.early_stopping.needs_best):
            control.should_save = True

    def _score(self, loss: float, samples: dict[str, Any]) -> float:
        """What early stopping compares: the loss, or the negative field accuracy, which one process knows."""
        if self.early_stopping.metric == "validation_loss":
            return loss
        assert self._trainer is not None
        return self._trainer.sum_over_processes(-float(samples.get("field_exact") or 0.0))[0]
