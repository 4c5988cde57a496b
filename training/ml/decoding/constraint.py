"""Constrained decoding with llguidance. It fails closed: tokens that the grammar does not allow cannot be generated."""

from typing import Any

import llguidance
import llguidance.hf
import torch

from slmstudio.contract.decoding.grammar import limits


class ConstraintError(RuntimeError):
    """The grammar cannot be compiled or followed; the message says why."""


class Grammar:
    """A compiled grammar for one tokenizer; ``constraint()`` gives a fresh automaton for a document."""

    def __init__(self, text: str, tokenizer: Any, *, vocabulary: int, stop_ids: tuple[int, ...]) -> None:
        """``vocabulary``: width of the model's logits, which may be larger than the tokenizer's.

        Raises ConstraintError.
        """
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(stop_ids))
        self._first = self._compiled(text)

    def _compiled(self, text: str) -> Any:
        """The automaton of a grammar. Raises ConstraintError."""
        matcher = llguidance.LLMatcher(self._tokenizer, text, log_level=0, limits=limits())
        if matcher.is_error():
            raise ConstraintError(f"The grammar cannot be used: {_first_line(matcher)}")
        return matcher

    def other(self, text: str) -> "Constraint":
        """The automaton of another grammar (llguidance's Lark) for the same tokenizer, for example that of a document.

        Raises ConstraintError.
        """
        return Constraint(self._compiled(llguidance.LLMatcher.grammar_from_lark(text)))

    def constraint(self) -> "Constraint":
        """A fresh automaton."""
        return Constraint(self._first.deep_copy())


class Constraint:
    """The automaton of one output."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def reset(self) -> None:
        """Back to the start."""
        self._matcher.reset()

    def forced(self) -> list[int]:
        """Tokens that the grammar forces, as the tokenizer would split them."""
        return list(self._matcher.compute_ff_tokens())

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits, shape (vocabulary,), with minus infinity where the grammar does not allow the token."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        self._check()
        allowed = ((bits.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
        allowed = allowed[: logits.shape[-1]].to(logits.device)
        return logits.masked_fill(~allowed, float("-inf"))

    def accept(self, token: int) -> bool:
        """Consumes a token; True where the output is complete."""
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintError(f"The grammar could not be followed: {_first_line(self._matcher)}")


def _first_line(matcher: Any) -> str:
    """The error message without the parser state, which is pages long."""
    return str(matcher.get_error()).strip().partition("\n")[0][:300]
