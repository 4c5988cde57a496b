"""Redaction by patterns."""

import pytest

from serving.review.redaction import KINDS, redact, redact_value


@pytest.mark.parametrize(("kind", "text", "redacted"), [
    ("email", "Write to ana.b@mail.example.org.", "Write to [email]."),
    ("iban", "IBAN DE89 3704 0044 0532 0130 00, thanks", "IBAN [iban], thanks"),
    ("iban", "AT611904300234573201", "[iban]"),
    ("iban", "DE89 3704 0044 0532 0130 01", "DE89 3704 0044 0532 0130 01"),
    ("card", "Card 4111 1111 1111 1111.", "Card [card]."),
    ("card", "Order 4111 1111 1111 1112.", "Order 4111 1111 1111 1112."),
    ("phone", "Call +49 (0)30 1234567 now", "Call [phone] now"),
    ("phone", "Tel. 030 1234567", "Tel. [phone]"),
    ("phone", "Total 12.50, date 2026-11-28, no 1234567", "Total 12.50, date 2026-11-28, no 1234567"),
    ("ip", "from 10.0.0.1 at", "from [ip] at"),
])  # fmt: skip
def test_each_kind(kind: str, text: str, redacted: str) -> None:
    assert redact(text, [kind]) == redacted
    assert redact(text, []) == text
    if redacted != text:
        assert redact(redacted, KINDS) == redacted


def test_texts_in_values_are_redacted_and_names_stay() -> None:
    value = {"a@b.example": "x@y.example", "rows": [{"mail": "Ana <x@y.example>", "n": 5}], "none": None}
    assert redact_value(value, ["email"]) == {
        "a@b.example": "[email]", "rows": [{"mail": "Ana <[email]>", "n": 5}], "none": None,
    }  # fmt: skip
    assert redact_value(value, []) is value
