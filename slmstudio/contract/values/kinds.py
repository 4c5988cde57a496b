"""What a value means, by the kind of its field: comparing, reading what a person typed, showing.

kind        equal after
exact       Unicode composition (NFC); numbers by value, true is not 1
class       the same, blanks around it dropped
text        NFC; ``ignore`` says what else does not count (default: spacing)
free        case, spacing and punctuation do not count (between people; outputs are not scored by it)
address     case, spacing and punctuation do not count, compatibility forms (NFKC) are folded
identifier  case and spacing do not count, every dash is one dash
date        the day, in whatever format it is written (``date_order``, ``locale``)
money       the amount as Decimal, in its currency: that of the value, else of the field, which also decides between
            those that a sign can be ($); one that neither names is no difference
number      the number as Decimal
"""

import unicodedata
from collections.abc import Callable, Hashable
from datetime import date
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any

import regex

from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.dialect import identity, is_number
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values import dates, numbers
from slmstudio.contract.values.currencies import Money, currencies

_PUNCTUATION = regex.compile(r"[\p{P}\p{S}]+")
_DASHES = regex.compile(r"\p{Pd}|−")
_INVISIBLE = regex.compile(r"[\u200b-\u200f\u2060\ufeff\u00ad]")
_NULL_WORDS = frozenset({"", "null", "none", "n/a", "-", "–"})
_TRUE = frozenset({"true", "yes", "y", "1", "on", "x", "✓"})
_FALSE = frozenset({"false", "no", "n", "0", "off"})


def collapse(text: str) -> str:
    """Every run of white space as one blank, none at the ends, zero-width characters dropped."""
    return " ".join((text if text.isascii() else _INVISIBLE.sub("", text)).split())


def _compose(text: str, form: Any = "NFC") -> str:
    return text if text.isascii() else unicodedata.normalize(form, text)


@lru_cache(maxsize=16384)
def fold_text(text: str, ignore: tuple[str, ...]) -> str:
    """A text with what ``ignore`` names (case, spacing, punctuation) taken out of the comparison."""
    text = _compose(text)
    if "punctuation" in ignore:
        text = _PUNCTUATION.sub(" ", text)
    if "spacing" in ignore or "punctuation" in ignore:
        text = collapse(text)
    return text.casefold() if "case" in ignore else text


@lru_cache(maxsize=16384)
def loose(text: str) -> str:
    """Letters and digits alone, case and compatibility forms folded: the coarsest comparison of two texts."""
    return "".join(letter for letter in _compose(text, "NFKC").casefold() if letter.isalnum())


def _identifier(text: str, field: Field) -> Hashable:
    return "".join(_DASHES.sub("-", _compose(text, "NFKC")).casefold().split())


def _date(text: str, field: Field) -> Hashable:
    return dates.parse(text, field.date_order, field.locale) or ("text", collapse(text))


def _number(text: str, field: Field) -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else value


def _money(text: str, field: Field) -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else _amount(value, currencies(text), field)


def _amount(value: Decimal, named: frozenset[str], field: Field) -> Decimal:
    # A sign that several currencies share means the declared one where it can.
    declared = frozenset({field.currency}) if field.currency else named
    found = declared if not named or declared <= named else named
    return Money(value, found) if found else value


_EVERYTHING = ("case", "spacing", "punctuation")
_TEXTS: dict[str, Callable[[str, Field], Hashable]] = {
    "exact": lambda text, field: _compose(text),
    "class": lambda text, field: _compose(text).strip(),
    "text": lambda text, field: fold_text(text, field.ignore),
    "free": lambda text, field: fold_text(text, _EVERYTHING),
    "address": lambda text, field: fold_text(_compose(text, "NFKC"), _EVERYTHING),
    "identifier": _identifier,
    "date": _date,
    "money": _money,
    "number": _number,
}


def normalise(value: Any, field: Field) -> Hashable:
    """A hashable that is equal for two values of this field exactly where they mean the same; None stays None.

    A value of another type than the field's is never equal to one of its type, except that kinds date, money and
    number read texts.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _TEXTS.get(field.kind, _TEXTS["exact"])(value, field)
    if is_number(value) and field.type == "string":
        return ("number", value)
    if is_number(value) and field.kind == "money" and field.currency:
        return _amount(Decimal(str(value)), frozenset(), field)
    result: Hashable = identity(value)
    return result


def parse_typed(text: str, field: Field, document: str = "") -> Any:
    """What a person typed or selected in a document, as the JSON value of the field; None where it has no reading, or
    more than one.

    ``Jan 14, 2026`` becomes ``2026-01-14`` in a field of format date, ``USD 1,248.50`` becomes Decimal("1248.50") in a
    number field, ``acme`` the choice ``Acme``. A text that holds one number or date among other words
    gives that one. ``document`` is the text that it comes from: its other dates decide how 03/04/2026 is read.
    """
    plain = collapse(text)
    if field.nullable and plain.casefold() in _NULL_WORDS and plain not in field.enum:
        return None
    if field.enum:
        return _choice(plain, field)
    match field.type:
        case "number" | "integer":
            return _typed_number(plain, field)
        case "boolean":
            word = plain.casefold()
            return True if word in _TRUE else False if word in _FALSE else None
        case "object" | "array":
            return _json(text)
        case "any":
            value = _json(text)
            return plain or None if value is None else value
    if field.format == "date":
        days = date_readings(plain, field, document)
        return days[0].isoformat() if len(days) == 1 else None
    kept = text.replace("\r\n", "\n").strip() if field.kind == "free" else plain
    return kept or None


def _json(text: str) -> Any:
    try:
        return loads(text)
    except JsonError:
        return None


def _choice(plain: str, field: Field) -> Any:
    for fold in (str, str.casefold, loose):
        matches = [value for value in field.enum if fold(_word(value)) == fold(plain)]
        if len(matches) == 1 and fold(plain):
            return matches[0]
    return None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _typed_number(plain: str, field: Field) -> Any:
    value = numbers.parse(plain, field.locale)
    if value is None and len(plain) <= 200:
        hits = {found[0] for _, _, found in numbers.scan(plain, field.locale)}
        value = hits.pop() if len(hits) == 1 else None
    if value is None or field.type == "number":
        return value
    return int(value) if value == value.to_integral_value() else None


def date_readings(text: str, field: Field, document: str = "") -> tuple[date, ...]:
    """The dates that a text can mean in a date field, the likeliest first: none, one, or several where neither the
    field's order and locale nor the other dates of ``document`` decide.
    """
    plain = collapse(text)
    known = (field.date_order, field.locale, document)
    found = dates.decided(plain, *known)
    if not found and len(plain) <= 200:
        scanned = dates.scan(plain, field.date_order, field.locale)
        hits = {dates.decided(plain[start:end], *known) for start, end, _ in scanned}
        found = hits.pop() if len(hits) == 1 else ()
    return found


def ambiguity(text: str, field: Field, document: str = "") -> str:
    """Why a text cannot be taken as a date, as a sentence; "" where it is not ambiguous or the field is no date."""
    days = date_readings(text, field, document) if field.format == "date" and not field.enum else ()
    if len(days) < 2:
        return ""
    return f"{collapse(text)[:60]} is ambiguous: {' or '.join(f'{day.day} {day:%B %Y}' for day in days)}?"


def display(value: Any, field: Field) -> str:
    """A value for a person: dates and numbers in the field's locale, money with its currency, null as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    locale = field.locale.replace("-", "_") or "en_US"
    if is_number(value):
        return _show_number(Decimal(str(value)), field, locale)
    if isinstance(value, str):
        day = dates.parse(value, field.date_order, field.locale) if field.kind == "date" else None
        if day is None:
            return value
        from babel.dates import format_date

        return str(format_date(day, "medium", locale))
    return dumps(value)


def _show_number(value: Decimal, field: Field, locale: str) -> str:
    if field.kind not in ("money", "number"):
        return format(value, "f")
    from babel.numbers import format_decimal

    _, _, exponent = value.as_tuple()
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    fewest = 2 if field.kind == "money" else 0
    pattern = "#,##0." + "0" * fewest + "#" * max(0, places - fewest)
    with localcontext() as context:
        context.prec = 200
        text = str(format_decimal(value, pattern, locale))
    return f"{field.currency} {text}" if field.currency else text
