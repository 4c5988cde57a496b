"""Invariants of a schema: comparisons of values, sums and counts. Other rules are not decided here."""

import ast
import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from .paths import split
from .values import as_date, kind_of, resolved

_PATH = re.compile(r"[A-Za-z_][\w]*(?:\[\])?(?:\.[A-Za-z_][\w]*(?:\[\])?)*")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda values: sum(values, Decimal(0)),
    "min": min,
    "max": max,
    "abs": abs,
    "count": len,
}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}


class _Undecided(Exception):
    """A rule that is not decided here."""


class _Absent(Exception):
    """A value of a rule is missing, so that the rule holds."""


def hold(schema: dict[str, Any], output: dict[str, Any]) -> bool | None:
    """Whether an output satisfies all invariants; None where one of them is not decided here."""
    if any("invariants" in str(one) for one in [schema.get("properties", {}), schema.get("$defs", {})]):
        return None  # rules of rows
    options = schema.get("x-slm", {})
    results: list[bool | None] = []
    for one in options.get("invariants", []):
        entry = {"rule": one} if isinstance(one, str) else one
        tolerance = Decimal(str(entry.get("tolerance", options.get("tolerance", 0))))
        try:
            results.append(_holds(str(entry["rule"]), tolerance, output, schema))
        except _Absent:
            results.append(True)
        except (_Undecided, SyntaxError, TypeError, ArithmeticError, ValueError, LookupError, RecursionError):
            results.append(None)
    if False in results:
        return False
    return None if None in results else True


def _holds(rule: str, tolerance: Decimal, output: dict[str, Any], root: dict[str, Any]) -> bool:
    names: dict[str, Any] = {}

    def named(found: re.Match[str]) -> str:
        if found[0] in (*_FUNCTIONS, "and", "or", "not", "null", "round", "within", "true", "false"):
            return found[0]
        name = f"v{len(names)}"
        names[name] = _values(found[0], output, root)
        return name

    tree = ast.parse(_PATH.sub(named, rule), mode="eval").body
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise _Undecided
    left, right = _value(tree.left, names), _value(tree.comparators[0], names)
    if isinstance(left, date) and isinstance(right, date):
        gap = Decimal((left - right).days)
    elif isinstance(left, int | Decimal) and isinstance(right, int | Decimal):
        gap = Decimal(left) - Decimal(right)
    else:
        raise _Undecided
    answers: dict[type, bool] = {
        ast.Eq: abs(gap) <= tolerance,
        ast.NotEq: abs(gap) > tolerance,
        ast.GtE: gap >= -tolerance,
        ast.LtE: gap <= tolerance,
        ast.Gt: gap > -tolerance if tolerance else gap > 0,
        ast.Lt: gap < tolerance if tolerance else gap < 0,
    }
    return answers[type(tree.ops[0])]


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return Decimal(str(node.value))
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        return _FUNCTIONS[node.func.id](_value(node.args[0], names))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    raise _Undecided


def _values(path: str, output: dict[str, Any], root: dict[str, Any]) -> Any:
    found = list(_walk(output, root, root, split(path.replace("[]", "[0]"))))
    if "[]" in path:
        if None in found:
            raise _Undecided
        return found
    if not found or found[0] is None:
        raise _Absent
    return found[0]


def _walk(value: Any, schema: Any, root: dict[str, Any], steps: tuple[str | int, ...]) -> Iterator[Any]:
    schema = resolved(schema, root) if isinstance(schema, dict) else {}
    if not steps:
        yield _scalar(value, schema)
    elif isinstance(steps[0], int):
        if not isinstance(value, list):
            raise _Undecided
        for item in value:
            yield from _walk(item, schema.get("items"), root, steps[1:])
    else:
        inner = value.get(steps[0]) if isinstance(value, dict) else None
        yield from _walk(inner, schema.get("properties", {}).get(steps[0]), root, steps[1:])


def _scalar(value: Any, schema: dict[str, Any]) -> Any:
    if value is None or (isinstance(value, int | Decimal) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and kind_of(schema) == "date":
        day = as_date(value, schema.get("x-slm", {}).get("date_order"))
        if day is not None:
            return day
    raise _Undecided
