"""What comparisons, gates and pages read of a document's score. Pure.

The score itself is ``slmstudio.contract.scoring.scorer.DocumentScore``, stored as a dict. A ``ScoreView`` reads either
of them once, without the parts that only a document's own page needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

from evaluation.scores.slice_selector import as_text
from slmstudio.contract.scoring.outcomes import Outcome

#: outcomes that are no error
CORRECT_OUTCOMES = frozenset({Outcome.CORRECT.value, Outcome.BOTH_ABSENT.value})
#: the outcome that counts nowhere: the field is absent in gold and in the output
UNCOUNTED_OUTCOME = Outcome.BOTH_ABSENT.value


class ScoredField(NamedTuple):
    """One field of one document: its pattern, outcome, error type ("" for none), and both values."""

    field: str
    outcome: str
    error: str = ""
    gold: Any = None
    output: Any = None


class FieldCount(NamedTuple):
    """Fields of a document: how many are correct, and how many count."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """The share that is correct; 1 where nothing counts."""
        return self.correct / self.total if self.total else 1.0

    @property
    def wrong(self) -> int:
        """How many are not correct."""
        return self.total - self.correct


@dataclass(frozen=True, slots=True)
class ScoreView:
    """A score with the outcomes of its fields. Of an output that cannot be read every field is wrong.

    ``no_extra_keys``: the output has no name that the schema does not have. ``invariants_hold``: None if the schema
    has no invariants, or the output is invalid.
    """

    exact: bool
    schema_valid: bool
    fields: tuple[ScoredField, ...]
    valid_json: bool = True
    no_extra_keys: bool = True
    invariants_hold: bool | None = None

    @classmethod
    def of(cls, score: Any) -> Self:
        """Reads a DocumentScore, or the dict that is stored of it."""
        if isinstance(score, cls):
            return score
        if isinstance(score, Mapping):
            fields = tuple(
                ScoredField(
                    row["field"], str(row["outcome"]), row.get("error") or "", row.get("gold"), row.get("output")
                )
                for row in score["fields"]
            )
            read: Callable[..., Any] = score.get
        else:
            fields = tuple(
                ScoredField(row.field, str(row.outcome), row.error, row.gold, row.output) for row in score.fields
            )
            read = partial(getattr, score)
        return cls(
            bool(read("exact", False)),
            bool(read("schema_valid", False)),
            fields,
            bool(read("valid_json", True)),
            read("no_extra_keys", True) is not False,
            read("invariants_hold", None),
        )

    def within(self, shared: frozenset[str] | None) -> "ScoreView":
        """The score over some fields only; None: over all."""
        if shared is None:
            return self
        fields = tuple(row for row in self.fields if row.field in shared)
        right = self.schema_valid and self.no_extra_keys and all(row.outcome in CORRECT_OUTCOMES for row in fields)
        return replace(self, exact=self.exact or right, fields=fields)

    def of_field(self, field: str = "", value: str = "") -> list[ScoredField]:
        """The outcomes; only those of one pattern, and only those whose gold is this value."""
        return [
            row
            for row in self.fields
            if (not field or row.field == field) and (not value or as_text(row.gold) == value)
        ]

    def count(self, field: str = "") -> FieldCount:
        """Correct and counted fields, of all or of one pattern."""
        outcomes = [
            row.outcome for row in self.fields if row.outcome != UNCOUNTED_OUTCOME and (not field or row.field == field)
        ]
        return FieldCount(sum(outcome in CORRECT_OUTCOMES for outcome in outcomes), len(outcomes))

    @property
    def accuracy(self) -> float:
        """The share of counted fields that are correct; where nothing counts, whether the document is exact."""
        return float(self.exact) if (accuracy := self.accuracy_of()) is None else accuracy

    def accuracy_of(self, field: str = "") -> float | None:
        """The same of one pattern; None if it does not count."""
        count = self.count(field)
        return 1.0 - count.wrong / count.total if count.total else None

    def missed_values(self, field: str = "", value: str = "") -> tuple[int, int]:
        """(missed, all) values of gold: those that the output does not have right."""
        golds = [row for row in self.of_field(field, value) if row.gold is not None]
        return sum(row.outcome != Outcome.CORRECT for row in golds), len(golds)

    def correct_fields(self) -> dict[str, bool]:
        """Field -> whether all its counted occurrences are correct."""
        correct: dict[str, bool] = {}
        for row in self.fields:
            if row.outcome != UNCOUNTED_OUTCOME:
                correct[row.field] = correct.get(row.field, True) and row.outcome in CORRECT_OUTCOMES
        return correct

    @property
    def errors(self) -> set[str]:
        """The error types that occur."""
        return {row.error for row in self.fields if row.error}

    def has_hallucination(self, field: str = "") -> bool:
        """Whether a wrong or extra value is not in the document."""
        return any(row.outcome == Outcome.HALLUCINATED for row in self.of_field(field))

    @property
    def is_readable(self) -> bool:
        """Whether the output is a JSON object."""
        return self.valid_json and not any(row.outcome == Outcome.UNSCORABLE for row in self.fields)

    def has_decision(self, field: str) -> bool:
        """Whether the output has a valid choice wherever the field occurs."""
        rows = self.of_field(field)
        return bool(self.schema_valid and rows) and all(row.output is not None for row in rows)
