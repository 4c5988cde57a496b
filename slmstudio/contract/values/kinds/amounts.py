"""Kinds of numbers and amounts of money."""

from collections.abc import Hashable
from decimal import Decimal, localcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.values import numbers
from slmstudio.contract.values.currencies import Money, currencies
from slmstudio.contract.values.kinds.kind import Kind, collapse, fold_coarsely

if TYPE_CHECKING:
    from slmstudio.contract.schema.structure import Field

_TYPES = frozenset({"string", "number", "integer"})


def _number(text: str, field: "Field") -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else value


def _money(text: str, field: "Field") -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else _amount(value, currencies(text), field)


def _money_number(value: Any, field: "Field") -> Hashable:
    if field.currency:
        return _amount(Decimal(str(value)), frozenset(), field)
    result: Hashable = identity(value)
    return result


def _amount(value: Decimal, named: frozenset[str], field: "Field") -> Decimal:
    # An ambiguous sign means the declared currency if it can.
    declared = frozenset({field.currency}) if field.currency else named
    found = declared if not named or declared <= named else named
    return Money(value, found) if found else value


def _display(value: Decimal, field: "Field", locale: str, *, decimals: int) -> str:
    from babel.numbers import format_decimal

    _, _, exponent = value.as_tuple()
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    pattern = "#,##0." + "0" * decimals + "#" * max(0, places - decimals)
    with localcontext() as context:
        context.prec = 200
        text = str(format_decimal(value, pattern, locale))
    return f"{field.currency} {text}" if field.currency else text


def _decimal_mark(gold: Any, output: Any, field: "Field") -> bool:
    """Whether the decimal mark was lost or moved."""
    left, right = fold_coarsely(str(gold)).strip("0"), fold_coarsely(str(output)).strip("0")
    return left == right and len(left) >= 3


MONEY = Kind(
    "money",
    _TYPES,
    _money,
    normalize_number=_money_number,
    display_number=partial(_display, decimals=2),
    is_near_miss=_decimal_mark,
    by_meaning=True,
    one_line=True,
)
NUMBER = Kind(
    "number",
    _TYPES,
    _number,
    display_number=partial(_display, decimals=0),
    is_near_miss=_decimal_mark,
    by_meaning=True,
    one_line=True,
)
