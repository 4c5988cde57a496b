"""Dates are read in common formats and never invented."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.values import dates

JANUARY_14 = date(2026, 1, 14)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-14",
        "2026/1/14",
        "14/01/2026",
        "14.01.26",
        "14 - 01 - 2026",
        "01/14/2026",
        "Jan 14, 2026",
        "JAN 14 2026",
        "January 14th, 2026",
        "14 January 2026",
        "14-Jan-26",
        "14JAN2026",
        "14th of January, 2026",
        "2026 Jan 14",
        "20260114",
        "14012026",
        "2026年1月14日",
        "(14/01/2026)",
        "Wed, 14 Jan 2026",
        "14/01/2026 8:01:11 PM",
        "2026-01-14T08:00:00Z",
    ],
)
def test_one_day_in_many_formats(text: str) -> None:
    assert dates.parse(text) == JANUARY_14


@pytest.mark.parametrize(
    ("text", "order", "locale", "expected"),
    [
        ("09/01/2019", "", "", date(2019, 1, 9)),
        ("09/01/2019", "MDY", "", date(2019, 9, 1)),
        ("09/01/2019", "", "en_US", date(2019, 9, 1)),
        ("09/01/2019", "DMY", "en_US", date(2019, 1, 9)),
        ("18/04/02", "YMD", "", date(2018, 4, 2)),
        ("14/01/2026", "MDY", "", JANUARY_14),
        ("1/2/69", "", "", date(1969, 2, 1)),
        ("1/2/68", "", "", date(2068, 2, 1)),
        ("14. Januar 2026", "", "de_DE", JANUARY_14),
        ("14 janvier 2026", "", "fr_FR", JANUARY_14),
        ("14 de enero de 2026", "", "es_ES", JANUARY_14),
        ("14. Januar 2026", "", "", JANUARY_14),
        ("14 janvier 2026", "", "", JANUARY_14),
        ("14 de enero de 2026", "", "", JANUARY_14),
        ("14 gennaio 2026", "", "", JANUARY_14),
        ("14 de janeiro de 2026", "", "", JANUARY_14),
        ("3 août 2026", "", "", date(2026, 8, 3)),
        ("3 aout 2026", "", "", date(2026, 8, 3)),
        ("3. Marz 2026", "", "", date(2026, 3, 3)),
    ],
)
def test_order_and_locale_decide(text: str, order: str, locale: str, expected: date | None) -> None:
    assert dates.parse(text, order, locale) == expected


@pytest.mark.parametrize(
    "text",
    ["", "Jan 14", "32/01/2020", "2018-13-01", "2026-02-30", "12 34 56", "1.2.3.4", "99/99/9999", "May", "x" * 100],
)
def test_non_dates(text: str) -> None:
    assert dates.parse(text) is None


def test_scan_returns_dates_with_spans() -> None:
    text = "Issued 2 APR 2018 18:31, due 2018-05-02; ref 12/2018/77 and IP 10.0.0.1 and 03/04/2018."
    hits = [(text[start:end], readings) for start, end, readings in dates.scan(text)]
    assert hits == [
        ("2 APR 2018", (date(2018, 4, 2),)),
        ("2018-05-02", (date(2018, 5, 2),)),
        ("03/04/2018", (date(2018, 4, 3), date(2018, 3, 4))),
    ]
    assert dates.scan(text, "MDY")[-1][2] == (date(2018, 3, 4),)


@given(st.dates(date(1970, 1, 1), date(2068, 12, 31)))
def test_every_date_round_trips(day: date) -> None:
    assert dates.parse(day.isoformat()) == day
    for form in ("%d/%m/%Y", "%d.%m.%y", "%d %B %Y", "%b %d, %Y", "%Y%m%d"):
        assert dates.parse(day.strftime(form), "DMY") == day
    assert dates.parse(day.strftime("%m/%d/%Y"), "MDY") == day


@given(st.text("0123456789/-. JanuaryMDAPR,:()th年", max_size=80))
def test_any_text_gets_an_answer(text: str) -> None:
    dates.parse(text)
    for start, end, readings in dates.scan(text):
        assert readings
        assert dates.readings(text[start:end])
