"""Trains an encoder with its heads: transformers' trainer on windows of tokens."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from training.encoders.heads import Head
from training.estimates.memory import micro_batch_rows
from training.ml.encoders import labels
from training.ml.encoders.data import LabeledWindow
from training.ml.encoders.windows import TokenWindow, window_arrays
from training.ml.loop.resumable_trainer import ResumableTrainer

#: The heads start from random weights, and the encoder does not: their learning rate is this many times as high.
HEAD_RATE = 10
_WEIGHT_DECAY = 0.01


class WindowCollator:
    """Batches of tensors from windows, in parts that are computed one after another.

    On a CPU the activations of a part fit in its caches, and each part is as long as its longest window.
    """

    def __init__(self, heads: Sequence[Head], pad: int, *, in_parts: bool) -> None:
        """``pad``: the token that fills shorter windows."""
        self._heads = heads
        self._pad = pad
        self._in_parts = in_parts

    def __call__(self, windows: Sequence[LabeledWindow]) -> dict[str, Any]:
        """``rows``: one value for each window; the trainer counts them. ``parts``: each with the inputs of the network
        and the targets of ``labels.batch``.
        """
        longest = max(item.length for item in windows)
        size = micro_batch_rows(longest) if self._in_parts else len(windows)
        parts = [self._part(windows[at : at + size]) for at in range(0, len(windows), size)]
        return {"rows": torch.ones(len(windows)), "parts": parts}

    def _part(self, windows: Sequence[LabeledWindow]) -> dict[str, torch.Tensor]:
        targets = labels.batch(self._heads, [(item.window, item.targets) for item in windows])
        return {**window_tensors([item.window for item in windows], self._pad), **targets}


def window_tensors(windows: Sequence[TokenWindow], pad: int) -> dict[str, torch.Tensor]:
    """``windows.window_arrays`` as tensors."""
    return {name: torch.from_numpy(array) for name, array in window_arrays(windows, pad).items()}


class Numbered(torch.utils.data.Dataset[LabeledWindow]):
    """Windows as a dataset of torch; ``window`` gives the one of a number when it is needed."""

    def __init__(self, count: int, window: Callable[[int], LabeledWindow]) -> None:
        self._count = count
        self._window = window

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> LabeledWindow:
        return self._window(number)


class EncoderTrainer(ResumableTrainer):
    """The loss is the mean over the windows of a step, in nats."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of one batch, part by part; returns its loss."""
        total = torch.zeros((), device=self.args.device)
        with self.compute_weights.in_use() if self.compute_weights is not None else nullcontext():
            for part in inputs["parts"]:
                total += super().training_step(model, {**inputs, "parts": [part]}, num_items_in_batch)
        return total

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the losses of the windows in ``parts``, as a share of all windows of the batch."""
        losses = []
        for part in inputs["parts"]:
            if self.model.training:
                self.tokens_seen += int(part["attention_mask"].sum())
            outputs = model(part["input_ids"], part["attention_mask"], part["inner"])
            losses.append(self.accelerator.unwrap_model(model).losses(outputs, part))
        loss = torch.cat(losses).sum() / len(inputs["rows"])
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """The loss of a validation batch."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with a higher learning rate for the heads; biases and norms do not decay."""
        made: torch.optim.Optimizer | None = getattr(self, "optimizer", None)
        if made is None:
            groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
            for name, weights in self.trainable_parameters().items():
                groups.setdefault((not name.startswith("encoder."), weights.ndim > 1), []).append(weights)
            rate = self.args.learning_rate
            self.optimizer = made = torch.optim.AdamW(
                [
                    {
                        "params": group,
                        "lr": rate * (HEAD_RATE if is_head else 1),
                        "weight_decay": _WEIGHT_DECAY if decays else 0.0,
                    }
                    for (is_head, decays), group in groups.items()
                ],
                fused=True,
            )
        return made
