"""Looks at the curves of a run and says in words what a person would see in them. Pure Python."""

import math
from collections.abc import Iterator
from statistics import fmean, median
from typing import Any

_WINDOW = 10
_EARLY = 4 * _WINDOW  # steps after which the slope is judged
_FULL = 0.92  # share of the memory from which on a little more may end the run


class Watch:
    """Fed with points in order; yields each warning once."""

    def __init__(self, memory_limit: int | None = None) -> None:
        """``memory_limit``: bytes this process may use; None where nobody knows."""
        self._limit = memory_limit
        self._steps = 0
        self._first: list[float] = []
        self._recent: list[float] = []
        self._validation: list[list[float]] = []  # validation loss, training loss before it
        self._rates: list[float] = []
        self._usual = 0.0  # tokens per second, the best median so far
        self._said: list[str] = []

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON values: after a resume nothing is said twice and nothing is missed."""
        return {
            "steps": self._steps,
            "first": self._first,
            "recent": self._recent,
            "validation": self._validation,
            "said": self._said,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what ``state`` gave. Speed is measured anew: it may be another machine."""
        self._steps = int(state["steps"])
        self._first, self._recent = list(state["first"]), list(state["recent"])
        self._validation, self._said = [list(one) for one in state["validation"]], list(state["said"])

    def train(self, loss: float) -> Iterator[str]:
        """A training loss, in nats for each token. Warnings on spikes and on a loss that does not fall."""
        if len(self._recent) == _WINDOW and loss > 3 * fmean(self._recent) and loss > fmean(self._recent) + 1:
            yield from self._once("spike", "The loss jumped. If it does not come back, lower the learning rate.")
        self._steps += 1
        self._recent = [*self._recent, loss][-_WINDOW:]
        if len(self._first) < _WINDOW:
            self._first.append(loss)
        if self._steps == _EARLY:
            first, last = fmean(self._first), fmean(self._recent)
            if last > 1.1 * first:
                yield from self._once("rising", "The loss has risen since the start: the learning rate is too high.")
            elif last > 0.97 * first:
                yield from self._once("flat", "The loss hardly falls: the learning rate is probably too low.")

    def validation(self, loss: float) -> Iterator[str]:
        """A validation loss. Warnings where it rises twice in a row while the training loss falls, and where it is no
        number."""
        if not math.isfinite(loss):
            yield from self._once(
                "validation", "The validation loss is not a number. Lower the learning rate if it stays so."
            )
            return
        before = fmean(self._recent) if self._recent else loss
        self._validation = [*self._validation, [loss, before]][-3:]
        if len(self._validation) < 3:
            return
        (first, train_first), (second, _), (third, train_third) = self._validation
        if first < second < third and train_third < train_first:
            yield from self._once(
                "overfitting",
                "The validation loss rises while the training loss falls: the model starts to learn the training "
                "documents by heart. Fewer epochs or more documents would help.",
            )

    def speed(self, tokens_per_second: float) -> Iterator[str]:
        """Speed of a step. A warning where a stretch of steps is far slower than one before it."""
        self._rates.append(tokens_per_second)
        if len(self._rates) < 2 * _WINDOW:
            return
        now, self._rates = median(self._rates), []
        if now < 0.6 * self._usual:
            yield from self._once(
                "slow",
                f"The run has slowed down from {self._usual:,.0f} to {now:,.0f} tokens a second. Something else may be "
                "using this machine, or it is too hot.",
            )
        self._usual = max(self._usual, now)

    def memory(self, used: int) -> Iterator[str]:
        """Bytes in use. A warning where little is left."""
        if self._limit and used > _FULL * self._limit:
            yield from self._once(
                "memory",
                f"The run uses {used / 1e9:.1f} of {self._limit / 1e9:.1f} GB of memory. If it is killed, take a "
                "smaller batch_size or a shorter max_length.",
            )

    def _once(self, kind: str, message: str) -> Iterator[str]:
        if kind not in self._said:
            self._said.append(kind)
            yield message
