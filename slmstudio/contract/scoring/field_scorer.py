"""Score each field of a document whose output is a JSON object: its outcome, and the type of error.

The first match names the error: a value that violates the schema (format); money in another currency; equal after
looser normalization; a prefix of gold (truncated); a row split or merged; the value of another field (wrong span);
one character off a value in the document (near miss); gold that is not in the document itself (OCR-damaged); a value
that is not in the document (hallucinated); a wrong value. The outcome is independent of that: a value that is neither
in the document nor one character off one that is counts as hallucinated, whatever its error type.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.scoring.outcomes import FieldOutcome, Outcome
from slmstudio.contract.scoring.pairing import Leaf
from slmstudio.contract.values import evidence
from slmstudio.contract.values.currencies import other_currency
from slmstudio.contract.values.kinds.registry import KINDS, fold_coarsely
from slmstudio.contract.values.kinds.values import normalize
from slmstudio.contract.values.near_misses import near_miss

# A value is searched among this many others; longer lists only cost time.
MAX_OTHER_FIELDS = 2_000


def _same_value(gold: Any, output: Any, field: Field) -> bool:
    # Most texts are identical, which is fast to check.
    return (isinstance(gold, str) and gold == output) or normalize(gold, field) == normalize(output, field)


def _equal_after_folding(gold: Any, output: Any, field: Field) -> bool:
    """Equal ignoring case, spacing and punctuation, or with day and month swapped."""
    left, right = fold_coarsely(str(gold)), fold_coarsely(str(output))
    if left == right and left:
        return True
    return KINDS[field.kind].is_near_miss(gold, output, field)


def _is_prefix(gold: Any, output: Any, field: Field) -> bool:
    """Whether a text is a prefix of gold: of at least three letters, or half of gold."""
    if not isinstance(gold, str) or not isinstance(output, str) or not KINDS[field.kind].prefixes:
        return False
    short, long = fold_coarsely(output), fold_coarsely(gold)
    return bool(short) and long.startswith(short) and (len(short) >= 3 or 2 * len(short) >= len(long))


def _meaning(value: Any) -> Any:
    """The key to compare values of different fields; None for values that prove no mix-up (booleans, "")."""
    if isinstance(value, str):
        return fold_coarsely(value) or None
    return ("number", value) if is_number(value) else None


class FieldScorer:
    """Scores the leaves of one document. ``problems``: the schema violations of the output."""

    def __init__(self, text: str, problems: Iterable[ValueProblem], leaves: Sequence[Leaf]) -> None:
        self.text = text
        self.leaves = leaves
        self.broken = {problem.path for problem in problems}

    def score(self, leaf: Leaf) -> FieldOutcome:
        """The outcome of one leaf."""
        gold, output, field = leaf.gold, leaf.output, leaf.field
        if output is None:
            if gold is None:
                return FieldOutcome(leaf.path, field.pattern, Outcome.BOTH_ABSENT, None, None)
            error = leaf.why or ("missing" if self.in_document(gold, field) else "ocr_damaged")
            return FieldOutcome(leaf.path, field.pattern, Outcome.MISSING, gold, None, error)
        broken = leaf.output_path in self.broken
        if gold is None:
            hallucinated = self.is_hallucinated(leaf)
            outcome = Outcome.HALLUCINATED if hallucinated else Outcome.EXTRA
            error = "format" if broken else leaf.why or ("hallucinated" if hallucinated else "extra")
            return FieldOutcome(leaf.path, field.pattern, outcome, None, output, error)
        if not broken and _same_value(gold, output, field):
            return FieldOutcome(leaf.path, field.pattern, Outcome.CORRECT, gold, output)
        hallucinated = self.is_hallucinated(leaf)
        outcome = Outcome.HALLUCINATED if hallucinated else Outcome.WRONG
        error = "format" if broken else self.error(leaf, hallucinated)
        return FieldOutcome(leaf.path, field.pattern, outcome, gold, output, error)

    def in_document(self, value: Any, field: Field) -> bool:
        """Whether a value is in the document; true for fields that are not copied from it, and for blank values."""
        blank = not value.strip() if isinstance(value, str) else value in ([], {})
        return blank or field.evidence == "none" or evidence.is_present(value, field, self.text)

    def is_hallucinated(self, leaf: Leaf) -> bool:
        """Whether neither the output value nor anything one character off it is in the document."""
        return not self.in_document(leaf.output, leaf.field) and not self.is_near_miss(leaf)

    def is_near_miss(self, leaf: Leaf) -> bool:
        """Whether a value is one character off one in the document. A date that is another field's was not misread."""
        if leaf.field.kind == "date" and self.is_other_fields_value(leaf):
            return False
        return near_miss(leaf.output, leaf.gold, leaf.field, self.text)

    def error(self, leaf: Leaf, hallucinated: bool) -> str:
        """The error of a leaf whose two values differ. ``hallucinated``: the output is not in the document."""
        gold, output, field = leaf.gold, leaf.output, leaf.field
        if other_currency(normalize(gold, field), normalize(output, field)):
            return "currency"
        if _equal_after_folding(gold, output, field):
            return "normalisation"
        if not leaf.why and _is_prefix(gold, output, field):
            return "truncated"
        if leaf.why:
            return leaf.why
        if self.is_other_fields_value(leaf):
            return "wrong_span"
        if not self.in_document(output, field) and self.is_near_miss(leaf):
            return "near_miss"
        if not self.in_document(gold, field):
            return "ocr_damaged"
        return "hallucinated" if hallucinated else "wrong_value"

    @cached_property
    def fields_by_value(self) -> dict[Any, set[str]]:
        """The places of each gold value, by its normalized value."""
        places: dict[Any, set[str]] = {}
        for leaf in islice(self.leaves, MAX_OTHER_FIELDS):
            meaning = None if leaf.field.enum else _meaning(leaf.gold)
            if meaning is not None:
                places.setdefault(meaning, set()).add(leaf.path)
        return places

    def is_other_fields_value(self, leaf: Leaf) -> bool:
        """Whether the output is the gold value of another field of the document."""
        if leaf.field.enum:
            return False
        return bool(self.fields_by_value.get(_meaning(leaf.output), set()) - {leaf.path})
