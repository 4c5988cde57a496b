"""TRL's SFTTrainer for small machines: logits of labeled positions only, and length-grouped batches.

On a CPU it uses blockwise attention (``attention``), fused LoRA (``adapters``) and micro-batches, whose gradients add
up to that of the batch.

On CUDA TRL's fused head computes logits of labeled positions only. On a CPU it computes all of them, with a vocabulary
of 49 thousand a third of a forward pass.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Sampler
from trl import SFTTrainer

from training.estimates.micro_batch import micro_batch_rows
from training.ml.modeling.adapters import fuse_lora
from training.ml.modeling.attention import blockwise_attention
from training.ml.modeling.compilation import CompiledLayers
from training.ml.modeling.compute_weights import ComputeWeights


class TrainingStopped(Exception):
    """Raised from a callback to end training early with the weights as they are."""


class LengthGroupedSampler(Sampler[int]):
    """Groups rows by length, with batches in random order. The order depends on seed and epoch only."""

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """``batch``: rows of one optimizer step."""
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration."""
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
        # A partial batch must come last: the loader splits by count.
        full = [one for one in batches if len(one) == self._batch]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for rest in batches:
            if len(rest) < self._batch:
                yield from rest


def micro_batches(inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Splits a batch (rows, length), padded on the right, into micro-batches as long as their longest row."""
    mask = inputs["attention_mask"]
    size = micro_batch_rows(mask.shape[1])
    for first in range(0, mask.shape[0], size):
        longest = int(mask[first : first + size].sum(dim=1).max())
        yield {name: one[first : first + size, :longest] for name, one in inputs.items()}


def summed_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The sum of the cross-entropy in nats over all labeled tokens."""
    labels = inputs["labels"][:, 1:]
    scored = (labels != -100).any(dim=0).nonzero().flatten()  # positions that predict a labeled token
    # With padding on the right and causal attention, the result is the same without a mask.
    logits = model(input_ids=inputs["input_ids"], logits_to_keep=scored, use_cache=False).logits
    targets = labels[:, scored]
    labeled = targets != -100
    return functional.cross_entropy(logits[labeled].float(), targets[labeled], reduction="sum")


class CompletionTrainer(SFTTrainer):
    """SFT on rows of ``input_ids`` and ``labels`` (-100 on the prompt). ``tokens_seen`` counts without padding.
    ``compiled`` and ``compute_weights``: what the model uses during a training step, where there is something.
    """

    compiled: CompiledLayers | None = None
    compute_weights: ComputeWeights | None = None

    def __init__(self, *args: Any, lengths: list[int], **kwargs: Any) -> None:
        self._lengths = lengths
        self.tokens_seen = 0
        super().__init__(*args, **kwargs)
        if self.args.device.type == "cpu":
            fuse_lora(self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.world_size > 1:
            return super()._get_train_sampler(train_dataset)
        rows = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(self._lengths, rows, self.args.seed)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of one batch; returns its loss.

        Several processes average their gradients after every pass, so each must do the same number of passes: their
        batches are not split.
        """
        if self.args.device.type != "cpu":
            return super().training_step(model, inputs, num_items_in_batch)
        whole = num_items_in_batch is None or self.args.world_size > 1
        total = torch.zeros(())
        with ExitStack() as stack:
            stack.enter_context(blockwise_attention(self.model.config))
            for used in (self.compiled, self.compute_weights):
                if used is not None:
                    stack.enter_context(used.in_use())
            for micro_batch in [inputs] if whole else micro_batches(inputs):
                total += super().training_step(model, micro_batch, num_items_in_batch)
        return total

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy in nats over the labeled tokens of the whole optimizer step."""
        if self.model.training:
            self.tokens_seen += int(inputs["attention_mask"].sum())
        if return_outputs or inputs["input_ids"].is_cuda:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with blockwise_attention(self.model.config):  # also for the validation loss, outside of a training step
            if torch.is_grad_enabled():
                total = summed_loss(model, inputs)
            else:
                total = torch.stack([summed_loss(model, micro_batch) for micro_batch in micro_batches(inputs)]).sum()
        items = num_items_in_batch
        return total / ((inputs["labels"][:, 1:] != -100).sum().clamp(min=1) if items is None else items)
