"""Answers several documents together: one forward pass writes tokens of each.

Throughput, not latency: a document waits for those beside it. The start that all prompts share is computed once, as for
one document; what is left of each prompt is padded on its left, so documents of about the same length go together. A
document that is done leaves the batch, and those that remain are computed without it.

As for one document, tokens that can be foreseen are fed ahead and checked (``training.ml.decoding.decoder``): a step
with few tokens costs as much as reading the weights, whatever their number. What was fed in vain stays in the cache,
masked out.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from evaluation.ml.questions import shared_start
from training.ml.data.encoder import Encoder
from training.ml.decoding.constraint import Constraint
from training.ml.decoding.decoder import Loaded
from training.ml.decoding.kv_cache import PrefixCache, can_cut_back
from training.ml.decoding.speculation import Foresight, Ids

#: tokens of one step that cost a CPU hardly more than one does
FED = 32
_DRAFT = 8


@dataclass
class Asked:
    """One document of a batch: its prompt, most tokens of its answer, what it is held to; and what it has written."""

    prompt: list[int]
    most: int
    constraint: Constraint | None = None
    written: list[int] = field(default_factory=list)
    finish_reason: str = "length"
    latency_ms: float = 0.0

    @cached_property
    def read(self) -> Ids:
        """The prompt as guesses are made from it."""
        return np.array(self.prompt, dtype=np.int64)


def can_batch(config: Any) -> bool:
    """Whether padded documents can be answered together: a state that runs along the text would read the padding."""
    return can_cut_back(config)


class Batches:
    """Answers batches with one model."""

    def __init__(self, loaded: Loaded, encoder: Encoder, foresight: Foresight | None = None, *, fed: int = FED) -> None:
        """``foresight``: what is known about other answers; those that are written here are added to it.

        ``fed``: tokens of a step, of all documents together; 0 feeds one of each, as a reference.
        """
        self._loaded = loaded
        self._fed = fed
        self._foresight = foresight or Foresight()
        self._stops = frozenset(encoder.stop_ids)
        self._shared: list[int] = []
        self._start: PrefixCache | None = None
        self._window = _window(loaded.model.config)

    @torch.inference_mode()
    def warm(self, prompts: Sequence[list[int]], most: int) -> int:
        """Computes the start that all these prompts share; returns its length in tokens. ``most``: tokens of the
        longest prompt with its answer.
        """
        shared = shared_start(prompts)
        # A window counts places, and padding between the shared start and the rest would push that start out of it.
        if not shared or (self._window and self._window <= most):
            return 0
        self._shared = shared
        self._start = PrefixCache()
        ids = torch.tensor([self._shared], device=self._loaded.device)
        self._loaded.model(input_ids=ids, cache=self._start, use_cache=True, logits_to_keep=1)
        return len(shared)

    @torch.inference_mode()
    def answer(self, batch: Sequence[Asked], began: float) -> None:
        """Writes the answers into ``batch``. ``began``: when the documents were taken up (``time.perf_counter``), from
        which their latencies count. Raises ConstraintError where a grammar cannot be followed.
        """
        rows = list(batch)
        shared = self._common(rows)
        cache = self._start.spread(len(rows)) if shared and self._start else PrefixCache()
        mask = torch.ones((len(rows), shared), dtype=torch.long)
        feeds = [one.prompt[shared:] for one in rows]
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
            drafts = [self._draft(one, len(rows)) for one in rows]
            feeds = [[one.written[-1], *draft] for one, draft in zip(rows, drafts, strict=True)]

    def _common(self, rows: Sequence[Asked]) -> int:
        """Tokens of the shared start; 0 where one of the prompts does not have it."""
        length = len(self._shared)
        fits = all(len(one.prompt) > length and one.prompt[:length] == self._shared for one in rows)
        return length if fits else 0

    def _forward(
        self, rows: Sequence[Asked], feeds: Sequence[list[int]], mask: torch.Tensor, cache: PrefixCache, *, keep: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask with the places of ``feeds`` added, each row on the right; logits of the last ``keep`` places."""
        width = max(map(len, feeds))
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        places = torch.zeros_like(ids)
        added = torch.zeros_like(ids)
        for row, (one, feed) in enumerate(zip(rows, feeds, strict=True)):
            first = len(one.prompt) + len(one.written) - 1 if one.written else len(one.prompt) - len(feed)
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

    def _draft(self, one: Asked, rows: int) -> list[int]:
        """Tokens that will probably come next: those the grammar forces, and a copy from what was read before."""
        room = min(self._fed // rows, one.most - len(one.written), 1 + _DRAFT) - 1
        if room <= 0 or self._window:  # what was fed in vain would push what was read out of the window
            return []
        draft = one.constraint.forced()[:room] if one.constraint else []
        return draft + self._foresight.guess(one.read, one.written + draft, room - len(draft))

    def _write(
        self, rows: Sequence[Asked], drafts: Sequence[list[int]], logits: torch.Tensor, mask: torch.Tensor, began: float
    ) -> list[int]:
        """Adds tokens to each row, and masks what was fed in vain; the places of those rows that go on."""
        going = []
        for place, (one, draft) in enumerate(zip(rows, drafts, strict=True)):
            ended, at = False, 0
            for at in range(len(draft) + 1):
                ended = self._pick(one, logits[place, at - len(draft) - 1])
                if ended or len(one.written) >= one.most or (at < len(draft) and one.written[-1] != draft[at]):
                    break
            if at < len(draft):
                mask[place, at - len(draft) :] = 0
            if ended or len(one.written) >= one.most:
                one.finish_reason = "stop" if ended else "length"
                one.latency_ms = round((time.perf_counter() - began) * 1000, 2)
                self._foresight.learn(one.written)
            else:
                going.append(place)
        return going

    def _pick(self, one: Asked, logits: torch.Tensor) -> bool:
        """Adds the likeliest token that is allowed; whether it ends the answer."""
        token = int((one.constraint.mask(logits) if one.constraint else logits).argmax())
        one.written.append(token)
        return token in self._stops or (one.constraint is not None and one.constraint.accept(token))


def _window(config: Any) -> int:
    """Tokens that a layer with a sliding window looks back; 0 where no layer has one."""
    text = config.get_text_config()
    slides = "sliding_attention" in (getattr(text, "layer_types", None) or [])
    return int(getattr(text, "sliding_window", 0) or 0) if slides else 0
