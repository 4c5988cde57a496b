"""Copies of trained weights in the type of the matrix products, made once for the micro-batches of a batch.

Autocast converts each fp32 weight in every forward pass and each gradient in every backward pass, which are passes over
all weights. Here a batch converts them once, and adds each gradient to that of the weight as soon as it is there. The
results are the same, bit for bit: a gradient is rounded before it is added, and sums are in fp32, in both.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


class ComputeWeights:
    """The copies of a model's linear layers."""

    def __init__(self, linears: Iterable[nn.Linear], dtype: torch.dtype) -> None:
        """``dtype``: that of autocast."""
        self._weights: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []
        self._linears: list[nn.Linear] = []
        for linear in linears:
            if linear.weight.requires_grad:
                copy = nn.Parameter(torch.empty_like(linear.weight, dtype=dtype))
                copy.register_post_accumulate_grad_hook(_moved_to(linear.weight))
                self._linears.append(linear)
                self._weights.append(linear.weight)
                self._copies.append(copy)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model computes with its weights as they are now; gradients are those of the weights."""
        with torch.no_grad():
            for copy, weight in zip(self._copies, self._weights, strict=True):
                copy.copy_(weight)
        self._use(self._copies)
        try:
            yield
        finally:
            self._use(self._weights)

    def _use(self, weights: list[torch.Tensor]) -> None:
        for linear, weight in zip(self._linears, weights, strict=True):
            linear._parameters["weight"] = weight


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers in a model's decoder layers, without its head."""
    blocks = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    return [layer for block in blocks for layer in block.modules() if type(layer) is nn.Linear]


def _moved_to(weight: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """A hook that moves the gradient of a copy to the weight."""

    def move(copy: torch.Tensor) -> None:
        assert copy.grad is not None
        if weight.grad is None:
            weight.grad = copy.grad.to(weight.dtype)
        else:
            weight.grad.add_(copy.grad)
        copy.grad = None

    return move
