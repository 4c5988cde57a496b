"""Samples of a model in training: outputs for a few validation documents, scored."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring import scorer
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Decoder, Loaded
from training.ml.lengths import EncodedRow


class ValidationSampler:
    """Samples the same documents at every evaluation, so that their outputs can be compared over time."""

    def __init__(
        self,
        rows: Sequence[EncodedRow],
        *,
        schema: CompiledSchema,
        encoder: Encoder,
        limit: int,
        seconds: float | None = None,
    ) -> None:
        """``limit``: maximum tokens of an output. ``seconds``: at the first evaluation, those that are not reached by
        then are left out, of later ones, too.
        """
        self._rows = rows
        self._schema = schema
        self._encoder = encoder
        self._limit = limit
        self._seconds = seconds

    def sample(self, loaded: Loaded, *, stopped: Callable[[], bool]) -> dict[str, Any]:
        """The values of a ``samples`` event: rows, field_exact, schema_valid. Decoding is unconstrained."""
        decoder = Decoder(loaded, self._encoder)
        decoder.warm([one.prompt for one in self._rows])
        scores: list[scorer.DocumentScore] = []
        rows: list[dict[str, Any]] = []
        began = time.monotonic()
        for one in self._rows:
            if stopped():
                break
            if scores and self._seconds is not None and time.monotonic() - began >= self._seconds:
                self._rows = self._rows[: len(scores)]
                break
            answer = decoder.answer(one.prompt.copy, max_new_tokens=self._limit)
            score = scorer.score_document(
                self._schema, text=one.row.text, gold=one.row.gold, raw=answer.text, finish_reason=answer.finish_reason
            )
            scores.append(score)
            rows.append(_row(one.row.id, answer.text, score))
        if not scores:
            return {"rows": [], "field_exact": None, "schema_valid": None}
        self._seconds = None
        summary = scorer.summarize(scores)
        return {
            "rows": rows,
            "field_exact": summary["field_exact"]["rate"],
            "schema_valid": summary["schema_valid"]["rate"],
        }


def _row(row_id: str, raw: str, score: scorer.DocumentScore) -> dict[str, Any]:
    counted = [one for one in score.fields if one.outcome != scorer.Outcome.BOTH_ABSENT]
    return {
        "id": row_id,
        "raw": raw,
        "valid": score.schema_valid,
        "correct": sum(one.outcome == scorer.Outcome.CORRECT for one in counted),
        "fields": len(counted),
        "outcomes": {one.path: str(one.outcome) for one in score.fields},
    }
