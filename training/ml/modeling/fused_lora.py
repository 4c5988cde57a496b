"""Fused LoRA layers on a CPU, with as few passes over memory as possible.

PEFT adds an adapter in six steps, several of which convert the activations to another type and back. Here the two
low-rank products are added to the result of the frozen layer in the type of its weight; the backward pass stores the
input once and the low-rank activations. The formula is PEFT's: ``x W^T + scale (x A^T) B^T``
(arXiv:2106.09685).
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn


class FusedLora(torch.autograd.Function):
    """Shapes: x (..., in), weight (out, in), a (rank, in), b (out, rank); the result is (..., out)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        inner = rows @ a.to(weight.dtype).T
        out = rows @ weight.T
        out.addmm_(inner, b.to(weight.dtype).T, alpha=scale)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, a, b, inner = ctx.saved_tensors
        slope = gradients[0].reshape(-1, weight.shape[0]).to(weight.dtype)
        thin = (slope @ b.to(weight.dtype)).mul_(ctx.scale)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = slope @ weight
            by_x = by_x.addmm_(thin, a.to(weight.dtype)).view(ctx.shape).to(ctx.dtype)
        by_b = (slope.T @ inner).to(b.dtype).mul_(ctx.scale)
        return by_x, None, (thin.T @ rows).to(a.dtype), by_b, None


def fuse_lora(model: nn.Module) -> int:
    """Fuses every plain LoRA layer of a model; returns their number.

    Layers with dropout, a bias, DoRA or several adapters, and other layers than linear ones, are unchanged.
    """
    count = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = _forward(layer)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    names = list(layer.active_adapters)
    if len(names) != 1 or len(layer.lora_A) != 1 or type(layer.base_layer) is not nn.Linear:
        return False
    name = names[0]
    return (
        layer.base_layer.bias is None
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and name not in layer.lora_variant
        and layer.lora_B[name].bias is None
        and not layer.base_layer.weight.requires_grad
    )


def _forward(layer: Any) -> Any:
    name = layer.active_adapters[0]
    unfused = layer.forward

    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or layer.disable_adapters or layer.merged:
            return unfused(x, *args, **kwargs)
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        return FusedLora.apply(x, layer.base_layer.weight, a, b, layer.scaling[name])

    return forward
