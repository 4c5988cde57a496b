"""Prompts of the documents of a spec: tokens, grammar, and maximum output length, for transformers and llama.cpp.

Nothing here needs torch: llama.cpp runs in a process without it, whose memory is measured.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypedDict

from evaluation.inference.spec import DocumentsRef, EvalSpec, ExampleRef
from evaluation.ml.windows import plan_windows, split_document
from slmstudio.contract.decoding import grammar
from slmstudio.contract.decoding.grounding import GroundingPlan, build_plan, grammar_of
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.contract.windows.gold import window_schema
from slmstudio.contract.windows.merge import merge_outputs
from slmstudio.contract.windows.windows import Window
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, of_split
from training.ml.events import Emitter
from training.prompts import FewShotExample, prompt_schema
from training.spec import ContractRef, WindowPlan

MAX_BOUNDED_TOKENS = 2048
MIN_UNBOUNDED_TOKENS = 64
DEFAULT_TOKENS = 512
#: training documents from which evidence and likely outputs are learned
_MAX_EXAMPLE_OUTPUTS = 500


@dataclass(frozen=True)
class DocumentOutput:
    """The output for one document. Latency in milliseconds; ``error`` is a sentence where there is none.

    ``windows``: parts in which the document was read.
    """

    id: str
    raw: str
    finish_reason: str
    latency_ms: float
    prompt_tokens: int
    output_tokens: int
    error: str
    confidence: Mapping[str, tuple[float, ...]] | None = None
    windows: int = 1

    @classmethod
    def failed(cls, name: str, reason: str, latency_ms: float) -> "DocumentOutput":
        """A document without an output."""
        return cls(name, "", "error", round(latency_ms, 2), 0, 0, reason)

    def as_dict(self) -> dict[str, Any]:
        """As it is written to the file and emitted; confidence only where it was requested, windows where there are
        several.
        """
        event = asdict(self)
        if self.confidence is None:
            del event["confidence"]
        if self.windows == 1:
            del event["windows"]
        return event


def window_rows(row: Row, windows: Sequence[Window]) -> list[Row]:
    """The windows of a document as rows, with ids that no document has."""
    return [Row(f"{row.id}\n{number}", row.split, window.text, None) for number, window in enumerate(windows)]


def merged_output(
    schema: CompiledSchema, row: Row, windows: Sequence[Window], outputs: Sequence[DocumentOutput], latency_ms: float
) -> DocumentOutput:
    """The output for a document from those of its windows, or that of the first window that has no complete one."""
    incomplete = next((output for output in outputs if output.finish_reason != "stop"), None)
    if incomplete is None:
        confidences = [output.confidence or {} for output in outputs]
        merged = merge_outputs(schema, row.text, windows, [output.raw for output in outputs], confidences)
        raw, confidence = merged.raw, None if outputs[0].confidence is None else merged.confidence
    else:
        raw, confidence = incomplete.raw, None
    return DocumentOutput(
        id=row.id,
        raw=raw,
        finish_reason="stop" if incomplete is None else incomplete.finish_reason,
        latency_ms=round(latency_ms, 2),
        prompt_tokens=sum(output.prompt_tokens for output in outputs),
        output_tokens=sum(output.output_tokens for output in outputs),
        error="" if incomplete is None else incomplete.error,
        confidence=confidence,
        windows=len(windows),
    )


@dataclass(frozen=True)
class TokenLimit:
    """Tokens of an output: ``reserved`` in the model's context for every document, ``maximum`` never exceeded."""

    reserved: int
    maximum: int


class PromptSpec(Protocol):
    """What prompts depend on, of an evaluation and of a package that is served."""

    @property
    def contract(self) -> ContractRef: ...
    @property
    def mode(self) -> str: ...
    @property
    def include_schema(self) -> bool: ...
    @property
    def examples(self) -> Sequence[ExampleRef]: ...


class _PromptParts(TypedDict):
    """Arguments of the encoder."""

    instruction: str
    document: str
    schema_text: str | None
    examples: Sequence[FewShotExample]


class PromptBuilder:
    """Builds the prompts of a spec. ``context``: tokens of prompt and output together, None if it is unknown."""

    def __init__(
        self,
        spec: PromptSpec,
        schema: CompiledSchema,
        encoder: Encoder,
        context: int | None,
        limit: TokenLimit,
        ground: GroundingPlan | None,
        rows: Sequence[Row] = (),
        windows: WindowPlan | None = None,
    ) -> None:
        """``rows``: of the dataset file; likely outputs are those of its training rows. ``windows``: how documents are
        read that are too long for one prompt; None: not at all.
        """
        self.spec = spec
        self.schema = schema
        self.limit = limit
        self.context = context
        self.ground = ground
        self.windows = windows
        self._rows = rows
        self.encoder = encoder
        self._schema_text = dumps(prompt_schema(schema.schema)) if spec.include_schema else None
        self._examples = [FewShotExample(example.text, schema.canonical(example.gold)) for example in spec.examples]

    @classmethod
    def of_evaluation(
        cls, spec: EvalSpec, schema: CompiledSchema, encoder: Encoder, rows: Sequence[Row], context: int | None
    ) -> "PromptBuilder":
        """With token limit and grounding plan from the training rows. ``rows``: all of the dataset file.

        Raises Refused where grounded decoding finds no field to ground.
        """
        limit = token_limit(spec, schema, rows, encoder)
        builder = cls(spec, schema, encoder, context, limit, _ground(spec, schema, rows), rows)
        return builder.within(context, spec.windows, auto=spec.max_new_tokens == "auto")

    def within(self, context: int | None, trained: WindowPlan | None, *, auto: bool = True) -> "PromptBuilder":
        """The same for a context, with the windows for it. ``trained``: those that the model was trained with."""
        plan, reserved = plan_windows(self, self._rows, context, trained, auto=auto)
        limit = TokenLimit(reserved, self.limit.maximum)
        return PromptBuilder(self.spec, self.schema, self.encoder, context, limit, self.ground, self._rows, plan)

    @cached_property
    def part(self) -> "PromptBuilder":
        """The builder for the windows of a document: their outputs follow ``window_schema``."""
        schema = window_schema(self.schema)
        return PromptBuilder(
            self.spec, schema, self.encoder, self.context, self.limit, self.ground, self._rows, self.windows
        )

    def split(self, document: str, prompt: Sequence[int] | None = None) -> list[Window]:
        """The windows of a document, as ``split_document``."""
        return split_document(self, document, prompt)

    def of(self, windows: Sequence[Window]) -> "PromptBuilder":
        """The builder of their prompts: this one for a whole document."""
        return self if len(windows) == 1 else self.part

    def prompts(self, document: str) -> list[list[int]]:
        """The prompts of a document, one for each window; none for one that is rejected."""
        try:
            windows = self.split(document)
        except Refused:
            return []
        return [self.of(windows).prompt(window.text) for window in windows]

    def prompt(self, document: str) -> list[int]:
        """Token ids of a document's prompt."""
        return self.encoder.prompt(**self._parts(document))

    def text(self, document: str) -> str:
        """The text of a document's prompt."""
        return self.encoder.text(**self._parts(document))

    def template_sha256(self) -> str:
        """As ``Encoder.template_sha256``."""
        return self.encoder.template_sha256(
            instruction=self.spec.contract.instruction, schema_text=self._schema_text, examples=self._examples
        )

    def _parts(self, document: str) -> _PromptParts:
        return {
            "instruction": self.spec.contract.instruction,
            "document": document,
            "schema_text": self._schema_text,
            "examples": self._examples,
        }

    def prompt_within_context(self, document: str) -> list[int]:
        """The same. Raises Refused if it leaves no room for an output."""
        prompt = self.prompt(document)
        if self.context and len(prompt) + self.limit.reserved > self.context:
            raise Refused(
                f"The prompt has {len(prompt)} tokens; with {self.limit.reserved} for the output, that exceeds the "
                f"model's context of {self.context}.",
                code="length",
            )
        return prompt

    def max_output_tokens(self, prompt: Sequence[int] | None) -> int:
        """The maximum for a prompt: the limit, or what the model's context leaves."""
        if not self.context:
            return self.limit.maximum
        return self.limit.reserved if prompt is None else min(self.limit.maximum, self.context - len(prompt))

    def known_outputs(self) -> list[list[int]]:
        """Token ids of the gold of training documents; outputs will be similar."""
        rows = islice(of_split(self._rows, "train"), _MAX_EXAMPLE_OUTPUTS)
        return [self.encoder.completion(self.schema.canonical(row.gold)) for row in rows]

    def grammar(self, document: str, given: Mapping[str, Any] | None = None) -> str:
        """The grammar of a document's output, in llguidance's Lark; "" for unconstrained decoding. ``given``: as in
        ``grammar_of``.
        """
        if self.spec.mode == "free":
            return ""
        return grammar_of(self.schema, self.ground or GroundingPlan(), document, given)


def _ground(spec: EvalSpec, schema: CompiledSchema, rows: Sequence[Row]) -> GroundingPlan | None:
    """How copied fields are grounded in their documents; None in the other modes."""
    if spec.mode != "grounded":
        return None
    ground = build_plan(schema, ((row.text, row.gold) for row in of_split(rows, "train")))
    if not ground.held:
        reasons = "; ".join(f"{pattern}: {reason}" for pattern, reason in ground.left.items())
        raise Refused(f"No field can be grounded in its document{f' ({reasons})' if reasons else ''}.", code="schema")
    return ground


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts start with; each has at least one more."""
    if not prompts:
        return []
    low, high = min(prompts), max(prompts)  # what these two share, all share
    most = min(len(prompt) for prompt in prompts) - 1
    return low[: next((at for at in range(most) if low[at] != high[at]), most)]


def selected_rows(rows: Iterable[Row], documents: DocumentsRef) -> list[Row]:
    """The documents of a spec. Raises Refused if a named one is missing, or there is none."""
    if documents.ids:
        there = {row.id: row for row in rows}
        missing = [name for name in documents.ids if name not in there]
        if missing:
            raise Refused(f"The dataset has no document {missing[0]!r}.", code="dataset")
        return [there[name] for name in documents.ids]
    selected = of_split(rows, documents.split)
    if not selected:
        raise Refused(f"The dataset has no document in the split {documents.split}.", code="dataset")
    return selected


def token_limit(spec: EvalSpec, schema: CompiledSchema, rows: Iterable[Row], encoder: Encoder) -> TokenLimit:
    """Tokens of an output; ``auto`` uses the train split of the dataset file and the schema.

    All modes get the same: 1.5 times the longest training completion, times 1.5 because an unconstrained model may
    indent its JSON (at least 64), plus 16; 512 where no completion is known. Where the schema bounds the output,
    constrained decoding may continue to that bound (2,048 tokens at most, within the context), so it always completes.
    """
    if spec.max_new_tokens != "auto":
        return TokenLimit(spec.max_new_tokens, spec.max_new_tokens)
    if spec.windows is not None and spec.windows.whole is not None:
        known = [spec.windows.answer]
    else:
        known = [len(encoder.completion(schema.canonical(row.gold))) for row in of_split(rows, "train")]
    reserved = max(math.ceil(1.5 * 1.5 * max(known)), MIN_UNBOUNDED_TOKENS) + 16 if known else DEFAULT_TOKENS
    bound = None if spec.mode == "free" else grammar.output_bound(schema.schema)
    # A token has at least one character, so an output of bounded length is never truncated.
    return TokenLimit(reserved, max(reserved, min(bound or 0, MAX_BOUNDED_TOKENS)))


def write_outputs(path: str, outputs: Iterable[DocumentOutput], emitter: Emitter, peak: Callable[[], int]) -> None:
    """Writes each output to the file and emits it, and ``done`` at the end. ``peak``: bytes of memory."""
    file_path = Path(path)
    file_path.parent.mkdir(parents=True, exist_ok=True)
    # A new file: an earlier attempt may still write to the old one.
    file_path.unlink(missing_ok=True)
    started, count = time.perf_counter(), 0
    with file_path.open("w", encoding="utf-8") as file:
        for output in outputs:
            event = output.as_dict()
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()
            emitter.emit("output", **event)
            count += 1
    seconds = time.perf_counter() - started
    emitter.emit(
        "done",
        seconds=round(seconds, 2),
        docs_per_second=round(count / seconds, 4),
        peak_memory_bytes=peak(),
        sha256=sha256_file(file_path),
    )
