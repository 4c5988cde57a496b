"""Units of metrics: how a value is displayed, and how a threshold is entered."""

from collections.abc import Callable
from dataclasses import dataclass

from slmstudio.text.formatting import (
    DEFAULT_CURRENCY,
    exact_percent,
    format_money,
    milliseconds,
    percent,
    points,
    short_number,
)


def _three_digits(value: float) -> str:
    return short_number(float(f"{value:.3g}"))


@dataclass(frozen=True)
class Unit:
    """A unit. ``label`` is shown at a threshold field and ``suffix`` after a value that ``format_value`` formats.

    ``format_threshold`` formats the threshold in a title. ``is_share``: values are shares between 0 and 1, which are
    entered in percent. ``is_money``: amounts in a currency, which no format is given for.
    """

    label: str
    suffix: str = ""
    format_value: Callable[[float], str] = _three_digits
    format_threshold: Callable[[float], str] = short_number
    is_share: bool = False
    is_money: bool = False

    def display(self, value: float, *, currency: str = "", with_suffix: bool = True) -> str:
        """A value with its unit: "99.0%", "812 ms", "$0.002"."""
        text = format_money(value, currency) if self.is_money else self.format_value(value)
        return f"{text} {self.suffix}" if with_suffix and self.suffix else text

    def in_title(self, threshold: float, currency: str = "") -> str:
        """A threshold in the title of a gate: "99%", "20 s", "$0.002"."""
        return format_money(threshold, currency) if self.is_money else self.format_threshold(threshold)

    def label_in(self, currency: str) -> str:
        """What is shown at a threshold field: "%", "ms", "USD"."""
        return currency or DEFAULT_CURRENCY if self.is_money else self.label

    def to_input(self, threshold: float) -> str:
        """A threshold as it is entered in a form: 0.995 as "99.5"."""
        return short_number(threshold * 100 if self.is_share else threshold).replace(",", "")

    def from_input(self, number: float) -> float:
        """The threshold that was entered: 99.5 as 0.995."""
        return round(number / 100, 12) if self.is_share else number


def _points_of(share: float) -> str:
    return short_number(round(100 * share, 6))


PERCENT = Unit("%", format_value=percent, format_threshold=exact_percent, is_share=True)
POINTS = Unit("points", "points", points, _points_of, is_share=True)
DOCUMENTS = Unit("documents")
MILLISECONDS = Unit("ms", format_value=milliseconds, format_threshold=milliseconds)
PER_SECOND = Unit("per second", "per second")
MONEY = Unit("", is_money=True)
GIGABYTES = Unit("GB", "GB")
