"""A key-value cache that is written in place and can be cropped, so that a shared prefix is computed once."""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

BLOCK_TOKENS = 256


class BufferLayer(DynamicLayer):
    """Keys and values of one layer in a buffer that grows by blocks.

    transformers' own layer copies all states for every token, which costs more than the attention itself. This one
    returns a view of the filled part, so a step costs the new tokens only, and cropping is one assignment.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = 0
        self._keys: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Called by the base class before the first update."""
        self.device = key_states.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds the states of new tokens, shape (batch, heads, new, size); returns those of all tokens so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self._keys = _grown(self._keys, key_states, self.length, end)
        self._values = _grown(self._values, value_states, self.length, end)
        self._keys[..., self.length : end, :] = key_states
        self._values[..., self.length : end, :] = value_states
        self.length = end
        self.keys, self.values = self._keys[..., :end, :], self._values[..., :end, :]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Number of cached tokens."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys after ``query_length`` more tokens."""
        return self.length + query_length, 0

    def crop(self, length: int) -> None:
        """Keeps the first ``length`` tokens."""
        self.length = min(self.length, length)

    def expand(self, count: int) -> "BufferLayer":
        """A new layer with the single row of this one ``count`` times."""
        wide = BufferLayer()
        if self.length and self._keys is not None and self._values is not None:
            wide.update(
                self._keys[..., : self.length, :].expand(count, -1, -1, -1),
                self._values[..., : self.length, :].expand(count, -1, -1, -1),
            )
        return wide

    def select(self, rows: torch.Tensor) -> None:
        """Keeps these rows."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]


def _grown(buffer: torch.Tensor | None, states: torch.Tensor, used: int, end: int) -> torch.Tensor:
    """A buffer for at least ``end`` tokens, with the first ``used`` kept."""
    if buffer is not None and end <= buffer.shape[-2]:
        return buffer
    size = -(-max(end, 2 * used) // BLOCK_TOKENS) * BLOCK_TOKENS
    grown = states.new_empty((*states.shape[:-2], size, states.shape[-1]))
    if buffer is not None:
        grown[..., :used, :] = buffer[..., :used, :]
    return grown


class PrefixCache(Cache):
    """One ``BufferLayer`` for each layer of a model."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=BufferLayer)

    def crop(self, length: int) -> None:
        """Keeps the first ``length`` tokens, in every layer."""
        for layer in self.layers:
            layer.crop(length)

    def expand(self, count: int) -> "PrefixCache":
        """A new cache with the single row of this one ``count`` times."""
        wide = PrefixCache()
        wide.layers = [layer.expand(count) for layer in self.layers]
        return wide

    def select(self, rows: torch.Tensor) -> None:
        """Keeps these rows of a batch, in every layer."""
        for layer in self.layers:
            layer.select(rows)


def is_croppable(config: Any) -> bool:
    """Whether a model's cache has keys and values only; recurrent states (Mamba, LFM2) cannot be cropped."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or ["full_attention"]
    return set(kinds) <= {"full_attention", "sliding_attention"}
