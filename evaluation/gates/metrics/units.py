"""Units of metrics: how a value is displayed, and how a threshold is entered."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal


def format_number(number: float) -> str:
    """A number without trailing zeros: 99, 0.5, 2,000, 0.00021."""
    if 0 < abs(number) < 0.001:
        return f"{Decimal(f'{number:.3g}'):f}"
    text = f"{number + 0.0:,.6f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _three_digits(value: float) -> str:
    return format_number(float(f"{value:.3g}"))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if value not in (0, 1) else f"{100 * value:.0f}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


@dataclass(frozen=True)
class Unit:
    """A unit. ``label`` is shown at a threshold field and ``suffix`` after a value that ``format_value`` formats.

    ``is_share``: values are shares between 0 and 1, which are entered in percent.
    """

    label: str
    suffix: str
    format_value: Callable[[float], str] = _three_digits
    is_share: bool = False

    def display(self, value: float, *, with_unit: bool = True) -> str:
        """A value with its unit: "99.0 %", "812 ms"."""
        text = self.format_value(value)
        return f"{text} {self.suffix}" if with_unit and self.suffix else text

    def to_input(self, threshold: float) -> str:
        """A threshold as it is entered in a form: 0.995 as "99.5"."""
        return format_number(threshold * 100 if self.is_share else threshold).replace(",", "")

    def from_input(self, number: float) -> float:
        """The threshold that was entered: 99.5 as 0.995."""
        return round(number / 100, 12) if self.is_share else number


PERCENT = Unit("%", "%", _percent, is_share=True)
POINTS = Unit("points", "points", _points, is_share=True)
DOCUMENTS = Unit("documents", "")
MILLISECONDS = Unit("ms", "", _milliseconds)  # the suffix is ms or s
PER_SECOND = Unit("per second", "per second")
PER_REQUEST = Unit("each", "each")
GIGABYTES = Unit("GB", "GB")
