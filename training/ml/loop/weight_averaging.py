"""An exponential moving average of the trained weights, after ``torch.optim.swa_utils``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback

#: After the step ``EVERY_STEP`` the average is updated every ``INTERVAL`` steps: with short texts, an update of all
#: weights of SmolLM2-135M takes a tenth of a step on a CPU.
EVERY_STEP, INTERVAL = 100, 4


def decay_at(step: int, decay: float) -> float:
    """The decay of one step: ``decay``, less in the first steps.

    ``min(decay, (1 + step) / (10 + step))``, as in TensorFlow's ExponentialMovingAverage: until ``decay`` is reached,
    the average covers about the last tenth of the steps so far, so that a short run is not held back by its start.
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage(TrainerCallback):
    """Averages the trainable weights after optimizer steps, in place and in their own type.

    Both factors of a LoRA adapter are averaged, not their product.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        """``parameters``: those that the optimizer changes, by name; they must be on their device already."""
        self._parameters = dict(parameters)
        self._decay = decay
        self._values = {name: value.detach().clone() for name, value in parameters.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the weights of a step into the average, where it is due."""
        interval = INTERVAL if state.global_step > EVERY_STEP else 1
        if state.global_step % interval:
            return
        decay = decay_at(state.global_step, self._decay) ** interval
        current: list[torch.Tensor] = [value.detach() for value in self._parameters.values()]
        get_ema_multi_avg_fn(decay)(list(self._values.values()), current, None)

    def swap(self) -> None:
        """Exchanges the weights of the model and the average, without copying them."""
        for name, value in self._parameters.items():
            value.data, self._values[name] = self._values[name], value.data

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own again on exit."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def save(self, path: Path) -> None:
        """Writes the average as safetensors."""
        save_file({name: value.contiguous() for name, value in self._values.items()}, path)

    def load(self, path: Path) -> None:
        """Restores what ``save`` wrote."""
        stored = load_file(path)
        for name, value in self._values.items():
            value.copy_(stored[name])
