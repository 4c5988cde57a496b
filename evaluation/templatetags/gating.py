"""Slices, levels and amounts of money as people read them."""

from typing import Any

from django import template

from evaluation.gates.display import format_confidence
from evaluation.scores.slice_selector import Slice, SliceError

register = template.Library()
register.filter(format_confidence)


@register.filter
def slice_words(value: str) -> str:
    """A slice in words: "poor scan", "supplier: ACME"."""
    try:
        return Slice.parse(str(value)).words
    except SliceError:
        return str(value)


@register.filter
def cash(value: float | str | None) -> str:
    """An amount with as many digits as say something: "1,240", "−3.10", "0.0042"; a dash where there is none."""
    if value is None or isinstance(value, str):  # a template says "" where something on the way is None
        return "–"
    size = abs(value)
    if size >= 100:
        text = f"{size:,.0f}"
    elif size >= 0.1 or size < 1e-9:
        text = f"{size:.2f}" if size >= 1e-9 else "0"
    else:
        text = f"{size:.2g}"
    return f"−{text}" if value < 0 and text not in ("0", "0.00") else text


@register.filter
def cash_range(amount: Any) -> str:
    """The interval of an amount: "120 to 480"; "" where it is a point."""
    if not amount or amount.low == amount.high:
        return ""
    return f"{cash(amount.low)} to {cash(amount.high)}"
