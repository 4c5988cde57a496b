"""Blockwise causal attention for training on a CPU: blocks of queries and their visible keys, as matrix products.

torch's CPU kernel computes softmax and products tile by tile in fp32 even where the hardware multiplies bf16. Products
of whole blocks run at the speed of the matrix multiply, and most of the upper triangle is not computed. The
probabilities are stored for the backward pass: ``heads * length * (length + block) / 2`` values per row and layer, or
the window size per query with a sliding window.

Heads that share keys are stacked as one taller block, so that keys and values are never repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface

NAME = "slm_blocks"
#: queries of one block; shorter blocks skip more of the upper triangle and multiply less efficiently
BLOCK = 32
#: in bf16, where matrix units multiply several times as fast
BF16_BLOCK = 128
#: architectures with plain attention: no sinks, no logit caps, no position biases
SUPPORTED_ARCHITECTURES = {"gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3"}


class BlockwiseAttention(torch.autograd.Function):
    """Shapes: query (rows, heads, length, size); key and value (rows, key heads, length, size); so is the result."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        ctx.scale, ctx.window = scale, window
        grouped = _group_heads(query, key.shape[1])
        out = torch.empty_like(grouped)
        kept = []
        for first, last, start in _blocks(query.shape[2], window, query.dtype):
            visible = key[:, :, start:last]
            scores = (grouped[:, :, :, first:last].flatten(2, 3) @ visible.transpose(-1, -2)).mul_(scale)
            scores = scores.unflatten(2, (grouped.shape[2], last - first))
            scores += _causal_bias(first, last, start, window, scores.dtype)
            probabilities = torch.softmax(scores, -1)
            kept.append(probabilities)
            part = probabilities.flatten(2, 3) @ value[:, :, start:last]
            out[:, :, :, first:last] = part.unflatten(2, (grouped.shape[2], last - first))
        ctx.save_for_backward(query, key, value, *kept)
        return out.flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        grouped, slopes = _group_heads(query, key.shape[1]), _group_heads(gradients[0], key.shape[1])
        by_query = torch.empty_like(grouped)
        by_key, by_value = torch.zeros_like(key), torch.zeros_like(value)
        blocks = _blocks(query.shape[2], ctx.window, query.dtype)
        for (first, last, start), probabilities in zip(blocks, kept, strict=True):
            part = slopes[:, :, :, first:last].flatten(2, 3)
            flat = probabilities.flatten(2, 3)
            by_value[:, :, start:last] += flat.transpose(-1, -2) @ part
            slope = part @ value[:, :, start:last].transpose(-1, -2)
            slope = torch._softmax_backward_data(slope, flat, -1, flat.dtype).mul_(ctx.scale)
            by_query[:, :, :, first:last] = (slope @ key[:, :, start:last]).unflatten(2, probabilities.shape[2:4])
            by_key[:, :, start:last] += slope.transpose(-1, -2) @ grouped[:, :, :, first:last].flatten(2, 3)
        return by_query.flatten(1, 2), by_key, by_value, None, None


def _group_heads(heads: torch.Tensor, key_heads: int) -> torch.Tensor:
    """Heads as (rows, key heads, heads that share one, length, size)."""
    return heads.unflatten(1, (key_heads, heads.shape[1] // key_heads))


def _blocks(length: int, window: int | None, dtype: torch.dtype) -> list[tuple[int, int, int]]:
    """First and last query (exclusive) of each block, and its first visible key."""
    size = BF16_BLOCK if dtype == torch.bfloat16 else BLOCK
    blocks = []
    for first in range(0, length, size):
        start = 0 if window is None else max(0, first - window + 1)
        blocks.append((first, min(length, first + size), start))
    return blocks


def _causal_bias(first: int, last: int, start: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """Zero where a key is visible to a query of the block, else minus infinity; shape (queries, keys)."""
    queries = torch.arange(first, last).unsqueeze(1)
    keys = torch.arange(start, last)
    hidden = keys > queries
    if window is not None:
        hidden |= keys <= queries - window
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface for rows without a cache that are padded on the right, if at all."""
    if attention_mask is not None or dropout or query.shape[2] != key.shape[2]:
        raise ValueError("blockwise attention needs whole rows without mask and dropout")
    if torch.is_autocast_enabled("cpu"):  # rotary embeddings leave queries and keys in fp32
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    window = sliding_window if sliding_window and sliding_window < query.shape[2] else None
    result: Any = BlockwiseAttention.apply(query, key, value, scale, window)
    return result.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)


def exclude_from_compilation() -> None:
    """Compiled layers leave attention as it is: the number of blocks differs with the length."""
    AttentionInterface.register(NAME, torch.compiler.disable(attend))


@contextmanager
def blockwise_attention(config: Any) -> Iterator[None]:
    """Models with this config use blockwise attention inside; unsupported ones are unchanged.

    With gradient checkpointing the backward pass computes attention again, so it must be inside, too.
    """
    text: Any = config.get_text_config()
    before = text._attn_implementation
    drops = bool(getattr(text, "attention_dropout", None))
    if drops or text.model_type not in SUPPORTED_ARCHITECTURES or before not in ("sdpa", NAME):
        yield
        return
    text._attn_implementation = NAME
    try:
        yield
    finally:
        text._attn_implementation = before
