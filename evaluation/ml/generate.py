"""Generates the outputs of a spec with transformers: ``python -m evaluation.ml.generate SPEC.yaml``.

Events: start {documents, max_new_tokens, device, precision, threads, processor, environment, prompt_sha256,
shared_tokens, warm_ms, stop_ids, seed, at_once, grounded}; output {id, raw, finish_reason: stop | length | error,
latency_ms, prompt_tokens, output_tokens, error}, one for each document, where the spec asks for it confidence
{path: [least, mean]}, and for a long document windows, their number; done {seconds, docs_per_second, peak_memory_bytes,
sha256}. Every output is also a line of the outputs file. A document that fails has an output with an error; it never
ends the run.

Latency is that of one document at a time: tokenization, prefill of the part that is not shared with the other prompts,
a grammar of its own where it has one, decoding. The prefix that all prompts share is computed once before the first
document (``warm_ms``). With ``at_once`` documents are generated in batches of similar length, and the latency of each
counts from the start of its batch to its own end, including prompts and grammars of the whole batch. A document that
is too long is read in windows (``evaluation.ml.windows``), one after another or in batches of their own; its latency is
that of all of them.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from transformers import set_seed

from evaluation.inference.confidence import per_field
from evaluation.inference.spec import EvalSpec
from evaluation.ml.batches import BatchGenerator, BatchItem, can_batch
from evaluation.ml.prompts import (
    DEFAULT_TOKENS,
    MAX_BOUNDED_TOKENS,
    DocumentOutput,
    PromptBuilder,
    TokenLimit,
    merged_output,
    selected_rows,
    token_limit,
    window_rows,
    write_outputs,
)
from slmstudio.contract.decoding import grammar
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.decoding.constraint import Constraint, ConstraintError, Grammar
from training.ml.decoding.decoder import Decoder, GeneratedAnswer, Loaded, load
from training.ml.decoding.speculation import Speculator
from training.ml.events import Emitter, describe_error, run_child
from training.ml.hardware import device as machine
from training.ml.modeling.folder_checks import check_ref

__all__ = [
    "DEFAULT_TOKENS",
    "MAX_BOUNDED_TOKENS",
    "DocumentOutput",
    "Generator",
    "TokenLimit",
    "main",
    "selected_rows",
    "token_limit",
]


class Generator:
    """Generates outputs with a loaded model."""

    def __init__(
        self,
        builder: PromptBuilder,
        loaded: Loaded,
        encoder: Encoder,
        *,
        confidence: bool = False,
        at_once: int = 1,
        learns: bool = True,
    ) -> None:
        """``learns``: outputs make the following ones faster; see ``Decoder``.

        Raises:
            Refused: the schema's grammar cannot be used.
        """
        self._builder = builder
        self._loaded = loaded
        self._encoder = encoder
        self._confidence = confidence
        self._grammar = None if builder.spec.mode == "free" else self._compile(builder.schema)
        self._speculator = Speculator(builder.known_outputs())
        self._learns = learns
        self._decoder = self._new_decoder()
        self._batches = BatchGenerator(loaded, encoder, self._speculator)
        self._prompts: dict[str, list[int]] = {}
        #: documents per batch; 1 where the model does not support batches
        self.at_once = at_once if can_batch(loaded.model.config) else 1

    def _compile(self, schema: CompiledSchema) -> Grammar:
        try:
            return Grammar(
                grammar.grammar(schema.schema),
                self._encoder.tokenizer,
                vocabulary=self._loaded.model.get_output_embeddings().weight.shape[0],
                stop_ids=self._encoder.stop_ids,
            )
        except ConstraintError as error:
            raise Refused(f"{error} Choose unconstrained decoding, or simplify the schema.", code="schema") from error

    def warm(self, rows: Sequence[Row]) -> int:
        """Computes the prefix that all prompts share; returns its length in tokens."""
        self._prompts = {row.id: self._builder.prompt(row.text) for row in rows}
        prompts = list(self._prompts.values())
        if self.at_once > 1:
            self._batches.warm(
                prompts, max(len(prompt) + self._builder.max_output_tokens(prompt) for prompt in prompts)
            )
        return int(self._decoder.warm(prompts))

    def answers(self, rows: Sequence[Row]) -> Iterator[DocumentOutput]:
        """The output of each document; in batches the longest first."""
        if self.at_once == 1:
            yield from map(self.answer, rows)
            return
        ordered = sorted(rows, key=lambda row: (-len(self._prompts[row.id]), row.id))
        whole = [row for row in ordered if self._is_whole(row)]
        yield from self._batches_of(self._builder, whole)
        names = {row.id for row in whole}
        yield from (self._document(row, self._batches_of) for row in ordered if row.id not in names)

    def _is_whole(self, row: Row) -> bool:
        try:
            return len(self._builder.split(row.text, self._prompts[row.id])) == 1
        except Refused:
            return False

    def _batches_of(self, builder: PromptBuilder, rows: list[Row]) -> Iterator[DocumentOutput]:
        for at in range(0, len(rows), self.at_once):
            yield from self._batch(builder, rows[at : at + self.at_once])

    def answer(self, row: Row) -> DocumentOutput:
        """The output for one document, or why there is none. Never raises."""
        return self._document(row, lambda builder, parts: map(partial(self._answer, builder), parts))

    def _document(
        self, row: Row, answers: Callable[[PromptBuilder, list[Row]], Iterable[DocumentOutput]]
    ) -> DocumentOutput:
        """The output for a document from those of its windows. ``answers`` gives these for rows of one builder."""
        started = time.perf_counter()
        try:
            windows = self._builder.split(row.text, self._prompts.get(row.id))
        except Exception as error:
            return self._failed(row, error, started)
        if len(windows) == 1:
            [output] = answers(self._builder, [row])
            return output
        outputs = []
        for output in answers(self._builder.part, window_rows(row, windows)):
            outputs.append(output)
            if output.finish_reason != "stop":
                break
        elapsed = (time.perf_counter() - started) * 1000
        return merged_output(self._builder.schema, row, windows, outputs, elapsed)

    def _answer(self, builder: PromptBuilder, row: Row) -> DocumentOutput:
        started, begun = time.perf_counter(), False
        try:
            constraint = self._constraint(builder, row)
            prepared = (time.perf_counter() - started) * 1000
            begun = True
            known = self._prompts.get(row.id) or builder.prompt(row.text)
            answer = self._decoder.answer(
                lambda: builder.prompt_within_context(row.text),
                max_new_tokens=builder.max_output_tokens(known),
                constraint=constraint,
                with_logprobs=self._confidence,
            )
            confidence = self._field_confidence(answer) if self._confidence else None
        except Exception as error:
            failed = self._failed(row, error, started)
            # A prompt that is too long is rejected before the decoder has a state.
            if begun and not isinstance(error, Refused):
                self._reset_decoder()
            return failed
        return DocumentOutput(
            id=row.id,
            raw=answer.text,
            finish_reason=answer.finish_reason,
            latency_ms=round(prepared + answer.latency_ms, 2),
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            error="",
            confidence=confidence,
        )

    def _batch(self, builder: PromptBuilder, rows: Sequence[Row]) -> Iterator[DocumentOutput]:
        """The outputs of a batch. Where it fails, its documents are generated one at a time."""
        outputs: dict[str, DocumentOutput] = {}
        items: dict[str, BatchItem] = {}
        began = time.perf_counter()
        for row in rows:
            started = time.perf_counter()
            try:
                prompt = builder.prompt_within_context(row.text)
                items[row.id] = BatchItem(prompt, builder.max_output_tokens(prompt), self._constraint(builder, row))
            except Exception as error:
                outputs[row.id] = self._failed(row, error, started)
        try:
            if items:
                self._batches.answer(list(items.values()), began)
        except Exception:
            traceback.print_exc()
            outputs |= {row.id: self._answer(builder, row) for row in rows if row.id in items}
        else:
            outputs |= {name: self._output(name, item) for name, item in items.items()}
        yield from (outputs[row.id] for row in rows)

    def _output(self, name: str, item: BatchItem) -> DocumentOutput:
        text = self._encoder.decode(item.tokens)
        return DocumentOutput(name, text, item.finish_reason, item.latency_ms, len(item.prompt), len(item.tokens), "")

    def _constraint(self, builder: PromptBuilder, row: Row) -> Constraint | None:
        """The constraint of the output for a document or a window. Raises ConstraintError."""
        if self._grammar is None:
            return None
        if builder.ground is None and builder.schema is self._builder.schema:
            return self._grammar.constraint()
        return self._grammar.other(builder.grammar(row.text))

    def _failed(self, row: Row, error: Exception, started: float) -> DocumentOutput:
        elapsed = (time.perf_counter() - started) * 1000
        if not isinstance(error, Refused | ConstraintError):
            traceback.print_exc()
        return DocumentOutput.failed(
            row.id, str(error) if isinstance(error, ConstraintError) else describe_error(error)[1], elapsed
        )

    def _field_confidence(self, answer: GeneratedAnswer) -> dict[str, tuple[float, float]]:
        """The confidence of each field: lowest token probability, and the mean over its tokens."""
        ends = [len(self._encoder.decode(answer.tokens[: count + 1])) for count in range(len(answer.tokens))]
        confidence = per_field(answer.text, ends, answer.logprobs)
        return {path: (round(field.minimum, 4), round(field.mean, 4)) for path, field in confidence.items()}

    def _new_decoder(self) -> Decoder:
        return Decoder(self._loaded, self._encoder, self._speculator, learns=self._learns)

    def _reset_decoder(self) -> None:
        """Replaces the decoder, whose state is unknown after an error."""
        self._decoder = self._new_decoder()
        self._decoder.warm(list(self._prompts.values()))


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    check_ref(spec.model)
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    selected = selected_rows(rows, spec.documents)
    set_seed(spec.seed)
    machine.set_threads()
    loaded = load(spec.model.path, precision=spec.precision)
    encoder = Encoder(loaded.tokenizer, spec.prompt, loaded.model.generation_config)
    context: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
    builder = PromptBuilder.of_evaluation(spec, schema, encoder, rows, context)
    generator = Generator(builder, loaded, encoder, confidence=spec.confidence, at_once=spec.at_once)
    started = time.perf_counter()
    shared = generator.warm(selected)
    environment = machine.environment(loaded.device, loaded.precision)
    emitter.emit(
        "start",
        documents=len(selected),
        max_new_tokens=builder.limit.maximum,
        device=loaded.device.type,
        precision=loaded.precision,
        threads=environment["threads"],
        processor=environment["processor"],
        environment=environment,
        prompt_sha256=builder.template_sha256(),
        shared_tokens=shared,
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        stop_ids=list(encoder.stop_ids),
        seed=spec.seed,
        at_once=generator.at_once,
        grounded=builder.ground.as_dict() if builder.ground else None,
    )
    write_outputs(spec.outputs, generator.answers(selected), emitter, lambda: machine.memory_bytes(loaded.device))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))
