"""Batched generation: one forward pass generates tokens of several documents.

Throughput, not latency: a document waits for the others of its batch. The prefix that all prompts share is computed
once. The rest of each prompt is padded on the left, so batches have documents of similar length. A completed document
leaves the batch.

As for single documents, predictable tokens are fed ahead and verified (``training.ml.decoding.decoder``): a step with
few tokens costs as much as reading the weights, whatever their number. Rejected tokens stay in the cache, masked out.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from evaluation.ml.prompts import common_prefix
from training.ml.data.encoder import Encoder
from training.ml.decoding.constraint import Constraint
from training.ml.decoding.decoder import Loaded
from training.ml.decoding.kv_cache import PrefixCache, is_croppable
from training.ml.decoding.speculation import Ids, Speculator

#: tokens per step that cost a CPU hardly more than one
MAX_FED_TOKENS = 32
_DRAFT = 8


@dataclass
class BatchItem:
    """One document of a batch: prompt, maximum output tokens and constraint; and its output so far."""

    prompt: list[int]
    max_tokens: int
    constraint: Constraint | None = None
    tokens: list[int] = field(default_factory=list)
    finish_reason: str = "length"
    latency_ms: float = 0.0

    @cached_property
    def read(self) -> Ids:
        """The prompt as an array, for speculation."""
        return np.array(self.prompt, dtype=np.int64)


def can_batch(config: Any) -> bool:
    """Whether the model supports padded batches: a recurrent state would read the padding."""
    return is_croppable(config)


class BatchGenerator:
    """Generates batches with one model."""

    def __init__(
        self, loaded: Loaded, encoder: Encoder, speculator: Speculator | None = None, *, fed: int = MAX_FED_TOKENS
    ) -> None:
        """``speculator``: known outputs for speculation; new outputs are added to it.

        ``fed``: tokens per step over all documents; 0 feeds one token of each, as a reference.
        """
        self._loaded = loaded
        self._fed = fed
        self._speculator = speculator or Speculator()
        self._stops = frozenset(encoder.stop_ids)
        self._shared: list[int] = []
        self._start: PrefixCache | None = None
        self._window = _window(loaded.model.config)

    @torch.inference_mode()
    def warm(self, prompts: Sequence[list[int]], longest: int) -> int:
        """Computes the prefix that all these prompts share; returns its length in tokens. ``longest``: tokens of the
        longest prompt with its output.
        """
        shared = common_prefix(prompts)
        # A sliding window counts positions: padding after the shared prefix would push the prefix out of it.
        if not shared or (self._window and self._window <= longest):
            return 0
        self._shared = shared
        self._start = PrefixCache()
        ids = torch.tensor([self._shared], device=self._loaded.device)
        self._loaded.model(input_ids=ids, cache=self._start, use_cache=True, logits_to_keep=1)
        return len(shared)

    @torch.inference_mode()
    def answer(self, batch: Sequence[BatchItem], began: float) -> None:
        """Writes the outputs into ``batch``. ``began``: start of the batch (``time.perf_counter``), from which
        latencies count. Raises ConstraintError where a grammar cannot be followed.
        """
        rows = list(batch)
        shared = self._common(rows)
        cache = self._start.expand(len(rows)) if shared and self._start else PrefixCache()
        mask = torch.ones((len(rows), shared), dtype=torch.long)
        feeds = [item.prompt[shared:] for item in rows]
        drafts: list[list[int]] = [[] for _ in rows]
        while True:
            mask, logits = self._forward(rows, feeds, mask, cache, keep=1 + max(map(len, drafts)))
            going = self._write(rows, drafts, logits, mask, began)
            if not going:
                return
            if len(going) < len(rows):
                rows = [rows[place] for place in going]
                chosen = torch.tensor(going)
                cache.select(chosen.to(self._loaded.device))
                mask = mask[chosen]
            drafts = [self._draft(item, len(rows)) for item in rows]
            feeds = [[item.tokens[-1], *draft] for item, draft in zip(rows, drafts, strict=True)]

    def _common(self, rows: Sequence[BatchItem]) -> int:
        """Tokens of the shared prefix; 0 if one of the prompts does not have it."""
        length = len(self._shared)
        fits = all(len(item.prompt) > length and item.prompt[:length] == self._shared for item in rows)
        return length if fits else 0

    def _forward(
        self,
        rows: Sequence[BatchItem],
        feeds: Sequence[list[int]],
        mask: torch.Tensor,
        cache: PrefixCache,
        *,
        keep: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask with the positions of ``feeds`` added on the right; logits of the last ``keep`` positions."""
        width = max(map(len, feeds))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        places = torch.zeros_like(ids)
        added = torch.zeros_like(ids)
        for row, (item, feed) in enumerate(zip(rows, feeds, strict=True)):
            first = len(item.prompt) + len(item.tokens) - 1 if item.tokens else len(item.prompt) - len(feed)
            ids[row, width - len(feed) :] = torch.tensor(feed)
            places[row, width - len(feed) :] = torch.arange(first, first + len(feed))
            added[row, width - len(feed) :] = 1
        mask = torch.cat([mask, added], dim=1)
        device = self._loaded.device
        result = self._loaded.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=places.to(device),
            cache=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return mask, result.logits

    def _draft(self, item: BatchItem, rows: int) -> list[int]:
        """Tokens that probably come next: those the grammar forces, and a copy from the prompt or earlier outputs."""
        room = min(self._fed // rows, item.max_tokens - len(item.tokens), 1 + _DRAFT) - 1
        if room <= 0 or self._window:  # rejected tokens would push the prompt out of the window
            return []
        draft = item.constraint.forced()[:room] if item.constraint else []
        return draft + self._speculator.propose(item.read, item.tokens + draft, room - len(draft))

    def _write(
        self,
        rows: Sequence[BatchItem],
        drafts: Sequence[list[int]],
        logits: torch.Tensor,
        mask: torch.Tensor,
        began: float,
    ) -> list[int]:
        """Adds tokens to each row and masks rejected ones; returns the positions of the rows that continue."""
        going = []
        for place, (item, draft) in enumerate(zip(rows, drafts, strict=True)):
            ended, at = False, 0
            for at in range(len(draft) + 1):
                ended = self._pick(item, logits[place, at - len(draft) - 1])
                if ended or len(item.tokens) >= item.max_tokens or (at < len(draft) and item.tokens[-1] != draft[at]):
                    break
            if at < len(draft):
                mask[place, at - len(draft) :] = 0
            if ended or len(item.tokens) >= item.max_tokens:
                item.finish_reason = "stop" if ended else "length"
                item.latency_ms = round((time.perf_counter() - began) * 1000, 2)
                self._speculator.add(item.tokens)
            else:
                going.append(place)
        return going

    def _pick(self, item: BatchItem, logits: torch.Tensor) -> bool:
        """Adds the most probable allowed token; whether it ends the output."""
        token = int((item.constraint.mask(logits) if item.constraint else logits).argmax())
        item.tokens.append(token)
        return token in self._stops or (item.constraint is not None and item.constraint.accept(token))


def _window(config: Any) -> int:
    """Tokens of the sliding window; 0 if no layer has one."""
    text = config.get_text_config()
    slides = "sliding_attention" in (getattr(text, "layer_types", None) or [])
    return int(getattr(text, "sliding_window", 0) or 0) if slides else 0
