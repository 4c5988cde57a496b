"""What engines share: their protocol, the turn of a document, and the confidence of each field.

An engine is made with the folder of a package, its spec, the builder of its prompts (None for an encoder or a classical
model) and the number of documents that it answers concurrently.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

from evaluation.inference.confidence import first_tokens, per_field
from evaluation.ml.prompts import PromptBuilder
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.contract.decoding.grounding import is_accepted
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import Window
from slmstudio.errors import Refused

Prompt = TypeVar("Prompt")
Result = TypeVar("Result")


class Engine(Protocol):
    """A loaded model. ``answer`` may be called concurrently; a cancelled call stops the generation where it can."""

    async def start(self) -> None:
        """Loads the model. Raises Refused."""

    async def answer(self, text: str) -> ModelOutput:
        """The output for one document. Never raises but CancelledError."""

    async def metrics(self) -> str:
        """Metrics of the engine itself in the text format of Prometheus; "" where it has none."""

    async def close(self) -> None:
        """Frees the model."""

    @property
    def version(self) -> str:
        """Name and version of the package that runs the model."""


@runtime_checkable
class DecodingEngine(Engine, Protocol):
    """An engine of a language model, whose outputs are decoded under a schema."""

    async def answer_prompt(self, prompt: str, schema: str, tokens: int) -> str:
        """The greedy continuation of a prompt under a JSON Schema, for the probe of enforcement."""


# -- the turn of a document -------------------------------------------------------------------------------------------


class SingleThread:
    """Runs the work of an engine in one thread, in the order of its arrival.

    Work cannot be stopped: where its caller has hung up, it ends by itself before the next begins. Work that has not
    begun is dropped then.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def run(self, work: Callable[[float], Result]) -> Result:
        """The result of ``work``, which gets the milliseconds that it waited."""
        arrived = time.perf_counter()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: work(round((time.perf_counter() - arrived) * 1000, 2))
        )

    async def metrics(self) -> str:
        """An engine in this process has none."""
        return ""

    def close(self) -> None:
        """No more work is taken."""
        self._threads.shutdown(wait=False)


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


# -- prompts, grammars, confidence ------------------------------------------------------------------------------------


def prepare(builder: PromptBuilder, text: str) -> tuple[list[int], str]:
    """The prompt of a document or a window, and the grammar of its output."""
    return builder.prompt_within_context(text), builder.grammar(text)


def violates(grammar: str, raw: str, finish: str) -> bool:
    """Whether an output violates its grammar ("": there is none); a truncated one may end in half a character."""
    return bool(grammar) and not is_accepted(grammar, raw.removesuffix("\ufffd") if finish == "length" else raw)


def compact_grammar(schema: str) -> str:
    """The grammar of compact JSON: free white space would let a weak model write nothing else."""
    compact = {**json.loads(schema), "x-guidance": {"whitespace_flexible": False}}
    return f"%llguidance {{}}\nstart: %json {json.dumps(compact)}"


def field_confidence(raw: str, ends: Sequence[int], logprobs: Sequence[float], others: Sequence[float]) -> Confidence:
    """Field -> lowest and mean probability, and how much more probable its first token was than the next one.

    ``ends``: for each token the length of the text up to its end. ``others``: for each token the log-probability of the
    most probable other one.
    """
    first = first_tokens(raw, ends)
    margins = {path: _probability(logprobs[at]) - _probability(others[at]) for path, at in first.items()}
    return {
        path: (round(known.minimum, 4), round(known.mean, 4), round(margins[path], 4))
        for path, known in per_field(raw, ends, logprobs).items()
    }


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))
