"""A date with two readings is decided by the schema or the document, never guessed."""

from datetime import date

import pytest

from slmstudio.contract.schema.compiled import Field, compile_schema
from slmstudio.contract.values import dates
from slmstudio.contract.values.kinds.values import ambiguity, date_readings, incomplete_date, parse_typed

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
