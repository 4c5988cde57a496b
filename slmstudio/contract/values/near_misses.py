"""Near misses: a value that is one character off a value in the document.

A model that reads 1,248.50 as 1,248.60 misread it and did not hallucinate. One character is inserted, deleted,
replaced, or swapped with its neighbor, ignoring case, spacing and punctuation. Gold is compared from three characters
on; any other value of the document only from six (numbers: five digits), because short values are near to many others.
Dates are compared with gold alone: two dates in one document often differ in a single digit.
"""

from datetime import date
from decimal import Decimal
from typing import Any

from rapidfuzz.distance import OSA

from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values import evidence, numbers
from slmstudio.contract.values.kinds.registry import KINDS, fold_coarsely
from slmstudio.contract.values.kinds.values import normalize

_MIN_LENGTH = 3
_MIN_LENGTH_ELSEWHERE = 6
_MIN_DIGITS_ELSEWHERE = 5
#: longer values are compared as a whole, and not searched
_MAX_LENGTH = 200


def near_miss(value: Any, gold: Any, field: Field, text: str) -> bool:
    """Whether ``value``, which is not in the document, is one character off gold if the document has gold, or off
    another value of the same kind in the document (dates: gold alone)."""
    if field.enum or field.evidence == "none" or isinstance(value, bool | dict | list):
        return False
    meaning = _meaning(value, field)
    if meaning is None:
        return False
    if gold is not None and evidence.is_present(gold, field, text) and _one_off(meaning, _meaning(gold, field)):
        return True
    if isinstance(meaning, date):
        return False
    if isinstance(meaning, Decimal):
        return _digits(meaning) >= _MIN_DIGITS_ELSEWHERE and any(
            _one_off(meaning, number)
            for _, _, values in numbers.scan(text, field.locale, accounting=field.accounting)
            for number in values
        )
    letters = fold_coarsely(meaning)
    return _MIN_LENGTH_ELSEWHERE <= len(letters) <= _MAX_LENGTH and any(
        _edited_once(letters, other) for other in evidence.near_matches(letters, text)
    )


def _meaning(value: Any, field: Field) -> date | Decimal | str | None:
    """A date, an amount or a text, by the kind of the field."""
    if is_number(value):
        return Decimal(str(value))
    if not isinstance(value, str):
        return None
    if KINDS[field.kind].by_meaning:
        meaning = normalize(value, field)
        if isinstance(meaning, date | Decimal):
            return meaning
    return value


def _one_off(one: Any, other: Any) -> bool:
    """Whether two values of one kind are one character apart, and long enough to tell."""
    if isinstance(one, date) and isinstance(other, date):
        return _edited_once(one.isoformat(), other.isoformat())
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return _digit_off(one, other)
    if isinstance(one, str) and isinstance(other, str):
        left, right = fold_coarsely(one), fold_coarsely(other)
        return min(len(left), len(right)) >= _MIN_LENGTH and _edited_once(left, right)
    return False


def _digit_off(one: Decimal, other: Decimal) -> bool:
    """Whether one digit differs, both written with the same number of decimals."""
    places = max(_places(one), _places(other))
    left, right = (f"{abs(Decimal(number)):.{places}f}" for number in (one, other))
    if min(len(left), len(right)) < _MIN_LENGTH:
        return False
    return _edited_once(left, right) and left.replace(".", "") != right.replace(".", "")


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _digits(number: Decimal) -> int:
    return len(number.as_tuple().digits)


def _edited_once(one: str, other: str) -> bool:
    return abs(len(one) - len(other)) <= 1 and OSA.distance(one, other, score_cutoff=1) == 1
