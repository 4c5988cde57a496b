"""Looks at the curves of a run and says in words what a person would see in them. Pure Python."""

import math
from collections.abc import Iterator
from statistics import fmean

_WINDOW = 10


class Watch:
    """Fed with losses in order; yields each warning once."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._validation: list[tuple[int, float, float]] = []
        self._said: set[str] = set()

    def train(self, loss: float) -> Iterator[str]:
        """A training loss, in nats for each token. Warnings on spikes and on a loss that does not fall."""
        before = self._losses[-_WINDOW:]
        self._losses.append(loss)
        if len(before) == _WINDOW and loss > 3 * fmean(before) and loss > fmean(before) + 1:
            yield from self._once("spike", "The loss jumped. If it does not come back, lower the learning rate.")
        if len(self._losses) == 4 * _WINDOW:
            first, last = fmean(self._losses[:_WINDOW]), fmean(self._losses[-_WINDOW:])
            if last > 1.1 * first:
                yield from self._once("rising", "The loss has risen since the start: the learning rate is too high.")
            elif last > 0.97 * first:
                yield from self._once("flat", "The loss hardly falls: the learning rate is probably too low.")

    def validation(self, step: int, loss: float) -> Iterator[str]:
        """A validation loss. A warning where it rises twice in a row while the training loss falls."""
        recent = fmean(self._losses[-_WINDOW:]) if self._losses else math.inf
        self._validation.append((step, loss, recent))
        if len(self._validation) < 3:
            return
        (_, first, train_first), (_, second, _), (_, third, train_third) = self._validation[-3:]
        if first < second < third and train_third < train_first:
            yield from self._once(
                "overfitting",
                "The validation loss rises while the training loss falls: the model starts to learn the training "
                "documents by heart. Fewer epochs or more documents would help.",
            )

    def _once(self, kind: str, message: str) -> Iterator[str]:
        if kind not in self._said:
            self._said.add(kind)
            yield message
