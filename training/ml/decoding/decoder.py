"""Loads a model folder and answers one document after another, greedily, free or held to a grammar.

The trainer's samples and the evaluation both decode here. Three things make it faster than ``model.generate`` without
changing what is written (up to rounding where two tokens are equally likely):

- The start that all prompts share (instruction, schema, examples) is computed once and its keys and values are kept.
- Tokens that can be foreseen are fed together with the last one: those the grammar forces, and those that are guessed
  from the prompt and from other answers (``training.ml.decoding.speculation``). Every one of them is then checked
  against what the model itself would have written there, and the first that differs is thrown away with the rest
  (speculative decoding with a draft that costs nothing; arXiv:2304.04487).
- Only the positions that are looked at get logits.

In fp32 the answers are those of ``model.generate``, token for token. In bf16 two nearly equal tokens may fall the other
way, because a product of several rows is rounded differently from several products of one.

Latency is honest: it covers tokenising the whole prompt, computing all of it that is not shared, and decoding. The
shared start is computed once, before the first document, as a server would.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.ml.data.encoder import Encoder
from training.ml.decoding.constraint import Constraint
from training.ml.decoding.kv_cache import PrefixCache, can_cut_back
from training.ml.decoding.speculation import Foresight, Ids
from training.ml.hardware import device as machine

_GUESSED = 16  # most tokens fed ahead on a guess
_FED = 32  # most tokens fed ahead in all


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready to decode."""

    model: Any
    tokenizer: Any
    device: torch.device
    precision: str


@dataclass(frozen=True)
class Answer:
    """What a model wrote. ``finish_reason``: stop, or length where it was cut at the limit. Latency in milliseconds.

    Where they were asked for: ``tokens`` it wrote, and for each the natural logarithm of the probability it was chosen
    with, among those that the grammar allowed.
    """

    text: str
    finish_reason: str
    latency_ms: float
    prompt_tokens: int
    output_tokens: int
    steps: int
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


def load(path: str, *, precision: str = "auto") -> Loaded:
    """Loads a checked model folder. ``precision``: auto (bf16 where the hardware multiplies it), fp32 or bf16."""
    device = machine.pick_device()
    precision = machine.resolve_precision(precision, device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    return Loaded(model.to(device).eval(), tokenizer, device, precision)


class Decoder:
    """Answers prompts with one model. Not safe for several threads: it owns one cache."""

    def __init__(
        self, loaded: Loaded, encoder: Encoder, foresight: Foresight | None = None, *, foresee: bool = True
    ) -> None:
        """``foresight``: what is known about other answers; those that are written here are added to it.

        ``foresee=False`` feeds one token at a time, as a reference.
        """
        self._loaded = loaded
        self._encoder = encoder
        self._stops = frozenset(encoder.stop_ids)
        self._reusable = can_cut_back(loaded.model.config)
        self._foresight = (foresight or Foresight()) if foresee and self._reusable else None
        self._cache: Any = None
        self._prefix: tuple[int, ...] = ()

    @torch.inference_mode()
    def warm(self, prompts: Sequence[Sequence[int]]) -> int:
        """Computes the start that all these prompts share; returns its length in tokens."""
        if not self._reusable or not prompts:
            return 0
        as_tuples = [tuple(prompt) for prompt in prompts]
        # What the first and the last in dictionary order share, all between them share too.
        shared = _common(min(as_tuples), max(as_tuples))[: min(map(len, as_tuples)) - 1]
        self._cache = PrefixCache()
        self._prefix = tuple(shared)
        if shared:
            self._forward(shared, keep=1)
        return len(shared)

    def answer(
        self,
        make_prompt: Callable[[], list[int]],
        *,
        max_new_tokens: int,
        constraint: Constraint | None = None,
        with_logprobs: bool = False,
    ) -> Answer:
        """Answers one document. ``make_prompt`` tokenises its prompt, inside the time that is measured.

        Raises ConstraintError where the grammar cannot be followed.
        """
        started = time.perf_counter()
        prompt = make_prompt()
        logprobs: list[float] | None = [] if with_logprobs else None
        written, finish, steps = self._decode(prompt, max_new_tokens, constraint, logprobs)
        if self._foresight:
            self._foresight.learn(written)
        text = self._encoder.decode(written)
        elapsed = (time.perf_counter() - started) * 1000
        kept = () if logprobs is None else (tuple(written), tuple(logprobs))
        return Answer(text, finish, round(elapsed, 2), len(prompt), len(written), steps, *kept)

    @torch.inference_mode()
    def _decode(
        self, prompt: list[int], limit: int, constraint: Constraint | None, logprobs: list[float] | None = None
    ) -> tuple[list[int], str, int]:
        """Tokens written (the one that ended them included), why they ended, and forward passes.

        ``logprobs``: a list that gets the log-probability of each token written.
        """
        held = self._reuse(prompt)
        if constraint:
            constraint.reset()
        read = np.array(prompt, dtype=np.int64)
        tokens, steps = list(prompt), 0
        end = len(prompt) + limit
        while len(tokens) < end:
            draft = self._draft(read, tokens[len(prompt) :], end - len(tokens) - 1, constraint)
            logits = self._forward(tokens[held:] + draft, keep=len(draft) + 1)
            steps += 1
            held = len(tokens) + len(draft)
            for position in range(len(draft) + 1):
                token = self._pick(logits[position], constraint, logprobs)
                tokens.append(token)
                if token in self._stops:
                    return tokens[len(prompt) :], "stop", steps
                if constraint and constraint.accept(token):
                    return tokens[len(prompt) :], "stop", steps
                if position < len(draft) and token != draft[position]:
                    break
            held = min(held, len(tokens) - 1)
            if self._reusable:
                self._cache.keep(held)
        return tokens[len(prompt) :], "length", steps

    def _reuse(self, prompt: list[int]) -> int:
        """Cuts the cache back to what it shares with the prompt; returns how many tokens that is."""
        if not self._reusable:
            self._cache = None
            return 0
        if self._cache is None:
            self._cache = PrefixCache()
        shared = _common(self._prefix, prompt[:-1])
        if len(shared) < len(self._prefix):
            # A prompt that the prefix was not made for. What it does not share has to go, so the prefix shrinks.
            self._prefix = tuple(shared)
        self._cache.keep(len(shared))
        return len(shared)

    def _forward(self, tokens: Sequence[int], *, keep: int) -> torch.Tensor:
        """Logits of the last ``keep`` positions, shape (keep, vocabulary)."""
        ids = torch.tensor([list(tokens)], device=self._loaded.device)
        result = self._loaded.model(input_ids=ids, cache=self._cache, use_cache=True, logits_to_keep=keep)
        self._cache = result.cache
        return result.logits[0]

    def _pick(self, logits: torch.Tensor, constraint: Constraint | None, logprobs: list[float] | None) -> int:
        if constraint:
            logits = constraint.mask(logits)
        token = int(logits.argmax())
        if logprobs is not None:
            logprobs.append(float(logits[token].float() - logits.float().logsumexp(-1)))
        return token

    def _draft(self, prompt: Ids, written: list[int], room: int, constraint: Constraint | None) -> list[int]:
        """Tokens that will probably come next, at most ``room`` of them."""
        if not self._foresight or room <= 0:
            return []
        draft = constraint.forced() if constraint else []
        draft += self._foresight.guess(prompt, written + draft, _GUESSED - len(draft))
        return draft[: min(room, _FED)]


def _common(first: Sequence[int], second: Sequence[int]) -> list[int]:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return list(first[:length])
