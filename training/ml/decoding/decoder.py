"""Greedy decoding of a model folder, unconstrained or with a grammar, one document after another.

Used by the trainer's samples and by evaluations. It is faster than ``model.generate`` with the same output (up to
rounding where two tokens are equally likely):

- The keys and values of the prefix that all prompts share (instruction, schema, examples) are computed once.
- Draft tokens are fed together with the last one: tokens that the grammar forces, and tokens that are proposed from the
  prompt and from other outputs (``training.ml.decoding.speculation``). Each is verified against the model's own choice,
  and the first that differs is dropped with the rest (speculative decoding without a draft model; arXiv:2304.04487).
- Logits are computed only for the positions in use.

In fp32 the outputs equal those of ``model.generate`` token for token. In bf16 two nearly equal tokens can swap, because
matrix products of several rows round differently.

The measured latency covers tokenization of the prompt, computing all of it that is not shared, and decoding. The shared
prefix is computed once, before the first document, as a server would.
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
from training.ml.decoding.kv_cache import PrefixCache, is_croppable
from training.ml.decoding.speculation import Ids, Speculator
from training.ml.hardware import device as machine

MAX_SPECULATED_TOKENS = 16  # maximum proposed draft tokens
MAX_DRAFT_TOKENS = 32  # maximum draft tokens


@dataclass(frozen=True)
class Loaded:
    """A model in memory, ready to decode."""

    model: Any
    tokenizer: Any
    device: torch.device
    precision: str


@dataclass(frozen=True)
class GeneratedAnswer:
    """A model's output. ``finish_reason``: stop, or length at the token limit. Latency in milliseconds.

    On request: ``tokens``, and the natural log-probability of each among the tokens that the grammar allowed.
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
    """Decodes prompts with one model. Not thread-safe: it has one cache."""

    def __init__(
        self,
        loaded: Loaded,
        encoder: Encoder,
        speculator: Speculator | None = None,
        *,
        speculate: bool = True,
        learns: bool = True,
    ) -> None:
        """``speculator``: other outputs to propose tokens from.

        ``learns``: the outputs of this decoder are added to it. In bf16 the rounding depends on how many tokens a step
        verifies; without it an output and its probabilities depend on nothing that was answered before.
        ``speculate=False`` feeds one token at a time, as a reference.
        """
        self._loaded = loaded
        self._encoder = encoder
        self._stops = frozenset(encoder.stop_ids)
        self._reusable = is_croppable(loaded.model.config)
        self._speculator = (speculator or Speculator()) if speculate and self._reusable else None
        self._learns = learns
        self._cache: Any = None
        #: with the shared prefix; prompts without it get a cache of their own
        self._warmed: Any = None
        self._prefix: tuple[int, ...] = ()

    @torch.inference_mode()
    def warm(self, prompts: Sequence[Sequence[int]]) -> int:
        """Computes the prefix that these prompts share; returns its length in tokens."""
        if not self._reusable or not prompts:
            return 0
        as_tuples = [tuple(prompt) for prompt in prompts]
        # The common prefix of the first and the last in sorted order is that of all.
        shared = _common_prefix(min(as_tuples), max(as_tuples))[: min(map(len, as_tuples)) - 1]
        self._cache = PrefixCache()
        self._prefix = tuple(shared)
        if shared:
            self._forward(shared, keep=1)
        self._warmed = self._cache
        return len(shared)

    def answer(
        self,
        make_prompt: Callable[[], list[int]],
        *,
        max_new_tokens: int,
        constraint: Constraint | None = None,
        with_logprobs: bool = False,
    ) -> GeneratedAnswer:
        """Decodes one document. ``make_prompt`` tokenizes its prompt within the measured latency.

        Raises ConstraintError where the grammar cannot be followed.
        """
        started = time.perf_counter()
        prompt = make_prompt()
        logprobs: list[float] | None = [] if with_logprobs else None
        written, finish, steps = self._decode(prompt, max_new_tokens, constraint, logprobs)
        if self._speculator and self._learns:
            self._speculator.add(written)
        text = self._encoder.decode(written)
        elapsed = (time.perf_counter() - started) * 1000
        kept = () if logprobs is None else (tuple(written), tuple(logprobs))
        return GeneratedAnswer(text, finish, round(elapsed, 2), len(prompt), len(written), steps, *kept)

    @torch.inference_mode()
    def _decode(
        self, prompt: list[int], limit: int, constraint: Constraint | None, logprobs: list[float] | None = None
    ) -> tuple[list[int], str, int]:
        """The generated tokens (with the end token), the finish reason, and the number of forward passes.

        ``logprobs``: a list that gets the log-probability of each token.
        """
        cached = self._reuse(prompt)
        if constraint:
            constraint.reset()
        read = np.array(prompt, dtype=np.int64)
        tokens, steps = list(prompt), 0
        end = len(prompt) + limit
        while len(tokens) < end:
            draft = self._draft(read, tokens[len(prompt) :], end - len(tokens) - 1, constraint)
            logits = self._forward(tokens[cached:] + draft, keep=len(draft) + 1)
            steps += 1
            cached = len(tokens) + len(draft)
            for position in range(len(draft) + 1):
                token = self._pick(logits[position], constraint, logprobs)
                tokens.append(token)
                if token in self._stops:
                    return tokens[len(prompt) :], "stop", steps
                if constraint and constraint.accept(token):
                    return tokens[len(prompt) :], "stop", steps
                if position < len(draft) and token != draft[position]:
                    break
            cached = min(cached, len(tokens) - 1)
            if self._reusable:
                self._cache.crop(cached)
        return tokens[len(prompt) :], "length", steps

    def _reuse(self, prompt: list[int]) -> int:
        """Crops the cache to the shared prefix; returns its length in tokens, 0 where the prompt does not begin so."""
        if not self._reusable:
            self._cache = None
            return 0
        length = len(self._prefix)
        if self._warmed is None or tuple(prompt[:-1][:length]) != self._prefix:
            self._cache = PrefixCache()
            return 0
        self._cache = self._warmed
        self._cache.crop(length)
        return length

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
        """Draft tokens, at most ``room``."""
        if not self._speculator or room <= 0:
            return []
        draft = constraint.forced() if constraint else []
        draft += self._speculator.propose(prompt, written + draft, MAX_SPECULATED_TOKENS - len(draft))
        return draft[: min(room, MAX_DRAFT_TOKENS)]


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> list[int]:
    length = 0
    for token, other in zip(first, second, strict=False):
        if token != other:
            break
        length += 1
    return list(first[:length])
