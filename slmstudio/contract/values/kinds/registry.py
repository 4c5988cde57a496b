"""Kinds of fields: how their values are compared, displayed and found in a document. All are in ``KINDS``."""

import unicodedata
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import regex

from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.values import dates, numbers
from slmstudio.contract.values.currencies import Money, currencies

if TYPE_CHECKING:
    from slmstudio.contract.schema.structure import Field

_PUNCTUATION = regex.compile(r"[\p{P}\p{S}]+")
_INVISIBLE = regex.compile(r"[\u200b-\u200f\u2060\ufeff\u00ad]")


def _unchanged(value: Decimal, field: "Field") -> Hashable:
    result: Hashable = identity(value)
    return result


def _plain(value: Decimal, field: "Field", locale: str) -> str:
    return format(value, "f")


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of a field are compared, read, shown and found; ``x-slm.kind`` names it.

    ``types``: the JSON types of fields that may have it. ``normalize``: a text of the field -> a hashable that is equal
    for equivalent texts. ``normalize_number`` and ``display_number`` do the same for numbers; ``display_text`` shows
    a text in a locale. ``is_near_miss``: whether a wrong output is gold except for a typical error of this kind, such
    as a moved decimal mark.

    ``by_meaning``: a text represents a date or an amount, and is found in a document by its meaning, not by its
    letters. ``choice``: one of a fixed set, so it has a confusion matrix and need not be in the document. ``scored``:
    its outputs are scored. ``prefixes``: a prefix of the value is a partial value. ``one_line``: it is typed into one
    line. ``keeps_lines``: line breaks in typed text are kept.
    """

    name: str
    types: frozenset[str]
    normalize: Callable[[str, "Field"], Hashable]
    normalize_number: Callable[[Any, "Field"], Hashable] = _unchanged
    display_text: Callable[[str, "Field", str], str] = lambda text, field, locale: text
    display_number: Callable[[Decimal, "Field", str], str] = _plain
    is_near_miss: Callable[[Any, Any, "Field"], bool] = lambda gold, output, field: False
    by_meaning: bool = False
    choice: bool = False
    scored: bool = True
    prefixes: bool = True
    one_line: bool = False
    keeps_lines: bool = False


def collapse(text: str) -> str:
    """Every run of white space as one blank, none at the ends, zero-width characters removed."""
    return " ".join((text if text.isascii() else _INVISIBLE.sub("", text)).split())


def compose(text: str, form: Any = "NFC") -> str:
    """The text in a Unicode normalization form."""
    return text if text.isascii() else unicodedata.normalize(form, text)


@lru_cache(maxsize=16384)
def fold_text(text: str, ignore: tuple[str, ...]) -> str:
    """A text without what ``ignore`` names (case, spacing, punctuation)."""
    text = compose(text)
    if "punctuation" in ignore:
        text = _PUNCTUATION.sub(" ", text)
    if "spacing" in ignore or "punctuation" in ignore:
        text = collapse(text)
    return text.casefold() if "case" in ignore else text


@lru_cache(maxsize=16384)
def fold_coarsely(text: str) -> str:
    """Letters and digits alone, case and compatibility forms folded: the coarsest comparison of two texts."""
    return "".join(letter for letter in compose(text, "NFKC").casefold() if letter.isalnum())


# -- texts, compared by their letters ---------------------------------------------------------------------------------

_STRING = frozenset({"string"})
_EVERYTHING = ("case", "spacing", "punctuation")
_DASHES = regex.compile(r"\p{Pd}|−")


def _identifier(text: str, field: "Field") -> Hashable:
    return "".join(_DASHES.sub("-", compose(text, "NFKC")).casefold().split())


def _exact(text: str, field: "Field") -> Hashable:
    return compose(text)


EXACT = Kind("exact", frozenset({"string", "number", "integer", "boolean", "object", "array", "any"}), _exact)
#: rows of a list, paired by similarity or by order
ARRAY = Kind("array", frozenset({"array"}), _exact)
TEXT = Kind("text", _STRING | {"any"}, lambda text, field: fold_text(text, field.ignore))
FREE = Kind("free", _STRING | {"any"}, lambda text, field: fold_text(text, _EVERYTHING), scored=False, keeps_lines=True)
ADDRESS = Kind("address", _STRING, lambda text, field: fold_text(compose(text, "NFKC"), _EVERYTHING))
IDENTIFIER = Kind("identifier", _STRING | {"integer"}, _identifier, one_line=True)
CLASS = Kind(
    "class",
    frozenset({"string", "number", "integer", "boolean"}),
    lambda text, field: compose(text).strip(),
    choice=True,
    prefixes=False,
)


# -- dates, in any format ----------------------------------------------------------------------------------------------


def _normalize_date(text: str, field: "Field") -> Hashable:
    return dates.parse(text, field.date_order, field.locale) or ("text", collapse(text))


def _display_date(text: str, field: "Field", locale: str) -> str:
    day = dates.parse(text, field.date_order, field.locale)
    if day is None:
        return text
    from babel.dates import format_date

    return str(format_date(day, "medium", locale))


def _swapped(gold: Any, output: Any, field: "Field") -> bool:
    """Whether day and month are swapped."""
    if not isinstance(gold, str) or not isinstance(output, str):
        return False
    day: Any = _normalize_date(gold, field)
    try:
        other = day.replace(month=day.day, day=day.month)
    except (AttributeError, TypeError, ValueError):
        other = None
    return bool(other == _normalize_date(output, field))


DATE = Kind(
    "date",
    frozenset({"string"}),
    _normalize_date,
    display_text=_display_date,
    is_near_miss=_swapped,
    by_meaning=True,
    prefixes=False,
)


# -- numbers and amounts of money --------------------------------------------------------------------------------------

_TYPES = frozenset({"string", "number", "integer"})


def _number(text: str, field: "Field") -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else value


def _money(text: str, field: "Field") -> Hashable:
    value = numbers.parse(text, field.locale)
    return ("text", collapse(text)) if value is None else _amount(value, currencies(text), field)


def _money_number(value: Any, field: "Field") -> Hashable:
    if field.currency:
        return _amount(Decimal(str(value)), frozenset(), field)
    result: Hashable = identity(value)
    return result


def _amount(value: Decimal, named: frozenset[str], field: "Field") -> Decimal:
    # An ambiguous sign means the declared currency if it can.
    declared = frozenset({field.currency}) if field.currency else named
    possible = declared if not named or declared <= named else named
    return Money(value, possible) if possible else value


def _display_number(value: Decimal, field: "Field", locale: str, *, decimals: int) -> str:
    from babel.numbers import format_decimal

    _, _, exponent = value.as_tuple()
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    pattern = "#,##0." + "0" * decimals + "#" * max(0, places - decimals)
    with localcontext() as context:
        context.prec = 200
        text = str(format_decimal(value, pattern, locale))
    return f"{field.currency} {text}" if field.currency else text


def _decimal_mark(gold: Any, output: Any, field: "Field") -> bool:
    """Whether the decimal mark was lost or moved."""
    left, right = fold_coarsely(str(gold)).strip("0"), fold_coarsely(str(output)).strip("0")
    return left == right and len(left) >= 3


MONEY = Kind(
    "money",
    _TYPES,
    _money,
    normalize_number=_money_number,
    display_number=partial(_display_number, decimals=2),
    is_near_miss=_decimal_mark,
    by_meaning=True,
    one_line=True,
)
NUMBER = Kind(
    "number",
    _TYPES,
    _number,
    display_number=partial(_display_number, decimals=0),
    is_near_miss=_decimal_mark,
    by_meaning=True,
    one_line=True,
)


#: by name, in the order in which messages list them
KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (EXACT, TEXT, DATE, MONEY, NUMBER, IDENTIFIER, CLASS, ADDRESS, ARRAY, FREE)
}


def kinds_for(type_: str) -> tuple[str, ...]:
    """Names of the kinds that a field of a JSON type may have."""
    return tuple(name for name, kind in KINDS.items() if type_ in kind.types)
