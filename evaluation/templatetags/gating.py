"""Slices and ranges of money as people read them."""

from typing import Any

from django import template

from evaluation.scores.slice_selector import Slice, SliceError
from slmstudio.text.formatting import format_money
from slmstudio.web.markdown import escape_line

register = template.Library()


@register.filter
def slice_words(value: str) -> str:
    """A slice in words: "poor scan", "supplier: ACME"."""
    try:
        return Slice.parse(str(value)).words
    except SliceError:
        return str(value)


@register.filter
def money_range(amount: Any, currency: str = "") -> str:
    """The interval of an amount: "$120 to $480"; "" where it is a point."""
    if not amount or amount.low == amount.high:
        return ""
    return f"{format_money(amount.low, currency)} to {format_money(amount.high, currency)}"


@register.filter
def money_interval(amount: Any, currency: str = "") -> str:
    """An amount with its interval, as Markdown: "$300 ($120 to $480)"."""
    interval = escape_line(money_range(amount, currency))
    value = format_money(amount.value if amount else None, currency)
    return f"{value} ({interval})" if interval else value


_VERDICT_ICONS = {
    "PASS": "check-circle-fill pip-pass",
    "FAIL": "x-octagon-fill pip-fail",
    "INAPPLICABLE": "dash-circle",
}


@register.filter
def verdict_icon(status: str) -> str:
    """Icon and color of a gate's verdict in a row of them."""
    return _VERDICT_ICONS.get(status, "question-diamond-fill pip-open")
