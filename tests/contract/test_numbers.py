"""Numbers and money are parsed exactly, in any locale."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.values import numbers


def test_columns_a_space_apart_are_separate_numbers() -> None:
    text = "Widget 2 10.00 20.00, paid 1 248.50"
    assert [text[start:end] for start, end, _ in numbers.scan(text)] == ["2", "10.00", "20.00", "1 248.50"]


@pytest.mark.parametrize(
    ("text", "locale", "expected"),
    [
        ("1,248.50", "", "1248.50"),
        ("1,248.50", "en_US", "1248.50"),
        ("1.248,50", "de_DE", "1248.50"),
        ("1.248,50", "", "1248.50"),
        ("1.248", "", "1.248"),
        ("1.248", "de_DE", "1248"),
        ("1,248", "", "1248"),
        ("1,248", "de_DE", "1.248"),
        ("12,50", "en_US", "12.50"),
        ("1 248,50", "fr_FR", "1248.50"),
        ("1\u202f248,50 €", "fr_FR", "1248.50"),
        ("CHF 1’248.50", "de_CH", "1248.50"),
        ("1,24,850.00", "en_IN", "124850.00"),
        ("USD 1,248.50", "en_US", "1248.50"),
        ("RM9.90", "", "9.90"),
        ("$ 9.90", "", "9.90"),
        ("9.90 EUR", "", "9.90"),
        ("Rs. 100", "", "100"),
        (".50", "", "0.50"),
        ("6%", "", "6"),
        ("-$9.90", "", "-9.90"),
        ("$-9.90", "", "-9.90"),
        ("(12.50)", "", "-12.50"),
        ("12.50-", "", "-12.50"),
        ("−3", "", "-3"),
        ("+3", "", "3"),
        ("€ 5,-", "de_DE", "5"),
    ],
)
def test_read(text: str, locale: str, expected: str) -> None:
    assert str(numbers.parse(text, locale)) == expected


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1,2,3", "12 Apr", "A-1029", "(5", "5)", "1-2", "--", "1" * 300])
def test_non_numbers(text: str) -> None:
    assert numbers.parse(text) is None


def test_scan_returns_span_currency_and_sign() -> None:
    text = "A-1029 RM9.90 1.248,50 (12.50) x 7.50- 5-6 USD 1,248.50. A1029 total:-7.00 3pcs 10%"
    hits = [(text[start:end], str(readings[0])) for start, end, readings in numbers.scan(text)]
    assert hits == [
        ("1029", "1029"),
        ("RM9.90", "9.90"),
        ("1.248,50", "1248.50"),
        ("(12.50)", "-12.50"),
        ("7.50-", "-7.50"),
        ("5", "5"),
        ("6", "6"),
        ("USD 1,248.50", "1248.50"),
        ("-7.00", "-7.00"),
        ("10", "10"),
    ]


def test_a_number_of_pieces_with_a_times_sign() -> None:
    text = "1x brake disc, 2 x pad, 3X bolt, 4× nut, belt x5, 6x9 mm, 0x1F, 4x4"
    assert [text[start:end] for start, end, _ in numbers.scan(text)] == ["1", "2", "3", "4", "5"]


def test_without_a_locale_both_readings_are_given() -> None:
    assert [readings for _, _, readings in numbers.scan("1.248")] == [(Decimal("1.248"), Decimal("1248"))]
    assert [readings for _, _, readings in numbers.scan("1.248", "de_DE")] == [(Decimal("1248"),)]


@given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from(["en_US", "de_DE", "fr_FR", "de_CH", "en_IN", "pl_PL"]))
def test_babel_formats_round_trip(amount: Decimal, locale: str) -> None:
    from babel.numbers import format_decimal

    written = format_decimal(amount, "#,##0.00", locale=locale)
    assert numbers.parse(written, locale) == amount
    assert amount in [readings[0] for _, _, readings in numbers.scan(f"Total: {written} due", locale)]


@given(st.text("0123456789.,'-−() $€RMUSD\u202f\n%", max_size=60))
def test_any_text_gets_an_answer(text: str) -> None:
    numbers.parse(text)
    for start, end, readings in numbers.scan(text):
        assert readings
        assert any(letter.isdigit() for letter in text[start:end])


def test_sixty_digits_keep_every_digit() -> None:
    digits = "9" * 57 + ".25"
    assert str(numbers.parse(f"({digits})")) == f"-{digits}"
