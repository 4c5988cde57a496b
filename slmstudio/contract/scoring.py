"""Turn one output and one gold value into outcomes, per field and per document.

A field is right where its value and gold are equal after normalisation by the field's kind (``kinds``); nothing fuzzy
enters. A missing name and null are the same absence. Rows of a list are paired first (``alignment``). An output that is
not JSON, not an object, or was cut off is invalid: all its fields are unscorable and stay in every denominator. A field
whose value breaks the schema is wrong even where it could be read. Sums over many documents are in ``summary``.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from slmstudio.contract import evidence, invariants
from slmstudio.contract.alignment import align
from slmstudio.contract.kinds import loose, normalise
from slmstudio.contract.schema import CompiledSchema, Problem, exact
from slmstudio.contract.structure import Field, Node, join
from slmstudio.contract.summary import confusion, cord, sroie, summarise, wilson

__all__ = [
    "ERRORS",
    "SCORER_VERSION",
    "DocumentScore",
    "FieldOutcome",
    "Outcome",
    "cells",
    "confusion",
    "cord",
    "differing",
    "score_document",
    "sroie",
    "summarise",
    "wilson",
]

SCORER_VERSION = "1"

ERRORS = {
    "format": "not written as the schema asks",
    "missing": "missing",
    "extra": "given though gold says there is none",
    "row": "a row split, merged, missing or extra",
    "normalisation": "the same after looser normalisation",
    "truncated": "cut off",
    "wrong_span": "the value of another field",
    "ocr_damaged": "gold itself is not in the document",
    "hallucinated": "nowhere in the document",
    "wrong_value": "another value",
    "no_output": "there was no output",
}


class Outcome(StrEnum):
    """What became of one field of one document."""

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

    ``field`` is the pattern, ``error`` a key of ``ERRORS`` (empty where nothing is wrong).
    """

    path: str
    field: str
    outcome: Outcome
    gold: Any
    output: Any
    error: str = ""


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """One document. ``output`` is the parsed value (None where invalid), ``problems`` every broken rule of the schema
    and every broken invariant. ``invariants_hold`` is None where the schema declares none or the output is invalid.
    """

    valid_json: bool
    schema_valid: bool
    required_present: bool
    no_extra_keys: bool
    exact: bool
    invariants_hold: bool | None
    output: Any
    fields: tuple[FieldOutcome, ...]
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready (numbers stay Decimal; write it with ``dumps``)."""
        return {
            "valid_json": self.valid_json,
            "schema_valid": self.schema_valid,
            "required_present": self.required_present,
            "no_extra_keys": self.no_extra_keys,
            "exact": self.exact,
            "invariants_hold": self.invariants_hold,
            "output": self.output,
            "fields": [
                {
                    "path": field.path,
                    "field": field.field,
                    "outcome": field.outcome.value,
                    "gold": field.gold,
                    "output": field.output,
                    "error": field.error,
                }
                for field in self.fields
            ],
            "problems": [problem.as_dict() for problem in self.problems],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DocumentScore":
        """The score that ``as_dict`` wrote."""
        fields = tuple(FieldOutcome(**{**row, "outcome": Outcome(row["outcome"])}) for row in data["fields"])
        problems = tuple(Problem(**row) for row in data["problems"])
        return cls(**{**data, "fields": fields, "problems": problems})


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: str
    field: Field
    gold: Any
    output: Any
    output_path: str
    lone_row: bool = False


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def cells(node: Node, value: Any) -> tuple[Hashable, ...]:
    """The normalised leaves of one row, a nested list as one cell."""
    if node.field is not None:
        return (normalise(value, node.field),)
    if node.item is not None:
        return (tuple(cells(node.item, item) for item in value) if isinstance(value, list) else None,)
    return tuple(cell for name, child in node.children.items() for cell in cells(child, _get(value, name)))


def _pair(node: Node, gold: Any, output: Any, path: str, out: str, lone: bool = False) -> Iterator[_Leaf]:
    """Every leaf of the schema with its gold and output values, rows paired."""
    if node.field is not None:
        yield _Leaf(path, node.field, gold, output, out, lone)
        return
    if node.item is None:
        for name, child in node.children.items():
            yield from _pair(child, _get(gold, name), _get(output, name), join(path, name), join(out, name), lone)
        return
    gold_rows = gold if isinstance(gold, list) else []
    output_rows = output if isinstance(output, list) else []
    item = node.item
    pairs = align(
        [cells(item, row) for row in gold_rows], [cells(item, row) for row in output_rows], ordered=node.ordered
    )
    for index, (left, right) in enumerate(pairs):
        yield from _pair(
            item,
            None if left is None else gold_rows[left],
            None if right is None else output_rows[right],
            f"{path}[{index}]",
            f"{out}[{right}]",
            lone or left is None or right is None,
        )


def differing(compiled: CompiledSchema, left: Any, right: Any) -> tuple[int, int]:
    """How two values of one document differ: (fields that do not mean the same, fields that either of them fills).

    Compared as in scoring: after normalisation by the kind of the field, rows paired by likeness. Raises ValueError for
    what is not a JSON value.
    """
    pairs = [
        (normalise(leaf.gold, leaf.field), normalise(leaf.output, leaf.field))
        for leaf in _pair(compiled.root, exact(left), exact(right), "", "")
        if leaf.gold is not None or leaf.output is not None
    ]
    return sum(one != other for one, other in pairs), len(pairs)


def _extra_names(node: Node, value: Any) -> bool:
    """Whether an output has a name that the schema does not list."""
    if isinstance(value, list) and node.item is not None:
        return any(_extra_names(node.item, item) for item in value)
    if not isinstance(value, dict) or not node.children:
        return False
    return any(name not in node.children or _extra_names(node.children[name], item) for name, item in value.items())


def _loosely_equal(gold: Any, output: Any, field: Field) -> bool:
    """Equal once case, spacing, signs and marks are gone, or once day and month are swapped."""
    left, right = loose(str(gold)), loose(str(output))
    if left == right and left:
        return True
    if field.kind == "date" and isinstance(gold, str) and isinstance(output, str):
        return _swapped(normalise(gold, field)) == normalise(output, field)
    if field.kind in ("money", "number"):  # the decimal mark lost or moved
        return left.strip("0") == right.strip("0") and len(left.strip("0")) >= 3
    return False


def _swapped(day: Any) -> Any:
    try:
        return day.replace(month=day.day, day=day.month)
    except (AttributeError, TypeError, ValueError):
        return None


class _Judge:
    """Decides outcome and error of the leaves of one valid document."""

    def __init__(self, text: str, problems: Iterable[Problem], leaves: list[_Leaf]) -> None:
        self.text = text
        self.leaves = leaves
        self.broken = {problem.path for problem in problems}

    def judge(self, leaf: _Leaf) -> FieldOutcome:
        gold, output, field = leaf.gold, leaf.output, leaf.field
        if output is None:
            if gold is None:
                return FieldOutcome(leaf.path, field.pattern, Outcome.BOTH_ABSENT, None, None)
            error = "row" if leaf.lone_row else "missing" if self.said(gold, field) else "ocr_damaged"
            return FieldOutcome(leaf.path, field.pattern, Outcome.MISSING, gold, None, error)
        if gold is None:
            made_up = not self.said(output, field)
            outcome = Outcome.HALLUCINATED if made_up else Outcome.EXTRA
            error = "hallucinated" if made_up else "row" if leaf.lone_row else "extra"
            return FieldOutcome(leaf.path, field.pattern, outcome, None, output, error)
        if leaf.output_path in self.broken:
            return FieldOutcome(leaf.path, field.pattern, Outcome.WRONG, gold, output, "format")
        if normalise(gold, field) == normalise(output, field):
            return FieldOutcome(leaf.path, field.pattern, Outcome.CORRECT, gold, output)
        outcome, error = self.wrong(leaf)
        return FieldOutcome(leaf.path, field.pattern, outcome, gold, output, error)

    def said(self, value: Any, field: Field) -> bool:
        """Whether the document says a value; true for fields that are not copied from it."""
        return field.evidence == "none" or evidence.present(value, field, self.text)

    def wrong(self, leaf: _Leaf) -> tuple[Outcome, str]:
        gold, output, field = leaf.gold, leaf.output, leaf.field
        if _loosely_equal(gold, output, field):
            return Outcome.WRONG, "normalisation"
        if isinstance(gold, str) and isinstance(output, str) and field.kind not in ("class", "date"):
            short, long = loose(output), loose(gold)
            if len(short) >= 3 and long.startswith(short):
                return Outcome.WRONG, "truncated"
        made_up = not self.said(output, field)
        outcome = Outcome.HALLUCINATED if made_up else Outcome.WRONG
        if self.stolen(leaf):
            return outcome, "wrong_span"
        if not self.said(gold, field):
            return outcome, "ocr_damaged"
        return outcome, "hallucinated" if made_up else "wrong_value"

    def stolen(self, leaf: _Leaf) -> bool:
        """Whether the output is the gold value of another field of the document."""
        if leaf.field.enum or leaf.field.type == "boolean":
            return False
        wanted = loose(str(leaf.output))
        return bool(wanted) and any(
            other.gold is not None
            and other.path != leaf.path
            and not other.field.enum
            and type(other.gold) is type(leaf.output)
            and loose(str(other.gold)) == wanted
            for other in islice(self.leaves, 2_000)
        )


def _invalid(compiled: CompiledSchema, gold: Any, problem: Problem, parsed: Any, valid_json: bool) -> DocumentScore:
    error = {"length": "truncated", "error": "no_output"}.get(problem.rule, "format")
    fields = tuple(
        # Nothing was said, so a field that gold leaves empty is absent on both sides.
        FieldOutcome(leaf.path, leaf.field.pattern, Outcome.BOTH_ABSENT, None, None)
        if leaf.gold is None
        else FieldOutcome(leaf.path, leaf.field.pattern, Outcome.UNSCORABLE, leaf.gold, None, error)
        for leaf in _pair(compiled.root, gold, None, "", "")
    )
    return DocumentScore(valid_json, False, False, False, False, None, parsed, fields, (problem,))


def score_document(
    compiled: CompiledSchema, *, text: str, gold: Any, raw: str | None, finish_reason: str = "stop"
) -> DocumentScore:
    """Score one raw output against gold.

    ``text`` is the document (to tell a wrong value from an invented one), ``raw`` what the model wrote, verbatim;
    ``finish_reason`` is ``stop``, ``length`` (cut off: invalid whatever it holds) or ``error`` (nothing was generated).
    Never raises for any output. Raises ValueError where gold is not a JSON value.
    """
    gold = exact(gold)
    if finish_reason == "length":
        problem = Problem("", "length", "the output was cut off before its end")
        return _invalid(compiled, gold, problem, None, False)
    if finish_reason == "error" or raw is None:
        return _invalid(compiled, gold, Problem("", "error", "there is no output"), None, False)
    output, problems = compiled.check(raw)
    if problems and problems[0].rule == "json":
        return _invalid(compiled, gold, problems[0], None, False)
    if not isinstance(output, dict):
        return _invalid(compiled, gold, problems[0], output, True)
    leaves = list(_pair(compiled.root, gold, output, "", ""))
    judge = _Judge(text, problems, leaves)
    fields = tuple(judge.judge(leaf) for leaf in leaves)
    broken = invariants.check(compiled, output) if invariants.declared(compiled) else None
    clean = not _extra_names(compiled.root, output)
    right = all(field.outcome in (Outcome.CORRECT, Outcome.BOTH_ABSENT) for field in fields)
    return DocumentScore(
        valid_json=True,
        schema_valid=not problems,
        required_present=not any(problem.rule == "required" for problem in problems),
        no_extra_keys=clean,
        exact=right and clean and not problems,
        invariants_hold=None if broken is None else not broken,
        output=output,
        fields=fields,
        problems=(*problems, *(broken or ())),
    )
