"""Warnings from the curves of a run. Pure."""

import math
from collections.abc import Iterator
from statistics import fmean, median
from typing import Any

from slmstudio.text.formatting import format_bytes
from training.estimates.memory import USABLE_SHARE

WINDOW_STEPS = 10
EARLY_STEPS = 4 * WINDOW_STEPS  # steps after which the early slope is checked
NOISE = 0.001  # nats; the loss of an encoder can end near zero, where any rise is small
MEMORY_WARNING_SHARE = USABLE_SHARE  # of the memory: above it the run may be killed


class TrainingMonitor:
    """Takes points in order and yields each warning once."""

    def __init__(self, memory_limit: int | None = None) -> None:
        """``memory_limit``: bytes that this process can use; None where unknown."""
        self._limit = memory_limit
        self._steps = 0
        self._first: list[float] = []
        self._recent: list[float] = []
        self._validation: list[list[float]] = []  # validation loss, training loss before it
        self._rates: list[float] = []
        self._best_rate = 0.0  # tokens per second, the best median so far
        self._warned: list[str] = []

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON values: after a resume no warning is repeated or missed."""
        return {
            "steps": self._steps,
            "first": self._first,
            "recent": self._recent,
            "validation": self._validation,
            "said": self._warned,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restores ``state``. Throughput is measured again: it may be another machine."""
        self._steps = int(state["steps"])
        self._first, self._recent = list(state["first"]), list(state["recent"])
        self._validation, self._warned = [list(point) for point in state["validation"]], list(state["said"])

    def train(self, loss: float) -> Iterator[str]:
        """A training loss, in nats for each token. Warnings on spikes and on a loss that does not fall."""
        if len(self._recent) == WINDOW_STEPS and loss > 3 * fmean(self._recent) and loss > fmean(self._recent) + 1:
            yield from self._once("spike", "Loss spike. If the loss does not recover, lower the learning rate.")
        self._steps += 1
        self._recent = [*self._recent, loss][-WINDOW_STEPS:]
        if len(self._first) < WINDOW_STEPS:
            self._first.append(loss)
        if self._steps == EARLY_STEPS:
            first, last = fmean(self._first), fmean(self._recent)
            if last > 1.1 * first:
                yield from self._once("rising", "The loss has risen since the start: the learning rate is too high.")
            elif last > 0.97 * first:
                yield from self._once("flat", "The loss barely decreases: the learning rate is probably too low.")

    def validation(self, loss: float) -> Iterator[str]:
        """A validation loss. Warnings where it is NaN, or rises twice in a row while the training loss falls."""
        if not math.isfinite(loss):
            yield from self._once(
                "validation", "The validation loss is not a number. Lower the learning rate if that persists."
            )
            return
        before = fmean(self._recent) if self._recent else loss
        self._validation = [*self._validation, [loss, before]][-3:]
        if len(self._validation) < 3:
            return
        (first, train_first), (second, _), (third, train_third) = self._validation
        if first < second < third and third - first > NOISE and train_third < train_first:
            yield from self._once(
                "overfitting",
                "Overfitting: the validation loss rises while the training loss falls. Use fewer epochs or more "
                "documents.",
            )

    def speed(self, tokens_per_second: float) -> Iterator[str]:
        """Throughput of a step. A warning where a window of steps is much slower than an earlier one."""
        self._rates.append(tokens_per_second)
        if len(self._rates) < 2 * WINDOW_STEPS:
            return
        now, self._rates = median(self._rates), []
        if now < 0.6 * self._best_rate:
            yield from self._once(
                "slow",
                f"Throughput dropped from {self._best_rate:,.0f} to {now:,.0f} tokens per second. Another process may "
                "be using this machine, or the hardware is throttled.",
            )
        self._best_rate = max(self._best_rate, now)

    def memory(self, used: int) -> Iterator[str]:
        """Bytes in use. A warning near the limit."""
        if self._limit and used > MEMORY_WARNING_SHARE * self._limit:
            yield from self._once(
                "memory",
                f"The run uses {format_bytes(used)} of {format_bytes(self._limit)} of memory. If it is killed, use a "
                "smaller batch_size or a shorter max_length.",
            )

    def _once(self, kind: str, message: str) -> Iterator[str]:
        if kind not in self._warned:
            self._warned.append(kind)
            yield message
