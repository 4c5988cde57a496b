"""Samples of a model in training: outputs for a few validation documents, scored."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring import scorer
from slmstudio.contract.windows.merge import merge_outputs
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Decoder, Loaded
from training.ml.lengths import EncodedRow


class ValidationSampler:
    """Samples the same documents at every evaluation, so that their outputs can be compared over time."""

    def __init__(
        self,
        documents: Sequence[Sequence[EncodedRow]],
        *,
        schema: CompiledSchema,
        encoder: Encoder,
        limit: int,
        seconds: float | None = None,
    ) -> None:
        """``documents``: each as its row, or as those of its windows. ``limit``: maximum tokens of an output.
        ``seconds``: documents that are not reached by then at the first evaluation are left out of later ones, too.
        """
        self._documents = documents
        self._schema = schema
        self._encoder = encoder
        self._limit = limit
        self._seconds = seconds

    def sample(self, loaded: Loaded, *, stopped: Callable[[], bool]) -> dict[str, Any]:
        """The values of a ``samples`` event: rows, field_exact, schema_valid. Decoding is unconstrained."""
        decoder = Decoder(loaded, self._encoder)
        decoder.warm([part.prompt for rows in self._documents for part in rows])
        scores: list[scorer.DocumentScore] = []
        rows: list[dict[str, Any]] = []
        began = time.monotonic()
        for document in self._documents:
            if stopped():
                break
            if scores and self._seconds is not None and time.monotonic() - began >= self._seconds:
                self._documents = self._documents[: len(scores)]
                break
            row, (raw, finish_reason) = document[0].document, self._output(decoder, document)
            score = scorer.score_document(
                self._schema, text=row.text, gold=row.gold, raw=raw, finish_reason=finish_reason
            )
            scores.append(score)
            rows.append(sample_row(row.id, raw, score))
        if scores:
            self._seconds = None
        return sampled_scores(rows, scores)

    def _output(self, decoder: Decoder, rows: Sequence[EncodedRow]) -> tuple[str, str]:
        """Text and finish reason of the output for a document."""
        answers = [decoder.answer(part.prompt.copy, max_new_tokens=self._limit) for part in rows]
        windows = [part.of.window for part in rows if part.of is not None]
        incomplete = next((part for part in answers if part.finish_reason != "stop"), None)
        if not windows or incomplete is not None:
            part = incomplete or answers[0]
            return part.text, part.finish_reason
        merged = merge_outputs(self._schema, rows[0].document.text, windows, [part.text for part in answers])
        return merged.raw, "stop"


def sampled_scores(rows: list[dict[str, Any]], scores: list[scorer.DocumentScore]) -> dict[str, Any]:
    """The values of a ``samples`` event. ``rows``: as ``sample_row``."""
    if not scores:
        return {"rows": [], "field_exact": None, "schema_valid": None}
    summary = scorer.summarize(scores)
    return {
        "rows": rows,
        "field_exact": summary["field_exact"]["rate"],
        "schema_valid": summary["schema_valid"]["rate"],
    }


def sample_row(row_id: str, raw: str, score: scorer.DocumentScore) -> dict[str, Any]:
    """A document of a ``samples`` event."""
    counted = [part for part in score.fields if part.outcome != scorer.Outcome.BOTH_ABSENT]
    return {
        "id": row_id,
        "raw": raw,
        "valid": score.schema_valid,
        "correct": sum(part.outcome == scorer.Outcome.CORRECT for part in counted),
        "fields": len(counted),
        "outcomes": {part.path: str(part.outcome) for part in score.fields},
    }
