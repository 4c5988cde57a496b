"""The turn of a document in an engine that answers several concurrently."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from serving.replicas.protocol import Answer
from slmstudio.contract.decoding.grounded_grammar import is_accepted
from slmstudio.errors import Refused

Prompt = TypeVar("Prompt")


@dataclass(frozen=True, slots=True)
class Turn:
    """``queue_ms``: how long the document waited for its slot."""

    queue_ms: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def model_ms(self) -> float:
        """Milliseconds since it has its slot."""
        return round((time.perf_counter() - self.started) * 1000, 2)

    def failed(self, code: str, error: str) -> Answer:
        """A document without an output."""
        return Answer.failed(code, error, queue_ms=self.queue_ms, model_ms=self.model_ms)


class Slots:
    """So many documents are answered concurrently; the others wait."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    async def answer(
        self, text: str, prepare: Callable[[str], Prompt], ask: Callable[[Prompt, Turn], Awaitable[Answer]]
    ) -> Answer:
        """The answer of ``ask`` to the prompt of ``prepare``, which runs in a thread and may raise Refused."""
        arrived = time.perf_counter()
        async with self._free:
            turn = Turn(round((time.perf_counter() - arrived) * 1000, 2))
            try:
                prompt = await asyncio.to_thread(prepare, text)
            except Refused as error:
                return turn.failed("too_long" if error.code == "length" else "engine", error.message)
            return await ask(prompt, turn)


def violates(grammar: str, raw: str, finish: str) -> bool:
    """Whether an output violates its grammar ("": there is none); a truncated one may end in half a character."""
    return bool(grammar) and not is_accepted(grammar, raw.removesuffix("\ufffd") if finish == "length" else raw)
