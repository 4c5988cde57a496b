"""Numbers, times and amounts have one format on pages, in messages and in commands."""

from datetime import UTC, date, datetime

import pytest
from django.template import engines

from slmstudio.text import formatting


@pytest.mark.parametrize(
    ("share", "digits", "words"),
    [(0.983, 1, "98.3%"), (0.9996, 1, "100.0%"), (1, 1, "100%"), (0, 2, "0%"), (0.5, 0, "50%"), (None, 1, "–")],
)
def test_percent(share: float | None, digits: int, words: str) -> None:
    assert formatting.percent(share, digits) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.95, "95%"), (0.975, "97.5%"), (0.9984375, "99.84375%"), (0.00002, "0.002%"), (12, "1,200%")]
)
def test_exact_percent(share: float, words: str) -> None:
    assert formatting.exact_percent(share) == words


@pytest.mark.parametrize(("difference", "words"), [(0.012, "+1.2"), (-0.005, "−0.5"), (-0.0001, "0.0"), (0, "0.0")])
def test_points(difference: float, words: str) -> None:
    assert formatting.points(difference) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (0.85, "850 ms"), (20, "20 s"), (59.7, "1 min"), (65, "1 min 5 s"), (3_600, "1 h"),
        (7_800, "2 h 10 min"), (259_200, "3 d"), (None, "–"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, words: str) -> None:
    assert formatting.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.42, "0.42 ms"), (812, "812 ms"), (1_250, "1.25 s"), (20_000, "20 s"), (65_000, "1 min 5 s")]
)
def test_milliseconds(value: float, words: str) -> None:
    assert formatting.milliseconds(value) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"), (900, "900 bytes"), (3 * 2**20, "3 MB"), (960_000_000, "1.0 GB"), (1_710_000_000, "1.7 GB"),
        (9_970_000_000, "10 GB"), (16e9, "16 GB"),
    ],
)  # fmt: skip
def test_bytes_are_in_thousands_and_short(size: float, words: str) -> None:
    assert formatting.format_bytes(size) == words


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [
        (0.002, "", "$0.002"), (0.00001, "USD", "$0.00001"), (-3.1, "USD", "−$3.10"), (1_240, "EUR", "€1,240"),
        (12, "CHF", "CHF 12.00"), (0, "", "$0"), (None, "USD", "–"),
    ],
)  # fmt: skip
def test_money(amount: float | None, currency: str, words: str) -> None:
    assert formatting.format_money(amount, currency) == words


def test_dates() -> None:
    moment = datetime(2026, 2, 3, 14, 5, 9, tzinfo=UTC)
    assert formatting.format_date(date(2026, 2, 3)) == "February 3, 2026"
    assert formatting.format_short_date(moment) == "Feb 3, 2026"
    assert formatting.format_clock(moment.replace(hour=0)) == "12:05 AM"
    assert formatting.format_date_time(moment) == "Feb 3, 2026, 2:05 PM UTC"
    assert formatting.format_exact_time(moment) == "Feb 3, 2026, 2:05:09 PM UTC"


def test_short_date_has_exact_time_on_hover() -> None:
    drawn = engines["django"].from_string("{{ moment|short_date }}")
    shown = drawn.render({"moment": datetime(2026, 2, 3, 14, 5, 9, tzinfo=UTC)})
    assert 'title="Feb 3, 2026, 2:05:09 PM UTC"' in shown
    assert ">Feb 3, 2026<" in shown


@pytest.mark.parametrize("context", [{"value": None}, {}], ids=["none", "no such name"])
def test_filters_show_a_dash_without_a_value(context: dict[str, None]) -> None:
    names = (
        "number short_number percent exact_percent points duration milliseconds throughput format_bytes money "
        "relative_time full_date short_date date_time clock"
    )
    for name in names.split():
        assert engines["django"].from_string(f"{{{{ value|{name} }}}}").render(context) == "–"
