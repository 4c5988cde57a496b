"""What a child asks about each document, whoever answers: its prompt, its grammar, how long its answer may be.

Nothing here needs torch: llama.cpp answers in a process of its own, whose memory is measured.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.runs.spec import DocumentsRef, EvalSpec
from slmstudio.contract.decoding import grammar
from slmstudio.contract.decoding.grounding import GroundingPlan, build_plan, grammar_of
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, of_split
from training.ml.events import Emitter
from training.prompts import Example, shown_schema

MOST_BOUNDED = 2048
LEAST_FREE = 64
UNKNOWN = 512
#: training documents that are asked how their gold stands in them, and whose answers are known beforehand
_LEARNED_FROM = 500


@dataclass(frozen=True)
class Output:
    """What became of one document. Latency in milliseconds; ``error`` is a sentence where nothing was written."""

    id: str
    raw: str
    finish_reason: str
    latency_ms: float
    prompt_tokens: int
    output_tokens: int
    error: str
    confidence: dict[str, tuple[float, float]] | None = None

    @classmethod
    def failed(cls, name: str, reason: str, latency_ms: float) -> "Output":
        """Nothing was written about this document."""
        return cls(name, "", "error", round(latency_ms, 2), 0, 0, reason)

    def as_dict(self) -> dict[str, Any]:
        """As it is written and told; confidence only where it was asked for."""
        told = asdict(self)
        if self.confidence is None:
            del told["confidence"]
        return told


@dataclass(frozen=True)
class Limit:
    """Tokens of an answer: ``room`` is what a document must leave in the model's context, ``most`` is never passed."""

    room: int
    most: int


class Questions:
    """How documents are asked. ``context``: tokens that the model reads and writes, None where it does not say."""

    def __init__(
        self,
        spec: EvalSpec,
        schema: CompiledSchema,
        encoder: Encoder,
        rows: Sequence[Row],
        context: int | None,
    ) -> None:
        """``rows``: all of the dataset file. Raises Refused where nothing in the schema can be held to a document."""
        self.spec = spec
        self.schema = schema
        self.limit = token_limit(spec, schema, rows, encoder)
        self.context = context
        self.ground = _ground(spec, schema, rows)
        self._rows = rows
        self._encoder = encoder
        self._schema_text = dumps(shown_schema(schema.schema)) if spec.include_schema else None
        self._examples = [Example(one.text, schema.canonical(one.gold)) for one in spec.examples]

    def prompt(self, document: str) -> list[int]:
        """Token ids of a document's prompt."""
        return self._encoder.prompt(
            instruction=self.spec.contract.instruction,
            document=document,
            schema_text=self._schema_text,
            examples=self._examples,
        )

    def fitting(self, document: str) -> list[int]:
        """The same. Raises Refused where it leaves no room for an answer."""
        prompt = self.prompt(document)
        if self.context and len(prompt) + self.limit.room > self.context:
            raise Refused(
                f"The prompt has {len(prompt)} tokens; with {self.limit.room} for the answer that is more than the "
                f"{self.context} the model reads.",
                code="length",
            )
        return prompt

    def most(self, prompt: Sequence[int] | None) -> int:
        """Most tokens of the answer to a prompt: the limit, or what the model's context leaves of it."""
        if not self.context:
            return self.limit.most
        return self.limit.room if prompt is None else min(self.limit.most, self.context - len(prompt))

    def known(self) -> list[list[int]]:
        """Token ids of answers that training documents have; others will look like them."""
        rows = islice(of_split(self._rows, "train"), _LEARNED_FROM)
        return [self._encoder.completion(self.schema.canonical(row.gold)) for row in rows]

    def grammar(self, document: str) -> str:
        """What the answer to a document is held to, in llguidance's Lark; "" where it is free."""
        if self.spec.mode == "free":
            return ""
        return grammar_of(self.schema, self.ground or GroundingPlan(), document)


def _ground(spec: EvalSpec, schema: CompiledSchema, rows: Sequence[Row]) -> GroundingPlan | None:
    """How copied fields are held to their documents; None in the other modes."""
    if spec.mode != "grounded":
        return None
    known = islice(of_split(rows, "train"), _LEARNED_FROM)
    ground = build_plan(schema, ((row.text, row.gold) for row in known))
    if not ground.held:
        reasons = "; ".join(f"{pattern}: {why}" for pattern, why in ground.left.items())
        raise Refused(f"No field can be held to its document{f' ({reasons})' if reasons else ''}.", code="schema")
    return ground


def shared_start(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with; each has at least one more."""
    if not prompts:
        return []
    low, high = min(prompts), max(prompts)  # what these two share, all between them share too
    most = min(len(prompt) for prompt in prompts) - 1
    return low[: next((at for at in range(most) if low[at] != high[at]), most)]


def chosen(rows: Iterable[Row], wanted: DocumentsRef) -> list[Row]:
    """The documents that are asked about. Raises Refused where one that is named is not there, and where none is."""
    if wanted.ids:
        there = {row.id: row for row in rows}
        missing = [name for name in wanted.ids if name not in there]
        if missing:
            raise Refused(f"The dataset has no document {missing[0]!r}.", code="dataset")
        return [there[name] for name in wanted.ids]
    found = of_split(rows, wanted.split)
    if not found:
        raise Refused(f"The dataset has no document in the split {wanted.split}.", code="dataset")
    return found


def token_limit(spec: EvalSpec, schema: CompiledSchema, rows: Iterable[Row], encoder: Encoder) -> Limit:
    """Tokens of an answer; ``auto`` looks at the train split of the dataset file and at the schema.

    All modes get the same: half as many again as the longest training completion, half as many again of that because
    a model that is free may indent what the completion writes compactly (at least 64), and 16; 512 where no completion
    is known. Held to a schema that bounds its answers, a model may go on to that bound (2,048 tokens at most, and no
    further than its context), so that every answer ends by itself.
    """
    if spec.max_new_tokens != "auto":
        return Limit(spec.max_new_tokens, spec.max_new_tokens)
    known = [len(encoder.completion(schema.canonical(row.gold))) for row in of_split(rows, "train")]
    room = max(math.ceil(1.5 * 1.5 * max(known)), LEAST_FREE) + 16 if known else UNKNOWN
    bound = None if spec.mode == "free" else grammar.output_bound(schema.schema)
    # A token holds at least one character, so an answer of bounded length is never cut.
    return Limit(room, max(room, min(bound or 0, MOST_BOUNDED)))


def tell(path: str, outputs: Iterable[Output], emitter: Emitter, peak: Callable[[], int]) -> None:
    """Writes each output to the file and tells it as it comes, and in the end ``done``. ``peak``: bytes of memory."""
    file_path = Path(path)
    file_path.parent.mkdir(parents=True, exist_ok=True)
    # A file of its own: an attempt that does not know yet that it was given up would write into this one.
    file_path.unlink(missing_ok=True)
    started, count = time.perf_counter(), 0
    with file_path.open("w", encoding="utf-8") as file:
        for output in outputs:
            told = output.as_dict()
            file.write(json.dumps(told, ensure_ascii=False) + "\n")
            file.flush()
            emitter.emit("output", **told)
            count += 1
    seconds = time.perf_counter() - started
    emitter.emit(
        "done",
        seconds=round(seconds, 2),
        docs_per_second=round(count / seconds, 4),
        peak_memory_bytes=peak(),
        sha256=sha256_file(file_path),
    )
