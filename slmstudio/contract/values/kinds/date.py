"""The kind of dates, in any format."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from slmstudio.contract.values import dates
from slmstudio.contract.values.kinds.kind import Kind, collapse

if TYPE_CHECKING:
    from slmstudio.contract.schema.structure import Field


def _normalize(text: str, field: "Field") -> Hashable:
    return dates.parse(text, field.date_order, field.locale) or ("text", collapse(text))


def _display(text: str, field: "Field", locale: str) -> str:
    day = dates.parse(text, field.date_order, field.locale)
    if day is None:
        return text
    from babel.dates import format_date

    return str(format_date(day, "medium", locale))


def _swapped(gold: Any, output: Any, field: "Field") -> bool:
    """Whether day and month are swapped."""
    if not isinstance(gold, str) or not isinstance(output, str):
        return False
    day: Any = _normalize(gold, field)
    try:
        other = day.replace(month=day.day, day=day.month)
    except (AttributeError, TypeError, ValueError):
        other = None
    return bool(other == _normalize(output, field))


DATE = Kind(
    "date",
    frozenset({"string"}),
    _normalize,
    display_text=_display,
    is_near_miss=_swapped,
    by_meaning=True,
    prefixes=False,
)
