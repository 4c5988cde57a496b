"""Invariants: rules between the fields of a document, declared in the schema and checked on gold and on outputs.

    "x-slm": {"invariants": ["sum(line_items[].amount) == total_amount", "due_date >= date"], "tolerance": 0.01}

``expressions`` defines the language. A rule is relative to the object that declares it; in the object of a row it is
checked for each row. A rule with a missing value holds unless it compares with null itself: ``required`` reports
missing values. Dates count in days: ``due_date <= date + 30``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, DecimalException, localcontext
from functools import lru_cache
from typing import Any

from slmstudio.contract.rules.expressions import (
    COMPARISONS,
    Expression,
    Invariant,
    Literal,
    Operation,
    Path,
    parse,
)
from slmstudio.contract.rules.wording import Wording
from slmstudio.contract.schema.compiled import CompiledSchema, ValueProblem, compile_schema, exact
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.structure import Node, join
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import normalize


@dataclass(frozen=True, slots=True)
class CompiledInvariant:
    """A declared invariant: where it is declared, its absolute tolerance, and the message shown when it is violated."""

    node: Node
    invariant: Invariant
    tolerance: Decimal
    message: str


@dataclass(frozen=True, slots=True)
class BrokenInvariant:
    """A violated invariant. ``paths``: every place of the value that the rule reads, in the order of the rule."""

    problem: ValueProblem
    paths: tuple[str, ...]


class _MissingError(Exception):
    """A value that the rule needs is missing or unusable."""


@lru_cache(maxsize=256)
def compiled_rules(compiled: CompiledSchema) -> tuple[CompiledInvariant, ...]:
    """The invariants that a schema declares, in the order of the schema."""
    rules = []
    for node in compiled.root.nodes():
        options = node.schema.get("x-slm", {})
        for entry in options.get("invariants", ()):
            entry = {"rule": entry} if isinstance(entry, str) else entry
            tolerance = Decimal(entry.get("tolerance", options.get("tolerance", 0)))
            rules.append(CompiledInvariant(node, parse(entry["rule"]), tolerance, entry.get("message", "")))
    return tuple(rules)


def declared(compiled: CompiledSchema) -> bool:
    """Whether the schema declares any invariant."""
    return bool(compiled_rules(compiled))


def check(schema: CompiledSchema | dict[str, Any], value: Any) -> list[ValueProblem]:
    """Every violated invariant of a value, at the field it is about, rule ``invariant``. Never raises for any value."""
    return [rule.problem for rule in broken(schema, value)]


def broken(schema: CompiledSchema | dict[str, Any], value: Any) -> list[BrokenInvariant]:
    """Every violated invariant of a value with all the places it reads. Never raises for any value."""
    compiled = schema if isinstance(schema, CompiledSchema) else compile_schema(schema)
    rules = compiled_rules(compiled)
    if not rules:
        return []
    try:
        value = exact(value)
    except ValueError:
        return []
    violated = []
    for rule in rules:
        for path, target in _instances(compiled.root, rule.node, value, ""):
            problem = _Evaluation(rule, path, target).problem()
            if problem is not None:
                places = [place for steps in rule.invariant.paths() for place in _places(target, steps, path)]
                violated.append(BrokenInvariant(problem, tuple(dict.fromkeys(places))))
    return violated


def _places(value: Any, steps: tuple[str | None, ...], path: str) -> Iterator[str]:
    """The places of a path in a value, one per row; a list without rows is a place itself."""
    if not steps:
        yield path
    elif steps[0] is not None:
        yield from _places(value.get(steps[0]) if isinstance(value, dict) else None, steps[1:], join(path, steps[0]))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _places(item, steps[1:], f"{path}[{index}]")
    else:
        yield path


def _instances(here: Node, wanted: Node, value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a value at the node ``wanted``, with their paths."""
    if here is wanted:
        if isinstance(value, dict):
            yield path, value
    elif here.item is not None and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _instances(here.item, wanted, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, child in here.children.items():
            if name in value and wanted.pattern.startswith(child.pattern):
                yield from _instances(child, wanted, value[name], join(path, name))


_LATEST_ZONE = timedelta(hours=14)

Scalar = Decimal | str | bool | date | None
Value = Scalar | list[Scalar]


def _today() -> date:
    """The current date in the time zone where it is latest: no document of today is from the future."""
    return (datetime.now(UTC) + _LATEST_ZONE).date()


def _arithmetic(name: str, left: Scalar, right: Scalar) -> Scalar:
    if isinstance(left, date) and isinstance(right, date) and name == "-":
        return Decimal((left - right).days)
    if isinstance(left, date) and isinstance(right, Decimal) and name in "+-":
        return _shift(left, right if name == "+" else -right)
    if not isinstance(left, Decimal) or not isinstance(right, Decimal):
        raise _MissingError
    if name == "+":
        return left + right
    if name == "-":
        return left - right
    if name == "*":
        return left * right
    return left / right


def _shift(day: date, days: Decimal) -> date:
    try:
        return date.fromordinal(day.toordinal() + int(days))
    except (ValueError, OverflowError):
        raise _MissingError from None


def _compare(name: str, left: Scalar, right: Scalar, tolerance: Decimal) -> bool:
    if isinstance(left, date) and isinstance(right, date):
        left, right = Decimal(left.toordinal()), Decimal(right.toordinal())
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        gap = left - right
        holds = {
            "==": abs(gap) <= tolerance,
            "!=": abs(gap) > tolerance,
            "<=": gap <= tolerance,
            "<": gap < tolerance if tolerance else gap < 0,
            ">=": gap >= -tolerance,
            ">": gap > -tolerance if tolerance else gap > 0,
        }
        return holds[name]
    if type(left) is not type(right) or name not in ("==", "!="):
        raise _MissingError
    return (left == right) is (name == "==")


def _aligned(left: Value, right: Value) -> list[tuple[Scalar, Scalar]]:
    """Broadcast both sides: a list against one value repeats the value, two lists must have the same length."""
    if isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            raise _MissingError
        return list(zip(left, right, strict=True))
    if isinstance(left, list):
        return [(item, right) for item in left if not isinstance(right, list)]
    if isinstance(right, list):
        return [(left, item) for item in right]
    return [(left, right)]


def _as_date(side: Expression, value: Value, other: Value) -> Value:
    """A text literal compared with a date is a date."""
    sample = other[0] if isinstance(other, list) and other else other
    if isinstance(side, Literal) and isinstance(value, str) and isinstance(sample, date):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise _MissingError from None
    return value


class _Evaluation:
    """One rule evaluated on one object."""

    def __init__(self, rule: CompiledInvariant, path: str, value: dict[str, Any]) -> None:
        self.rule = rule
        self.path = path
        self.value = value
        self.broken: tuple[Operation, Value, Value] | None = None

    def problem(self) -> ValueProblem | None:
        """The problem of a violated rule; None if it holds or is undecidable."""
        try:
            with localcontext() as context:
                context.prec = 150
                if self.test(self.rule.invariant.root):
                    return None
        except (_MissingError, DecimalException):
            return None
        return ValueProblem(self._place(), "invariant", self.rule.message or self._message())

    def _message(self) -> str:
        operation, *sides = self.broken or (None,)
        return Wording(self.rule.node).problem(
            self.rule.invariant.root, operation, (sides[0], sides[1]) if sides else None
        )

    def _place(self) -> str:
        """The single field that the failed comparison is about, else the object."""
        operation = self.broken[0] if self.broken else self.rule.invariant.root
        arguments = operation.arguments if isinstance(operation, Operation) else ()
        for argument in arguments:
            if isinstance(argument, Path) and None not in argument.steps:
                place = self.path
                for step in argument.steps:
                    place = join(place, step or "")
                return place
        return self.path

    def test(self, node: Expression) -> bool:
        """Three-valued logic: an unknown operand matters only if the others do not decide the result."""
        if not isinstance(node, Operation):
            raise _MissingError
        if node.name == "not":
            return not self.test(node.arguments[0])
        if node.name in COMPARISONS:
            return self.comparison(node)
        decisive = node.name == "or"
        unknown = False
        for argument in node.arguments:
            try:
                if self.test(argument) is decisive:
                    return decisive
            except (_MissingError, DecimalException):
                unknown = True
        if unknown:
            raise _MissingError
        return not decisive

    def comparison(self, node: Operation) -> bool:
        first, second = node.arguments
        if any(isinstance(side, Literal) and side.value is None for side in (first, second)):
            empty = self.is_empty(first) and self.is_empty(second)
            return empty is (node.name == "==")
        left, right = self.evaluate(first), self.evaluate(second)
        left, right = _as_date(first, left, right), _as_date(second, right, left)
        tolerance = self.rule.tolerance if node.within is None else node.within
        holds = all(_compare(node.name, a, b, tolerance) for a, b in _aligned(left, right))
        if not holds and self.broken is None:
            self.broken = (node, left, right)
        return holds

    def is_empty(self, node: Expression) -> bool:
        if isinstance(node, Literal):
            return node.value is None
        try:
            value = self.evaluate(node)
        except (_MissingError, DecimalException):
            return True
        return value is None or value == []

    def evaluate(self, node: Expression) -> Value:
        """The value of an expression. Raises _MissingError if a part of it is missing or unusable."""
        if isinstance(node, Literal):
            value: Value = node.value
            return value
        if isinstance(node, Path):
            return self.look_up(node)
        arguments = node.arguments
        if node.name == "today":
            return _today()
        if node.name == "count":
            return Decimal(len([item for item in self.listed(arguments[0]) if item is not None]))
        if node.name in ("sum", "min", "max"):
            return self.fold(node)
        if node.name == "negative":
            return self.each(self.evaluate(arguments[0]), lambda value: -value)
        if node.name == "abs":
            return self.each(self.evaluate(arguments[0]), abs)
        if node.name == "round":
            places = self.evaluate(arguments[1]) if len(arguments) == 2 else Decimal(0)
            if not isinstance(places, Decimal) or not 0 <= places <= 20:
                raise _MissingError
            step = Decimal(1).scaleb(-int(places))
            return self.each(self.evaluate(arguments[0]), lambda value: value.quantize(step, "ROUND_HALF_UP"))
        left, right = self.evaluate(arguments[0]), self.evaluate(arguments[1])
        results = [_arithmetic(node.name, a, b) for a, b in _aligned(left, right)]
        return results if isinstance(left, list) or isinstance(right, list) else results[0]

    def each(self, value: Value, function: Callable[[Decimal], Decimal]) -> Value:
        items = value if isinstance(value, list) else [value]
        results: list[Scalar] = []
        for item in items:
            if not isinstance(item, Decimal):
                raise _MissingError
            results.append(function(item))
        return results if isinstance(value, list) else results[0]

    def listed(self, node: Expression) -> list[Scalar]:
        value = self.evaluate(node)
        return value if isinstance(value, list) else [value]

    def fold(self, node: Operation) -> Scalar:
        items = [item for argument in node.arguments for item in self.listed(argument)]
        if node.name != "sum" and items and all(isinstance(item, date) for item in items):
            days = [item.toordinal() for item in items if isinstance(item, date)]
            return date.fromordinal(min(days) if node.name == "min" else max(days))
        numbers = [item for item in items if isinstance(item, Decimal)]
        if len(numbers) != len(items) or (not numbers and node.name != "sum"):
            raise _MissingError
        if node.name == "sum":
            return sum(numbers, Decimal(0))
        return min(numbers) if node.name == "min" else max(numbers)

    def look_up(self, path: Path) -> Value:
        values = list(self._walk(self.rule.node, self.value, path.steps))
        if None in path.steps:
            return values
        if not values or values[0] is None:
            raise _MissingError
        return values[0]

    def _walk(self, node: Node | None, value: Any, steps: tuple[str | None, ...]) -> Iterator[Scalar]:
        if not steps:
            yield _scalar(node, value)
            return
        step, rest = steps[0], steps[1:]
        if step is None:
            if not isinstance(value, list):
                raise _MissingError
            for item in value:
                yield from self._walk(node.item if node else None, item, rest)
        else:
            inner = value.get(step) if isinstance(value, dict) else None
            if inner is None and None in rest:
                raise _MissingError
            yield from self._walk(node.children.get(step) if node else None, inner, rest)


def _scalar(node: Node | None, value: Any) -> Scalar:
    """A leaf as the language sees it: numbers as Decimal, dates as dates, by the kind of the field."""
    if value is None or isinstance(value, bool):
        return value
    if is_number(value):
        return Decimal(value)
    if not isinstance(value, str):
        raise _MissingError
    field = node.field if node else None
    if field is not None and KINDS[field.kind].by_meaning:
        meaning = normalize(value, field)
        if not isinstance(meaning, date | Decimal):
            raise _MissingError
        return meaning
    return value
