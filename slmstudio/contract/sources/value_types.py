"""What the texts and numbers of examples are: formats, dates, choices, amounts of money, identifiers."""

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from slmstudio.contract.schema.dialect import has_format
from slmstudio.contract.values import dates, numbers

#: formats that values are tested for, the most specific first
_FORMATS = ("date", "date-time", "time", "duration", "uuid", "email", "ipv4", "ipv6", "uri")
_FORMAT_NAMES = {"date": "a date", "date-time": "a date with a time", "email": "an email address", "uri": "a URI"}
#: a choice has at most so many values, each in so many examples on average, in at least so many examples
MAX_CHOICES, MIN_REPEATS, MIN_EXAMPLES = 12, 3, 10
_MAX_CHOICE_LENGTH = 40
_MONEY = re.compile(
    r"(?:^|_)(?:amounts?|total|subtotal|price|cost|fee|tax|vat|net|gross|balance|discount|salary|sum|paid|due)(?:$|_)"
)
_IDENTIFIER = re.compile(r"(?:^|_)(?:id|no|nr|number|num|code|ref|reference|iban|sku)$")
_LISTED = 6


def words_of(name: str) -> str:
    """A name in snake case, for rules by name: ``unitPrice`` is ``unit_price``."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())


def of_texts(name: str, texts: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The schema of texts, and its reason ("" if there is none to give)."""
    for format_ in _FORMATS:
        if all(has_format(format_, text) for text in texts):
            what = _FORMAT_NAMES.get(format_, f"a string with the format {format_}")
            return {"type": "string", "format": format_}, f"{_each(texts)} {what}."
    counts = Counter(texts)
    if _is_choice(counts, len(texts)):
        shown = ", ".join(f"{text} ({count})" for text, count in counts.most_common(_LISTED))
        more = "" if len(counts) <= _LISTED else ", …"
        reason = f"A choice: {len(counts)} different values in {len(texts)} examples: {shown}{more}."
        return {"type": "string", "enum": sorted(counts)}, reason
    if all(dates.readings(text) for text in texts) and not all(text.isdigit() for text in texts):
        reason = "a date, not written as YYYY-MM-DD: the field stays a string, compared as date."
        return {"type": "string", "x-slm": {"kind": "date"}}, f"{_each(texts)} {reason}"
    if all(numbers.parse(text) is not None for text in texts) and _MONEY.search(words_of(name)):
        reason = "an amount in a string: the field stays a string, compared as money."
        return {"type": "string", "x-slm": {"kind": "money"}}, f"{_each(texts)} {reason}"
    if _IDENTIFIER.search(words_of(name)) and all(map(_is_identifier, texts)):
        return {
            "type": "string",
            "x-slm": {"kind": "identifier"},
        }, "An identifier, inferred from its name and from values without spaces."
    return {"type": "string"}, ""


def _each(texts: Sequence[str]) -> str:
    return "The only value is" if len(texts) == 1 else f"Each of {len(texts)} values is"


def _is_choice(counts: Counter[str], total: int) -> bool:
    return (
        total >= MIN_EXAMPLES
        and 2 <= len(counts) <= MAX_CHOICES
        and total >= MIN_REPEATS * len(counts)
        and all(0 < len(text) <= _MAX_CHOICE_LENGTH and "\n" not in text for text in counts)
    )


def _is_identifier(text: str) -> bool:
    return 0 < len(text) <= 40 and not any(letter.isspace() for letter in text) and any(map(str.isdigit, text))


def of_numbers(name: str, values: Sequence[int | Decimal]) -> tuple[dict[str, Any], str]:
    """The schema of numbers, and its reason."""
    places = max(_places(value) for value in values)
    if places == 0 and all(isinstance(value, int) for value in values):
        if _MONEY.search(words_of(name)):
            return _money(), "Money, inferred from its name; cents are allowed."
        return {"type": "integer"}, "Whole numbers only."
    if places <= 2 and _MONEY.search(words_of(name)):
        return _money(), "Money, inferred from its name and from values with at most two decimal places."
    return {"type": "number"}, f"Numbers with at most {places} decimal places." if places else "Numbers."


def _money() -> dict[str, Any]:
    return {"type": "number", "multipleOf": Decimal("0.01"), "x-slm": {"kind": "money"}}


def _places(value: int | Decimal) -> int:
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0
