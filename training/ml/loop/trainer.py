"""TRL's SFTTrainer for small machines.

It computes logits of labeled positions only. On a CPU it uses blockwise attention (``attention``), fused LoRA
(``adapters``) and micro-batches, whose gradients add up to that of the batch. On CUDA TRL's fused head computes logits
of labeled positions only; on a CPU it computes all of them, a third of a forward pass with a vocabulary of 49 thousand.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from training.estimates.memory import micro_batch_rows
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.modeling.attention import blockwise_attention
from training.ml.modeling.fused_lora import fuse_lora


def micro_batches(inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Splits a batch (rows, length), padded on the right, into micro-batches as long as their longest row."""
    mask = inputs["attention_mask"]
    size = micro_batch_rows(mask.shape[1])
    for first in range(0, mask.shape[0], size):
        longest = int(mask[first : first + size].sum(dim=1).max())
        yield {name: values[first : first + size, :longest] for name, values in inputs.items()}


def summed_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The sum of the cross-entropy in nats over all labeled tokens."""
    labels = inputs["labels"][:, 1:]
    scored = (labels != -100).any(dim=0).nonzero().flatten()  # positions that predict a labeled token
    # With padding on the right and causal attention, the result is the same without a mask.
    logits = model(input_ids=inputs["input_ids"], logits_to_keep=scored, use_cache=False).logits
    targets = labels[:, scored]
    labeled = targets != -100
    return functional.cross_entropy(logits[labeled].float(), targets[labeled], reduction="sum")


class CompletionTrainer(ResumableTrainer, SFTTrainer):
    """SFT on rows of ``input_ids`` and ``labels`` (-100 on the prompt)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.device.type == "cpu":
            fuse_lora(self.model)

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
        """Mean cross-entropy in nats over the labeled tokens of the whole optimizer step. Each of several processes has
        its part of the step, and their gradients are averaged.
        """
        if self.model.training:
            self.tokens_seen += int(inputs["attention_mask"].sum())
        if return_outputs or inputs["input_ids"].is_cuda:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with blockwise_attention(self.model.config):  # also for the validation loss, outside of a training step
            if torch.is_grad_enabled():
                total = summed_loss(model, inputs)
            else:
                total = torch.stack([summed_loss(model, micro_batch) for micro_batch in micro_batches(inputs)]).sum()
        if num_items_in_batch is None:
            return total / (inputs["labels"][:, 1:] != -100).sum().clamp(min=1)
        loss = total / num_items_in_batch
        return loss * self.args.world_size if self.args.world_size > 1 else loss
