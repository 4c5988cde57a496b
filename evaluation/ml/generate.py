"""Answers of one model over the documents of a split, or those named: ``python -m evaluation.ml.generate SPEC.yaml``.

Events: start {documents, max_new_tokens, device, precision, threads, shared_tokens, warm_ms, stop_ids, seed,
packages}; output {id, raw, finish_reason: stop | length | error, latency_ms, prompt_tokens, output_tokens, error}, one
for each document, and where the spec asks for it confidence {path: [least, mean]}; done {seconds, docs_per_second,
peak_memory_bytes, sha256}. Every output is also a line of the outputs file. A document that fails is an outcome with a
reason; it never ends the run.

Latency is that of one document at a time: tokenising, reading what is not shared with the other prompts, decoding. The
shared start of all prompts is computed once before the first document; ``warm_ms`` says what that cost.
"""

import json
import math
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from evaluation.confidence import per_field
from evaluation.spec import DocumentsRef, EvalSpec
from slmstudio.contract import grammar
from slmstudio.contract.schema import CompiledSchema, dumps
from slmstudio.hashing import sha256_file
from training.ml import device as machine
from training.ml.checks import check_ref
from training.ml.constrain import ConstraintError, Grammar
from training.ml.decode import Answer, Decoder, Loaded, load
from training.ml.encode import Encoder
from training.ml.events import Emitter, Refused, explain, run_child
from training.ml.rows import Row, compiled, of_split, read_rows
from training.prompts import Example, shown_schema

MOST_BOUNDED = 2048
LEAST_FREE = 64
UNKNOWN = 512


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


class Answering:
    """A model, a contract and a way of asking."""

    def __init__(self, spec: EvalSpec, schema: CompiledSchema, loaded: Loaded, encoder: Encoder, limit: Limit) -> None:
        """Raises Refused where the schema's grammar cannot be used."""
        self._spec = spec
        self._loaded = loaded
        self._encoder = encoder
        self._limit = limit
        self._schema_text = dumps(shown_schema(schema.schema)) if spec.include_schema else None
        self._examples = [Example(one.text, schema.canonical(one.gold)) for one in spec.examples]
        self._context: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
        self._grammar = self._compile(schema) if spec.mode == "constrained" else None
        self._decoder = Decoder(loaded, encoder)
        self._prompts: dict[str, list[int]] = {}

    def _compile(self, schema: CompiledSchema) -> Grammar:
        try:
            return Grammar(
                grammar.grammar(schema.schema),
                self._encoder.tokenizer,
                vocabulary=self._loaded.model.get_output_embeddings().weight.shape[0],
                stop_ids=self._encoder.stop_ids,
            )
        except ConstraintError as error:
            raise Refused("schema", f"{error} Choose free generation, or simplify the schema.") from error

    def prompt(self, document: str) -> list[int]:
        """Token ids of a document's prompt."""
        return self._encoder.prompt(
            instruction=self._spec.contract.instruction,
            document=document,
            schema_text=self._schema_text,
            examples=self._examples,
        )

    def warm(self, rows: Iterable[Row]) -> int:
        """Computes what all prompts share; returns its length in tokens."""
        self._prompts = {row.id: self.prompt(row.text) for row in rows}
        return self._decoder.warm(list(self._prompts.values()))

    def answer(self, row: Row) -> Output:
        """The model's answer to one document, or why there is none. Never raises."""
        started = time.perf_counter()
        try:
            answer = self._decoder.answer(
                lambda: self._fitting(row.text),
                max_new_tokens=self._most(row),
                constraint=self._grammar.constraint() if self._grammar else None,
                with_logprobs=self._spec.confidence,
            )
            confidence = self._confidence(answer) if self._spec.confidence else None
        except Exception as error:
            elapsed = round((time.perf_counter() - started) * 1000, 2)
            if not isinstance(error, Refused | ConstraintError):
                traceback.print_exc()
            self._recover()
            reason = str(error) if isinstance(error, ConstraintError) else explain(error)[1]
            return Output(row.id, "", "error", elapsed, 0, 0, reason)
        return Output(
            id=row.id,
            raw=answer.text,
            finish_reason=answer.finish_reason,
            latency_ms=answer.latency_ms,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            error="",
            confidence=confidence,
        )

    def _confidence(self, answer: Answer) -> dict[str, tuple[float, float]]:
        """How sure the model was of each field: probability of the least sure token, and the mean of all of them."""
        ends = [len(self._encoder.decode(answer.tokens[: count + 1])) for count in range(len(answer.tokens))]
        found = per_field(answer.text, ends, answer.logprobs)
        return {path: (round(sure.least, 4), round(sure.mean, 4)) for path, sure in found.items()}

    def _most(self, row: Row) -> int:
        """Most tokens of this document's answer: the limit, or what the model's context leaves of it."""
        if not self._context:
            return self._limit.most
        prompt = self._prompts.get(row.id)
        return self._limit.room if prompt is None else min(self._limit.most, self._context - len(prompt))

    def _fitting(self, document: str) -> list[int]:
        prompt = self.prompt(document)
        if self._context and len(prompt) + self._limit.room > self._context:
            raise Refused(
                "length",
                f"The prompt has {len(prompt)} tokens; with {self._limit.room} for the answer that is more than the "
                f"{self._context} the model reads.",
            )
        return prompt

    def _recover(self) -> None:
        """A decoder that was left in the middle of something starts afresh."""
        self._decoder = Decoder(self._loaded, self._encoder)
        self._decoder.warm(list(self._prompts.values()))


def chosen(rows: Iterable[Row], wanted: DocumentsRef) -> list[Row]:
    """The documents that are asked about. Raises Refused where one that is named is not there."""
    if not wanted.ids:
        return of_split(rows, wanted.split)
    there = {row.id: row for row in rows}
    missing = [name for name in wanted.ids if name not in there]
    if missing:
        raise Refused("dataset", f"The dataset has no document {missing[0]!r}.")
    return [there[name] for name in wanted.ids]


def token_limit(spec: EvalSpec, schema: CompiledSchema, rows: Iterable[Row], encoder: Encoder) -> Limit:
    """Tokens of an answer; ``auto`` looks at the train split of the dataset file and at the schema.

    Both modes get the same: half as many again as the longest training completion, half as many again of that because
    a model that is free may indent what the completion writes compactly (at least 64), and 16; 512 where no completion
    is known. Held to a schema that bounds its answers, a model may go on to that bound (2,048 tokens at most, and no
    further than its context), so that every answer ends by itself.
    """
    if spec.max_new_tokens != "auto":
        return Limit(spec.max_new_tokens, spec.max_new_tokens)
    known = [len(encoder.completion(schema.canonical(row.gold))) for row in of_split(rows, "train")]
    room = max(math.ceil(1.5 * 1.5 * max(known)), LEAST_FREE) + 16 if known else UNKNOWN
    bound = grammar.output_bound(schema.schema) if spec.mode == "constrained" else None
    # A token holds at least one character, so an answer of bounded length is never cut.
    return Limit(room, max(room, min(bound or 0, MOST_BOUNDED)))


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    check_ref(spec.model)
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    asked = chosen(rows, spec.documents)
    if not asked:
        raise Refused("dataset", f"The dataset has no document in the split {spec.documents.split}.")
    set_seed(spec.seed)
    machine.set_threads()
    loaded = load(spec.model.path)
    encoder = Encoder(loaded.tokenizer, spec.prompt, loaded.model.generation_config)
    limit = token_limit(spec, schema, rows, encoder)
    answering = Answering(spec, schema, loaded, encoder, limit)
    started = time.perf_counter()
    shared = answering.warm(asked)
    environment = machine.environment(loaded.device, loaded.precision)
    emitter.emit(
        "start",
        documents=len(asked),
        max_new_tokens=limit.most,
        device=loaded.device.type,
        precision=loaded.precision,
        threads=environment["threads"],
        processor=environment["processor"],
        packages=environment["packages"],
        shared_tokens=shared,
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        stop_ids=list(encoder.stop_ids),
        seed=spec.seed,
    )
    _write(spec, answering, asked, loaded, emitter)


def _write(spec: EvalSpec, answering: Answering, rows: list[Row], loaded: Loaded, emitter: Emitter) -> None:
    path = Path(spec.outputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            output = answering.answer(row).as_dict()
            file.write(json.dumps(output, ensure_ascii=False) + "\n")
            file.flush()
            emitter.emit("output", **output)
    seconds = time.perf_counter() - started
    emitter.emit(
        "done",
        seconds=round(seconds, 2),
        docs_per_second=round(len(rows) / seconds, 4),
        peak_memory_bytes=machine.memory_bytes(loaded.device),
        sha256=sha256_file(path),
    )


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))
