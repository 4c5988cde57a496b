"""The turn of a document in an engine that answers several concurrently."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from evaluation.ml.prompts import PromptBuilder
from serving.replicas.protocol import ModelOutput
from slmstudio.contract.decoding.grounded_grammar import is_accepted
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import Window
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

    def failed(self, code: str, error: str) -> ModelOutput:
        """A document without an output."""
        return ModelOutput.failed(code, error, queue_ms=self.queue_ms, model_ms=self.model_ms)


class Slots:
    """So many documents are answered concurrently; the others wait."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    async def answer(
        self,
        builder: PromptBuilder,
        text: str,
        prepare: Callable[[PromptBuilder, str], Prompt],
        ask: Callable[[Prompt, Turn], Awaitable[ModelOutput]],
    ) -> ModelOutput:
        """The answer of ``ask`` to the prompt of ``prepare``, which runs in a thread and may raise Refused.

        A document that is too long for one prompt is asked for window by window, and its answers are merged.
        """
        arrived = time.perf_counter()
        async with self._free:
            turn = Turn(round((time.perf_counter() - arrived) * 1000, 2))
            answers: list[ModelOutput] = []
            try:
                windows = await asyncio.to_thread(builder.split, text)
                for window in windows:
                    prompt = await asyncio.to_thread(prepare, builder.of(windows), window.text)
                    answers.append(await ask(prompt, turn))
                    if answers[-1].finish_reason != "stop":
                        break
            except Refused as error:
                return turn.failed("too_long" if error.code == "length" else "engine", error.message)
            if len(answers) == 1 or answers[-1].finish_reason == "error":
                return answers[-1]
            return await asyncio.to_thread(_merged, builder, text, windows, answers, turn)


def _merged(
    builder: PromptBuilder, text: str, windows: list[Window], answers: list[ModelOutput], turn: Turn
) -> ModelOutput:
    """The answer for a document from those of its windows; that of the last one where it is truncated."""
    prompt, output = sum(answer.prompt_tokens for answer in answers), sum(answer.output_tokens for answer in answers)
    last = replace(answers[-1], prompt_tokens=prompt, output_tokens=output)
    if last.finish_reason != "stop":
        return last
    merged = merge_outputs(
        builder.schema, text, windows, [answer.raw for answer in answers], [answer.confidence for answer in answers]
    )
    return replace(last, raw=merged.raw, confidence=merged.confidence, model_ms=turn.model_ms)


def prepare(builder: PromptBuilder, text: str) -> tuple[list[int], str]:
    """The prompt of a document or a window, and the grammar of its output."""
    return builder.prompt_within_context(text), builder.grammar(text)


def violates(grammar: str, raw: str, finish: str) -> bool:
    """Whether an output violates its grammar ("": there is none); a truncated one may end in half a character."""
    return bool(grammar) and not is_accepted(grammar, raw.removesuffix("\ufffd") if finish == "length" else raw)
