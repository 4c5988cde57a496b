"""Generates outputs with a loaded model, one document at a time or in batches, long documents in windows."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from evaluation.inference.confidence import per_field
from evaluation.ml.batches import BatchGenerator, BatchItem, can_batch
from evaluation.ml.prompts import DocumentOutput, PromptBuilder, merged_output, window_rows
from slmstudio.contract.decoding import grammar
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row
from training.ml.decoding.constraint import Constraint, ConstraintError, Grammar
from training.ml.decoding.decoder import Decoder, GeneratedAnswer, Loaded
from training.ml.decoding.speculation import Speculator
from training.ml.events import describe_error


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
