"""Rules in words, with the titles of fields: what a person reads when a document breaks one."""

from datetime import date
from typing import Any

from slmstudio.contract.rules.expressions import COMPARISONS, Expression, Literal, Operation, Path
from slmstudio.contract.schema.messages import show
from slmstudio.contract.schema.structure import Node, humanize

#: operator -> of numbers and texts, of dates
_VERBS = {
    "==": ("must equal", "must be the same day as"),
    "!=": ("must differ from", "must differ from"),
    ">=": ("must be at least", "must not be before"),
    "<=": ("must be at most", "must not be after"),
    ">": ("must be more than", "must be after"),
    "<": ("must be less than", "must be before"),
}
_OPPOSITE = {"==": "!=", "!=": "==", ">=": "<", "<": ">=", "<=": ">", ">": "<="}
_MIRRORED = {"==": "==", "!=": "!=", ">=": "<=", "<=": ">=", ">": "<", "<": ">"}
_SIGNS = {"+": "+", "-": "−", "*": "×", "/": "/"}
_LISTED = 5


class Wording:
    """The words of a rule of an object, whose fields are the children of ``node``."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def requirement(self, test: Expression) -> str:
        """What a test requires: "Due date must not be before Invoice date"."""
        if not isinstance(test, Operation):
            return ""
        if test.name in ("and", "or"):
            return f", {test.name} ".join(map(self.requirement, test.arguments))
        if test.name == "not":
            inner = test.arguments[0]
            if isinstance(inner, Operation) and inner.name in COMPARISONS:
                return self.requirement(Operation(_OPPOSITE[inner.name], inner.arguments, inner.within))
            return f"this must not be true: {self.requirement(inner)}"
        left, right = test.arguments
        if isinstance(left, Literal) and not isinstance(right, Literal):
            left, right = right, left
            test = Operation(_MIRRORED[test.name], (left, right), test.within)
        words = self.value(left)
        return f"{words[:1].upper()}{words[1:]} {self._predicate(test.name, left, right, '')}{_within(test)}"

    def problem(self, test: Expression, broken: Operation | None, sides: tuple[Any, Any] | None) -> str:
        """Why a value breaks a rule. ``broken``: the comparison that fails, with the values of its ``sides``."""
        if broken is not test or broken is None or sides is None:
            return f"breaks a rule: {self.requirement(test)}"
        (left, right), (actual, other) = broken.arguments, sides
        name = broken.name
        if not _is_field(left) and _is_field(right):
            left, right, actual, other, name = right, left, other, actual, _MIRRORED[name]
        if not _is_field(left):
            return f"breaks a rule: {self.requirement(test)}; found {_shown(actual)} and {_shown(other)}"
        predicate = self._predicate(name, left, right, "" if isinstance(right, Literal) else f" ({_shown(other)})")
        return f"{predicate}{_within(broken)}; found {_shown(actual)}"

    def _predicate(self, name: str, left: Expression, right: Expression, after: str) -> str:
        """A comparison without its left side."""
        if isinstance(right, Literal) and (right.value is None or isinstance(right.value, bool)):
            word = "empty" if right.value is None else "yes" if right.value else "no"
            return f"must {'' if name == '==' else 'not '}be {word}"
        is_date = self._is_date(left) or self._is_date(right)
        words = right.value if is_date and isinstance(right, Literal) else self.value(right)
        return f"{_VERBS[name][is_date]} {words}{after}"

    def value(self, node: Expression) -> str:
        """An expression: "Subtotal + Tax", "the sum of Amount in Line items"."""
        if isinstance(node, Literal):
            return _shown(node.value)
        if isinstance(node, Path):
            return self._path(node)
        parts = [self.value(argument) for argument in node.arguments]
        if node.name in _SIGNS:
            days = self._is_date(node.arguments[0]) and not self._is_date(node.arguments[1])
            return f"{parts[0]} {_SIGNS[node.name]} {parts[1]}{' days' if days else ''}"
        if node.name == "round":
            return f"{parts[0]} rounded to {parts[1] if len(parts) > 1 else '0'} decimals"
        whole = " and ".join(parts)
        of_dates = any(map(self._is_date, node.arguments))
        words = {
            "today": "today",
            "negative": f"−{whole}",
            "sum": f"the sum of {whole}",
            "count": f"the number of {whole}",
            "abs": f"the absolute value of {whole}",
            "min": f"the {'earliest' if of_dates else 'smallest'} of {whole}",
            "max": f"the {'latest' if of_dates else 'largest'} of {whole}",
        }
        return words[node.name]

    def _path(self, path: Path) -> str:
        """The title of a field; of a field in rows with that of its list."""
        here: Node | None = self._node
        lists, name = [], path.text
        for step in path.steps:
            if step is None:
                lists.append(name)
                here = here.item if here else None
            else:
                here = here.children.get(step) if here else None
                name = (here.field.title if here and here.field else _title(here)) or humanize(step)
        return " in ".join([name, *reversed(lists)]) if path.steps and path.steps[-1] is not None else name

    def _is_date(self, node: Expression) -> bool:
        if isinstance(node, Path):
            here: Node | None = self._node
            for step in node.steps:
                here = None if here is None else here.item if step is None else here.children.get(step)
            return bool(here and here.field and here.field.kind == "date")
        if isinstance(node, Literal):
            return False
        if node.name == "-" and all(map(self._is_date, node.arguments)):
            return False
        return node.name == "today" or (
            node.name in ("+", "-", "min", "max") and any(map(self._is_date, node.arguments))
        )


def _title(node: Node | None) -> str:
    return str(node.schema.get("title", "")) if node else ""


def _is_field(node: Expression) -> bool:
    return isinstance(node, Path) and None not in node.steps


def _within(test: Operation) -> str:
    return "" if test.within is None else f" (± {show(test.within)})"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value[:_LISTED]))}{', …' if len(value) > _LISTED else ''}]"
    if value is None or isinstance(value, bool):
        return "empty" if value is None else "yes" if value else "no"
    return value.isoformat() if isinstance(value, date) else show(value)
