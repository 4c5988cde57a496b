"""Answers of one model over the documents of a split, or those named: ``python -m evaluation.ml.generate SPEC.yaml``.

Events: start {documents, max_new_tokens, device, precision, threads, shared_tokens, warm_ms, stop_ids, seed, at_once,
grounded, packages}; output {id, raw, finish_reason: stop | length | error, latency_ms, prompt_tokens, output_tokens,
error}, one for each document, and where the spec asks for it confidence {path: [least, mean]}; done {seconds,
docs_per_second, peak_memory_bytes, sha256}. Every output is also a line of the outputs file. A document that fails is
an outcome with a reason; it never ends the run.

Latency is that of one document at a time: tokenising, reading what is not shared with the other prompts, the grammar of
the document where it has one of its own, decoding. The shared start of all prompts is computed once before the first
document; ``warm_ms`` says what that cost. With ``at_once`` documents are answered in batches of about the same length,
and the latency of each is that of its batch up to its own end, prompts and grammars of all of them included.
"""

import sys
import time
import traceback
from collections.abc import Iterator, Sequence

from transformers import set_seed

from evaluation.inference.confidence import per_field
from evaluation.ml.batches import Asked, Batches, can_batch
from evaluation.ml.questions import MOST_BOUNDED, UNKNOWN, Limit, Output, Questions, chosen, tell, token_limit
from evaluation.runs.spec import EvalSpec
from slmstudio.contract.decoding import grammar
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.decoding.constraint import Constraint, ConstraintError, Grammar
from training.ml.decoding.decoder import Answer, Decoder, Loaded, load
from training.ml.decoding.speculation import Foresight
from training.ml.events import Emitter, explain, run_child
from training.ml.hardware import device as machine
from training.ml.modeling.folder_checks import check_ref

__all__ = ["MOST_BOUNDED", "UNKNOWN", "Answering", "Limit", "Output", "chosen", "main", "token_limit"]


class Answering:
    """A model, a contract and a way of asking."""

    def __init__(self, questions: Questions, loaded: Loaded, encoder: Encoder) -> None:
        """Raises Refused where the schema's grammar cannot be used."""
        self._questions = questions
        self._loaded = loaded
        self._encoder = encoder
        self._confidence = questions.spec.confidence
        self._grammar = None if questions.spec.mode == "free" else self._compile(questions.schema)
        self._foresight = Foresight(questions.known())
        self._decoder = Decoder(loaded, encoder, self._foresight)
        self._batches = Batches(loaded, encoder, self._foresight)
        self._prompts: dict[str, list[int]] = {}
        #: documents that are answered together, of those that were asked for
        self.at_once = questions.spec.at_once if can_batch(loaded.model.config) else 1

    def _compile(self, schema: CompiledSchema) -> Grammar:
        try:
            return Grammar(
                grammar.grammar(schema.schema),
                self._encoder.tokenizer,
                vocabulary=self._loaded.model.get_output_embeddings().weight.shape[0],
                stop_ids=self._encoder.stop_ids,
            )
        except ConstraintError as error:
            raise Refused(f"{error} Choose free generation, or simplify the schema.", code="schema") from error

    def warm(self, rows: Sequence[Row]) -> int:
        """Computes what all prompts share; returns its length in tokens."""
        self._prompts = {row.id: self._questions.prompt(row.text) for row in rows}
        prompts = list(self._prompts.values())
        if self.at_once > 1:
            self._batches.warm(prompts, max(len(prompt) + self._questions.most(prompt) for prompt in prompts))
        return self._decoder.warm(prompts)

    def answers(self, rows: Sequence[Row]) -> Iterator[Output]:
        """What became of each document; where several are answered together, the longest first."""
        if self.at_once == 1:
            yield from map(self.answer, rows)
            return
        ordered = sorted(rows, key=lambda row: (-len(self._prompts[row.id]), row.id))
        for at in range(0, len(ordered), self.at_once):
            yield from self._together(ordered[at : at + self.at_once])

    def answer(self, row: Row) -> Output:
        """The model's answer to one document, or why there is none. Never raises."""
        started, begun = time.perf_counter(), False
        try:
            constraint = self._constraint(row)
            prepared = (time.perf_counter() - started) * 1000
            begun = True
            answer = self._decoder.answer(
                lambda: self._questions.fitting(row.text),
                max_new_tokens=self._questions.most(self._prompts.get(row.id)),
                constraint=constraint,
                with_logprobs=self._confidence,
            )
            confidence = self._sure(answer) if self._confidence else None
        except Exception as error:
            failed = self._failed(row, error, started)
            # A prompt that is too long is refused before the decoder has touched anything.
            if begun and not isinstance(error, Refused):
                self._recover()
            return failed
        return Output(
            id=row.id,
            raw=answer.text,
            finish_reason=answer.finish_reason,
            latency_ms=round(prepared + answer.latency_ms, 2),
            prompt_tokens=answer.prompt_tokens,
            output_tokens=answer.output_tokens,
            error="",
            confidence=confidence,
        )

    def _together(self, rows: Sequence[Row]) -> Iterator[Output]:
        """The answers to a batch. Where it breaks, its documents are answered one at a time."""
        outputs: dict[str, Output] = {}
        asked: dict[str, Asked] = {}
        began = time.perf_counter()
        for row in rows:
            started = time.perf_counter()
            try:
                prompt = self._questions.fitting(row.text)
                asked[row.id] = Asked(prompt, self._questions.most(prompt), self._constraint(row))
            except Exception as error:
                outputs[row.id] = self._failed(row, error, started)
        try:
            if asked:
                self._batches.answer(list(asked.values()), began)
        except Exception:
            traceback.print_exc()
            outputs |= {row.id: self.answer(row) for row in rows if row.id in asked}
        else:
            outputs |= {name: self._written(name, one) for name, one in asked.items()}
        yield from (outputs[row.id] for row in rows)

    def _written(self, name: str, one: Asked) -> Output:
        text = self._encoder.decode(one.written)
        return Output(name, text, one.finish_reason, one.latency_ms, len(one.prompt), len(one.written), "")

    def _constraint(self, row: Row) -> Constraint | None:
        """What the answer to a document is held to. Raises ConstraintError."""
        if self._grammar is None or self._questions.ground is None:
            return self._grammar.constraint() if self._grammar else None
        return self._grammar.other(self._questions.grammar(row.text))

    def _failed(self, row: Row, error: Exception, started: float) -> Output:
        elapsed = (time.perf_counter() - started) * 1000
        if not isinstance(error, Refused | ConstraintError):
            traceback.print_exc()
        return Output.failed(row.id, str(error) if isinstance(error, ConstraintError) else explain(error)[1], elapsed)

    def _sure(self, answer: Answer) -> dict[str, tuple[float, float]]:
        """How sure the model was of each field: probability of the least sure token, and the mean of all of them."""
        ends = [len(self._encoder.decode(answer.tokens[: count + 1])) for count in range(len(answer.tokens))]
        found = per_field(answer.text, ends, answer.logprobs)
        return {path: (round(sure.least, 4), round(sure.mean, 4)) for path, sure in found.items()}

    def _recover(self) -> None:
        """A decoder that was left in the middle of something starts afresh."""
        self._decoder = Decoder(self._loaded, self._encoder, self._foresight)
        self._decoder.warm(list(self._prompts.values()))


def main(spec: EvalSpec, emitter: Emitter) -> None:
    """The child process."""
    check_ref(spec.model)
    schema = compiled(spec.contract)
    rows = read_rows(spec.documents.path, spec.documents.sha256)
    asked = chosen(rows, spec.documents)
    set_seed(spec.seed)
    machine.set_threads()
    loaded = load(spec.model.path)
    encoder = Encoder(loaded.tokenizer, spec.prompt, loaded.model.generation_config)
    context: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
    questions = Questions(spec, schema, encoder, rows, context)
    answering = Answering(questions, loaded, encoder)
    started = time.perf_counter()
    shared = answering.warm(asked)
    environment = machine.environment(loaded.device, loaded.precision)
    emitter.emit(
        "start",
        documents=len(asked),
        max_new_tokens=questions.limit.most,
        device=loaded.device.type,
        precision=loaded.precision,
        threads=environment["threads"],
        processor=environment["processor"],
        packages=environment["packages"],
        shared_tokens=shared,
        warm_ms=round((time.perf_counter() - started) * 1000, 1),
        stop_ids=list(encoder.stop_ids),
        seed=spec.seed,
        at_once=answering.at_once,
        grounded=questions.ground.as_dict() if questions.ground else None,
    )
    tell(spec.outputs, answering.answers(asked), emitter, lambda: machine.memory_bytes(loaded.device))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, EvalSpec.from_yaml, main))
