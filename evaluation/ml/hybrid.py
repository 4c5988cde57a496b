"""A hybrid model answers: the encoder first, and the decoder for the fields that it is unsure of or does not know.

The decoder gets the sure values as constants of its grammar, so a field is written after those that precede it in the
schema.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.hybrids.thresholds import answered_fields, is_in, probability_of
from evaluation.ml.answer_encoder import answer_batch
from evaluation.ml.generator import Generator
from evaluation.ml.prompts import DocumentOutput, PromptBuilder, window_rows
from slmstudio.contract.assembly import value_at
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.structure import split
from slmstudio.contract.windows.gold import window_gold
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row
from training.ml.decoding.constraint import Constraint
from training.ml.decoding.decoder import Loaded
from training.ml.encoders.predictor import Predictor, load_predictor
from training.ml.hybrid import ENCODER, HybridDescription

Confidence = Mapping[str, tuple[float, ...]]


def generator_of(folder: Path, builder: PromptBuilder, loaded: Loaded, encoder: Encoder, **options: Any) -> Generator:
    """The generator of a model folder: of a decoder, or of a hybrid. ``options``: of ``Generator``.

    Raises:
        Refused: the folder of a hybrid is not valid, or its encoder was trained for another schema.
    """
    description = HybridDescription.load(folder)
    if description is None:
        return Generator(builder, loaded, encoder, **options)
    predictor = load_predictor(folder / ENCODER, builder.schema, loaded.precision)
    return HybridGenerator(builder, loaded, encoder, predictor=predictor, description=description, **options)


class HybridGenerator(Generator):
    """Generates only what the encoder is not sure of. One document at a time."""

    def __init__(self, *args: Any, predictor: Predictor, description: HybridDescription, **options: Any) -> None:
        super().__init__(*args, **{**options, "at_once": 1})
        self._predictor = predictor
        self._thresholds = description.thresholds
        self._given: dict[str, Mapping[str, Any]] = {}

    def answers(self, rows: Sequence[Row]) -> Iterator[DocumentOutput]:
        """The output of each document."""
        yield from map(self.answer, rows)

    def answer(self, row: Row) -> DocumentOutput:
        """The output for one document, or why there is none: where the decoder's cannot be used, that of the encoder.
        Tokens of the decoder are counted even then, as they took time.
        """
        started = time.perf_counter()
        [first] = answer_batch(self._predictor, [row])
        if first.finish_reason == "error":
            return first
        value, confidence = loads(first.raw), first.confidence or {}
        probabilities = {path: known[0] for path, known in confidence.items()}
        sure = {
            pattern: value_at(value, pattern)
            for pattern in self._fields()
            if pattern in self._thresholds and probability_of(pattern, probabilities) >= self._thresholds[pattern]
        }
        if len(sure) == len(self._fields()):
            return first
        self._given = self._given_values(row, sure)
        second = super().answer(row)
        self._given = {}
        elapsed = round((time.perf_counter() - started) * 1000, 2)
        combined = self._combined(first, second, sure) if second.finish_reason == "stop" else None
        raw, confidence = combined or (first.raw, confidence)
        return DocumentOutput(
            id=row.id,
            raw=raw,
            finish_reason="stop",
            latency_ms=elapsed,
            prompt_tokens=first.prompt_tokens + second.prompt_tokens,
            output_tokens=second.output_tokens,
            error="",
            confidence=confidence if self._confidence else None,
            windows=second.windows,
        )

    def _fields(self) -> list[str]:
        """The fields that one of both answers: values, and lists as wholes."""
        return answered_fields(self._builder.schema)

    def _combined(
        self, first: DocumentOutput, second: DocumentOutput, sure: Mapping[str, Any]
    ) -> tuple[str, Confidence] | None:
        """The decoder's output with the sure values, which a document in windows may have changed; None where it
        cannot be read, for example because a number is too long.
        """
        schema = self._builder.schema
        confidence = {
            path: known
            for path, known in (second.confidence or {}).items()
            if not any(is_in(path, name) for name in sure)
        }
        known = {
            path: value for path, value in (first.confidence or {}).items() if any(is_in(path, name) for name in sure)
        }
        try:
            value = loads(second.raw)
        except JsonError:
            return None
        combined = schema.canonical(_with_values(value, sure))
        is_worse = schema.check(combined)[1] and not schema.check(second.raw)[1]
        return (second.raw if is_worse else combined), {**confidence, **known}

    def _given_values(self, row: Row, sure: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The constants for a document by the id of its row, or those for its windows: of a window what training would
        have taken as its gold.
        """
        try:
            windows = self._builder.split(row.text, self._prompts.get(row.id))
        except Exception:  # the decoder's output says why
            return {}
        if len(windows) == 1:
            return {row.id: sure}
        parts = window_gold(self._builder.schema, _with_values({}, sure), row.text, windows)
        return {
            window.id: {pattern: value_at(part, pattern) for pattern in sure}
            for window, part in zip(window_rows(row, windows), parts, strict=True)
        }

    def _constraint(self, builder: PromptBuilder, row: Row) -> Constraint | None:
        given = self._given.get(row.id)
        if not given or self._grammar is None:
            return super()._constraint(builder, row)
        return self._grammar.other(builder.grammar(row.text, given))


def _with_values(value: Any, given: Mapping[str, Any]) -> Any:
    changed = dict(value) if isinstance(value, dict) else {}
    for pattern, constant in given.items():
        steps, place = split(pattern), changed
        for step in steps[:-1]:
            inner = place.get(step)
            place[step] = dict(inner) if isinstance(inner, dict) else {}
            place = place[step]
        place[steps[-1]] = constant
    return changed
