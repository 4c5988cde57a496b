"""Which of two models answers a place of a contract: from which probability on an encoder's value is kept, and below
which the decoder answers. Pure.

Places are fields outside of lists, and lists as wholes.

Chosen for each field on documents of validation that both models answered: the threshold with the fewest wrong values;
of equal ones the lowest, which asks the decoder least. Where the gain is not significant, the encoder keeps the field.
The cost of an error is the same within a field, so it does not change its threshold; the time of the decoder is left to
the gates.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evaluation.stats import ALPHA, best_start_p_value
from slmstudio.contract.schema.compiled import CompiledSchema

#: the threshold of a field that is always the decoder's
ALWAYS = 1.01


@dataclass(frozen=True, slots=True)
class AnsweredField:
    """A field of a document that both models answered. ``probability``: of the encoder's value."""

    pattern: str
    probability: float
    encoder_is_right: bool
    decoder_is_right: bool


@dataclass(frozen=True, slots=True)
class FieldThreshold:
    """``asked``: documents whose value is the decoder's. ``wrong``: values that are wrong with the threshold;
    ``encoder_wrong`` and ``decoder_wrong``: of each model alone. Of ``documents``.
    """

    pattern: str
    threshold: float
    documents: int
    asked: int
    wrong: int
    encoder_wrong: int
    decoder_wrong: int


def choose_thresholds(answers: Iterable[AnsweredField]) -> list[FieldThreshold]:
    """The threshold of each field, in the order of their first answers."""
    by_field: defaultdict[str, list[AnsweredField]] = defaultdict(list)
    for answer in answers:
        by_field[answer.pattern].append(answer)
    return [_threshold(pattern, rows) for pattern, rows in by_field.items()]


def _threshold(pattern: str, rows: list[AnsweredField]) -> FieldThreshold:
    # of equal probabilities first those that get worse: a start of the rows that cannot be chosen is never the best
    rows = sorted(rows, key=lambda row: (row.probability, row.decoder_is_right))
    improved = [row.decoder_is_right for row in rows if row.decoder_is_right != row.encoder_is_right]
    is_significant = best_start_p_value(improved) <= ALPHA
    wrong = sum(not row.encoder_is_right for row in rows)
    encoder_wrong, best = wrong, (wrong, 0, 0.0)  # errors, documents that are asked, threshold
    for asked, row in enumerate(rows if is_significant else (), start=1):
        wrong += (not row.decoder_is_right) - (not row.encoder_is_right)
        after = rows[asked].probability if asked < len(rows) else ALWAYS
        if after > row.probability and wrong < best[0]:
            # between two documents: an equal probability must fall on one side
            best = wrong, asked, (row.probability + after) / 2 if asked < len(rows) else ALWAYS
    errors, asked, threshold = best
    return FieldThreshold(
        pattern=pattern,
        threshold=round(threshold, 7),  # probabilities have six digits
        documents=len(rows),
        asked=asked,
        wrong=errors,
        encoder_wrong=encoder_wrong,
        decoder_wrong=sum(not row.decoder_is_right for row in rows),
    )


# -- places -----------------------------------------------------------------------------------------------------------


def answered_fields(compiled: CompiledSchema) -> list[str]:
    """The patterns of these places, in schema order."""
    return [
        node.pattern
        for node in compiled.root.nodes()
        if node.pattern and "[]" not in node.pattern and (node.field is not None or node.item is not None)
    ]


def is_in(path: str, pattern: str) -> bool:
    """Whether a path of an output is at or below a place."""
    return path == pattern or path.startswith((f"{pattern}[", f"{pattern}."))


def probability_of(pattern: str, confidence: Mapping[str, float]) -> float:
    """The probability of the value at a place, of a list the lowest of its values; 1 where none is known."""
    return min((known for path, known in confidence.items() if is_in(path, pattern)), default=1.0)
