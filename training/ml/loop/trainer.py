"""TRL's SFTTrainer with what a small machine needs: logits only where they count, batches of equal length, and a stop.

On a CPU attention goes in blocks (``attention``), adapters are added in one pass (``adapters``), and a batch goes
through the model in pieces that add up to its gradient.

On CUDA TRL's own fused head already scores labelled positions only; elsewhere it scores every position, and with a
vocabulary of 49 thousand that is a third of a forward pass for nothing.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Sampler
from trl import SFTTrainer

from training.estimates.micro_batch import rows_of_piece
from training.ml.modeling.adapters import fuse
from training.ml.modeling.attention import in_blocks


class Stopped(Exception):
    """Raised from a callback to end training early with the weights as they are."""


class ByLength(Sampler[int]):
    """Rows of like length side by side, the batches in random order. Same seed, same order; a new one each epoch."""

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """``batch``: rows of one optimiser step."""
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration is for."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        self._epoch += 1
        order = torch.randperm(len(self._lengths), generator=generator).tolist()
        pool = 8 * self._batch
        batches = []
        for start in range(0, len(order), pool):
            part = sorted(order[start : start + pool], key=lambda index: self._lengths[index])
            batches += [part[at : at + self._batch] for at in range(0, len(part), self._batch)]
        # A batch that is not full may only come last: the loader cuts by count, not by our batches.
        full = [one for one in batches if len(one) == self._batch]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for rest in batches:
            if len(rest) < self._batch:
                yield from rest


def pieces(inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """A batch (rows, length) padded on the right, a few rows at a time, each piece as long as its longest row."""
    mask = inputs["attention_mask"]
    size = rows_of_piece(mask.shape[1])
    for first in range(0, mask.shape[0], size):
        longest = int(mask[first : first + size].sum(dim=1).max())
        yield {name: one[first : first + size, :longest] for name, one in inputs.items()}


def summed(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The cross-entropy in nats of every labelled token, added up."""
    labels = inputs["labels"][:, 1:]
    scored = (labels != -100).any(dim=0).nonzero().flatten()  # positions that predict a labelled token
    # Rows are padded on the right, and no token looks to its right: without a mask the same numbers come out.
    logits = model(input_ids=inputs["input_ids"], logits_to_keep=scored, use_cache=False).logits
    wanted = labels[:, scored]
    counted = wanted != -100
    return functional.cross_entropy(logits[counted].float(), wanted[counted], reduction="sum")


class CompletionTrainer(SFTTrainer):
    """SFT on rows of ``input_ids`` and ``labels`` (-100 on the prompt). ``tokens_seen`` counts without padding."""

    def __init__(self, *args: Any, lengths: list[int], **kwargs: Any) -> None:
        self._lengths = lengths
        self.tokens_seen = 0
        super().__init__(*args, **kwargs)
        if self.args.device.type == "cpu":
            fuse(self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.world_size > 1:
            return super()._get_train_sampler(train_dataset)
        rows = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(self._lengths, rows, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of one batch; returns its loss.

        Processes that share a run average their gradients after every pass, so that each has to make as many as the
        others: there a batch stays whole.
        """
        if self.args.device.type != "cpu":
            return super().training_step(model, inputs, num_items_in_batch)
        whole = num_items_in_batch is None or self.args.world_size > 1
        total = torch.zeros(())
        with in_blocks(self.model.config):
            for piece in [inputs] if whole else pieces(inputs):
                total += super().training_step(model, piece, num_items_in_batch)
        return total

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy in nats over the labelled tokens of the whole optimiser step."""
        if self.model.training:
            self.tokens_seen += int(inputs["attention_mask"].sum())
        if return_outputs or inputs["input_ids"].is_cuda:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with in_blocks(self.model.config):  # the validation loss comes here without a training step
            if torch.is_grad_enabled():
                total = summed(model, inputs)
            else:
                total = torch.stack([summed(model, piece) for piece in pieces(inputs)]).sum()
        counted = num_items_in_batch
        return total / ((inputs["labels"][:, 1:] != -100).sum().clamp(min=1) if counted is None else counted)
