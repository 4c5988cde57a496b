"""The parts of a document's score: outcomes, error types, the score itself."""

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from slmstudio.contract.schema.compiled import ValueProblem

ERROR_LABELS = {
    "format": "invalid format",
    "missing": "false negative",
    "extra": "false positive",
    "row": "row split or merged",
    "normalisation": "formatting difference",
    "truncated": "truncated value",
    "currency": "wrong currency",
    "wrong_span": "value of another field",
    "near_miss": "near miss",
    "ocr_damaged": "gold not in document",
    "hallucinated": "hallucinated",
    "wrong_value": "wrong value",
    "extra_key": "unknown field",
    "cut_off": "output truncated at its limit",
    "no_output": "no output",
}


#: the pattern of outcomes for field names that are not in the schema
EXTRA_KEYS = "(extra keys)"


class Outcome(StrEnum):
    """The outcome of one field of one document."""

    CORRECT = "correct"
    WRONG = "wrong"
    MISSING = "missing"
    EXTRA = "extra"
    HALLUCINATED = "hallucinated"
    BOTH_ABSENT = "both_absent"
    UNSCORABLE = "unscorable"


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """One field. Rows in ``path`` are numbered as in gold; output rows without a partner follow after the last.

    ``field`` is the pattern, ``error`` a key of ``ERROR_LABELS`` (empty if correct).
    """

    path: str
    field: str
    outcome: Outcome
    gold: Any
    output: Any
    error: str = ""


@dataclass(frozen=True, slots=True)
class FreeText:
    """A value of a field of kind free: for people to read, never scored."""

    path: str
    field: str
    gold: Any
    output: Any


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """One document. ``output`` is the parsed value (None if invalid), ``problems`` every violated schema rule and
    invariant, ``free`` what is not scored. ``invariants_hold`` is None if the schema declares none, and false if the
    output is invalid.
    """

    valid_json: bool
    schema_valid: bool
    required_present: bool
    no_extra_keys: bool
    exact: bool
    invariants_hold: bool | None
    output: Any
    fields: tuple[FieldOutcome, ...]
    problems: tuple[ValueProblem, ...]
    free: tuple[FreeText, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready (numbers stay Decimal; write it with ``dumps``)."""
        parts: dict[str, tuple[FieldOutcome | ValueProblem | FreeText, ...]]
        parts = {"fields": self.fields, "problems": self.problems, **({"free": self.free} if self.free else {})}
        plain = {column.name: getattr(self, column.name) for column in fields(self) if column.name != "free"}
        return {**plain, **{name: [asdict(part) for part in rows] for name, rows in parts.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DocumentScore":
        """The score from the output of ``as_dict``."""
        outcomes = tuple(FieldOutcome(**{**row, "outcome": Outcome(row["outcome"])}) for row in data["fields"])
        problems = tuple(ValueProblem(**row) for row in data["problems"])
        free = tuple(FreeText(**row) for row in data.get("free", ()))
        return cls(**{**data, "fields": outcomes, "problems": problems, "free": free})
