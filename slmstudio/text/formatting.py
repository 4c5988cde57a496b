"""How numbers, times and amounts are written: the one place for pages, messages, commands and files.

Pure. Templates use the filters of ``slmstudio.templatetags.studio``; ``static/js/site/format.js`` mirrors it for
scripts. Dates are written in the zone that they have: the caller converts to the viewer's.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

#: for a value that is not known
NONE = "–"
DEFAULT_CURRENCY = "USD"
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "CAD": "CA$", "AUD": "A$"}


def number(value: float | None, digits: int = 0) -> str:
    """1234.5 as "1,234"; with ``digits`` after the point."""
    if value is None:
        return NONE
    text = f"{float(value):,.{digits}f}"
    return _with_minus(text)


def first_names(names: Sequence[str], limit: int = 5) -> str:
    """A list of names, short: "a, b and 7 more"."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def short_number(value: float) -> str:
    """A number without trailing zeros: 99, 0.5, 2,000, 0.00021."""
    if 0 < abs(value) < 0.001:
        return _with_minus(f"{Decimal(f'{value:.3g}'):f}")
    text = f"{value + 0.0:,.6f}"
    return _with_minus(text.rstrip("0").rstrip("."))


def percent(share: float | None, digits: int = 1) -> str:
    """0.983 as "98.3%"; nothing and everything as "0%" and "100%"."""
    if share is None:
        return NONE
    share = float(share)
    return f"{100 * share:.{0 if share in (0, 1) else digits}f}%"


def exact_percent(share: float | None) -> str:
    """A chosen share with the digits that it has: 0.95 as "95%", 0.975 as "97.5%"."""
    return NONE if share is None else f"{short_number(round(100 * float(share), 6))}%"


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points with its sign: 0.012 as "+1.2"."""
    if difference is None:
        return NONE
    text = f"{100 * float(difference):+.{digits}f}"
    return _with_minus(text) if float(text) else text[1:]


def e_value(log_e: float) -> str:
    """Evidence by its natural logarithm: 3.2, 1,240 or 10^12."""
    if log_e > math.log(1e6):
        return f"10^{log_e / math.log(10):.0f}"
    value = math.exp(log_e)
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as "850 ms", "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    if seconds is None:
        return NONE
    seconds = float(seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3_600:
        return _two_units(total, (60, "min"), (1, "s"))
    if total < 172_800:
        return _two_units(total, (3_600, "h"), (60, "min"))
    return _two_units(total, (86_400, "d"), (3_600, "h"))


def milliseconds(value: float | None) -> str:
    """A measured latency with three digits: "0.42 ms", "850 ms", "1.25 s", "20 s"; minutes as ``duration``."""
    if value is None:
        return NONE
    value = float(value)
    if value >= 60_000:
        return duration(value / 1000)
    if value >= 999.5:
        return f"{short_number(float(f'{value / 1000:.3g}'))} s"
    return f"{short_number(float(f'{value:.3g}')) if value < 10 else f'{value:.0f}'} ms"


def throughput(per_second: float | None) -> str:
    """A rate as "2,139/s", "12.3/s", "4.2/min" or "1.5/h", in the largest unit with a value of at least 1."""
    if per_second is None:
        return NONE
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    for seconds, unit in ((1, "s"), (60, "min")):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.1f}/{unit}"
    return f"{per_second * 3600:.1f}/h"


def format_bytes(size: float) -> str:
    """Bytes in thousands and not in 1024s: "704 KB", "24 MB", "8.4 GB", "14 GB"."""
    for unit_size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= 0.95 * unit_size:
            digits = 1 if unit == "GB" and size < 9.95e9 else 0
            return f"{size / unit_size:,.{digits}f} {unit}"
    return f"{size:.0f} bytes"


def format_money(amount: float | None, currency: str = "") -> str:
    """An amount with as many digits as mean something: "$1,240", "−$3.10", "$0.0042", "CHF 12.00"."""
    if amount is None:
        return NONE
    size = abs(float(amount))
    if size >= 100:
        text = f"{size:,.0f}"
    elif size >= 0.1:
        text = f"{size:.2f}"
    else:
        text = f"{Decimal(f'{size:.3g}'):f}" if size >= 1e-9 else "0"
    currency = currency or DEFAULT_CURRENCY
    sign = "\N{MINUS SIGN}" if amount < 0 and text != "0" else ""
    return f"{sign}{_SYMBOLS.get(currency, f'{currency} ')}{text}"


def format_date(day: date) -> str:
    """In a sentence: "February 3, 2026"."""
    return f"{day:%B} {day.day}, {day.year}"


def format_short_date(day: date) -> str:
    """In a table: "Feb 3, 2026"."""
    return f"{day:%b} {day.day}, {day.year}"


def format_clock(moment: datetime) -> str:
    """The time of day: "2:05 PM"."""
    return f"{moment.hour % 12 or 12}:{moment:%M} {moment:%p}"


def format_date_time(moment: datetime) -> str:
    """The time with its zone: "Feb 3, 2026, 2:05 PM UTC"."""
    return f"{format_short_date(moment)}, {format_clock(moment)} {moment:%Z}".rstrip()


def format_exact_time(moment: datetime) -> str:
    """What a short form shows on hover, to the second: "Feb 3, 2026, 2:05:09 PM UTC"."""
    clock = f"{moment.hour % 12 or 12}:{moment:%M:%S} {moment:%p} {moment:%Z}"
    return f"{format_short_date(moment)}, {clock}".rstrip()


def _two_units(total: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    whole, rest = divmod(total, large[0])
    rest //= small[0]
    text = f"{whole:,} {large[1]}"
    return f"{text} {rest} {small[1]}" if rest else text


def _with_minus(text: str) -> str:
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")
