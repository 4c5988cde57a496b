"""Dates are read in common formats and never invented."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import Field, compile_schema
from slmstudio.contract.values import dates
from slmstudio.contract.values.kinds.values import ambiguity, date_readings, incomplete_date, parse_typed

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


# -- a date with two readings is decided by the schema or the document, never guessed --


APRIL, MARCH = date(2026, 4, 3), date(2026, 3, 4)


def day(**options: str) -> Field:
    schema = {"type": "object", "properties": {"day": {"type": "string", "format": "date", "x-slm": options}}}
    return compile_schema(schema).by_pattern["day"]


@pytest.mark.parametrize(
    ("options", "document", "expected"),
    [
        ({}, "", (APRIL, MARCH)),
        ({"date_order": "DMY"}, "12/27/2025", (APRIL,)),
        ({"date_order": "MDY"}, "27/12/2025", (MARCH,)),
        ({"locale": "en_US"}, "27/12/2025", (MARCH,)),
        ({"locale": "de_DE"}, "", (APRIL,)),
        ({}, "Issued 03/04/2026, due 27/04/2026", (APRIL,)),
        ({}, "Issued 03/04/2026, due 04/27/2026", (MARCH,)),
        ({}, "Issued 03/04/2026, due 05/06/2026, paid 2026-04-27 or Apr 28, 2026", (APRIL, MARCH)),
        ({}, "from 27/04/2026 to 04/28/2026", (APRIL, MARCH)),
        ({}, "27.4.26 could be a year, month and day", (APRIL, MARCH)),
        ({}, "due 27.4.99", (APRIL,)),
    ],
)
def test_ambiguous_date_resolution(options: dict[str, str], document: str, expected: tuple[date, ...]) -> None:
    field = day(**options)
    assert date_readings("03/04/2026", field, document) == expected
    single = expected[0].isoformat() if len(expected) == 1 else None
    assert parse_typed("03/04/2026", field, document) == single
    assert parse_typed("dated 03/04/2026", field, document) == single
    assert bool(ambiguity("03/04/2026", field, document)) is (single is None)


@pytest.mark.parametrize(
    ("text", "options", "document", "expected"),
    [
        ("03.04.2026", {}, "", APRIL),
        ("3. 4. 26", {}, "", APRIL),
        ("dated 03.04.2026", {}, "", APRIL),
        ("04.27.2026", {}, "", date(2026, 4, 27)),
        ("03.04.2026", {"date_order": "MDY"}, "", MARCH),
        ("03.04.2026", {}, "04.27.2026", MARCH),
    ],
)
def test_with_dots_the_day_is_first(text: str, options: dict[str, str], document: str, expected: date) -> None:
    assert date_readings(text, day(**options), document) == (expected,)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("14 Jan", ("year",)),
        ("January 14th", ("year",)),
        ("03.02.", ("year",)),
        ("14", ("month", "year")),
        ("Jan 2026", ("day",)),
        ("01/2026", ("day",)),
        ("2026", ("day", "month")),
        ("jan", ("day", "year")),
        ("Jan 14, 2026", ()),
        ("14/01/2026", ()),
        ("soon", ()),
        ("40 boxes", ()),
        ("", ()),
    ],
)
def test_what_an_incomplete_date_lacks(text: str, missing: tuple[str, ...]) -> None:
    assert dates.missing_parts(text) == missing
    sentence = incomplete_date(text, day())
    assert bool(sentence) is bool(missing)
    assert all(part in sentence for part in missing)


def test_unambiguous_dates() -> None:
    for text in ("14/01/2026", "01/14/2026", "2026-01-14", "Jan 14, 2026", "05/05/2026", "soon", ""):
        assert len(dates.unambiguous_readings(text)) == (0 if text in ("soon", "") else 1)
        assert ambiguity(text, day()) == ""
    assert parse_typed("03/14/2026", day(), "27/03/2026") == "2026-03-14", "other dates of the document do not matter"


def test_the_question_names_the_readings() -> None:
    assert ambiguity("03/04/2026", day()) == "03/04/2026 is ambiguous: April 3, 2026 or March 4, 2026?"
    text = compile_schema({"type": "object", "properties": {"note": {"type": "string"}}}).by_pattern["note"]
    assert ambiguity("03/04/2026", text) == ""
