"""The value of a field: normalized, parsed from typed text, displayed; by the kind of the field.

kind        equal after
exact       Unicode composition (NFC); numbers by value, true is not 1
class       the same, blanks around it dropped
text        NFC; ``ignore`` says what else is ignored (default: spacing)
free        case, spacing and punctuation are ignored (between people; outputs are not scored by it)
address     case, spacing and punctuation are ignored, compatibility forms (NFKC) are folded
identifier  case and spacing are ignored, all dashes are equal
date        the date, in any format (``date_order``, ``locale``)
money       the amount as Decimal, in its currency: that of the value, else of the field, which also resolves an
            ambiguous sign ($); a currency that only one side names is ignored
number      the number as Decimal
"""

import re
from collections.abc import Hashable
from datetime import date
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.dialect import identity, is_number
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values import dates, numbers
from slmstudio.contract.values.kinds.registry import KINDS, collapse, fold_coarsely
from slmstudio.text.formatting import format_date

_WORDS = re.compile(r"(?!\s?[xX]$)\s?[^\W\d_]")
_NULL_WORDS = frozenset({"", "null", "none", "n/a", "-", "–"})
_TRUE = frozenset({"true", "yes", "y", "1", "on", "x", "✓"})
_FALSE = frozenset({"false", "no", "n", "0", "off"})


def normalize(value: Any, field: Field) -> Hashable:
    """A hashable that is equal for two values of this field exactly if they are equivalent; None stays None.

    A value of another type than the field's is never equal to one of its type, except that kinds date, money and
    number parse texts.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return KINDS[field.kind].normalize(value, field)
    if is_number(value):
        return ("number", value) if field.type == "string" else KINDS[field.kind].normalize_number(value, field)
    result: Hashable = identity(value)
    return result


def parse_typed(text: str, field: Field, document: str = "") -> Any:
    """Typed or selected text as the JSON value of the field; None if it has no reading, or several.

    ``Jan 14, 2026`` becomes ``2026-01-14`` in a field of format date, ``USD 1,248.50`` becomes Decimal("1248.50") in a
    number field, ``acme`` the choice ``Acme``. A text with one number or date among other words returns that one, but
    not a number before words: they are its unit, as in ``200 pcs``.
    ``document`` is its source text: its other dates resolve an ambiguous 03/04/2026.
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
    kept = text.replace("\r\n", "\n").strip() if KINDS[field.kind].keeps_lines else plain
    return kept or None


def _json(text: str) -> Any:
    try:
        return loads(text)
    except JsonError:
        return None


def _choice(plain: str, field: Field) -> Any:
    for fold in (str, str.casefold, fold_coarsely):
        matches = [value for value in field.enum if fold(_word(value)) == fold(plain)]
        if len(matches) == 1 and fold(plain):
            return matches[0]
    return None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _typed_number(plain: str, field: Field) -> Any:
    value = numbers.parse(plain, field.locale, accounting=field.accounting)
    if value is None and len(plain) <= 200:
        scanned = numbers.scan(plain, field.locale, accounting=field.accounting)
        ends = {values[0]: end for _, end, values in scanned}
        if len(ends) == 1 and not _WORDS.search(plain, max(ends.values())):
            value = next(iter(ends))
    if value is None or field.type == "number":
        return value
    return int(value) if value == value.to_integral_value() else None


def date_readings(text: str, field: Field, document: str = "") -> tuple[date, ...]:
    """The possible dates of a text in a date field, the likeliest first: none, one, or several if neither the field's
    order and locale nor the other dates of ``document`` resolve it.
    """
    plain = collapse(text)
    known = (field.date_order, field.locale, document)
    days = dates.unambiguous_readings(plain, *known)
    if not days and len(plain) <= 200:
        scanned = dates.scan(plain, field.date_order, field.locale)
        hits = {dates.unambiguous_readings(plain[start:end], *known) for start, end, _ in scanned}
        days = hits.pop() if len(hits) == 1 else ()
    return days


def ambiguity(text: str, field: Field, document: str = "") -> str:
    """Why a text is not accepted as a date, as a sentence; "" if it is unambiguous or the field is not a date."""
    days = date_readings(text, field, document) if field.format == "date" and not field.enum else ()
    if len(days) < 2:
        return ""
    return f"{collapse(text)[:60]} is ambiguous: {' or '.join(map(format_date, days))}?"


def incomplete_date(text: str, field: Field) -> str:
    """What an incomplete date lacks, as a sentence; "" for any other text, or if the field is not a date."""
    missing = dates.missing_parts(text, field.locale) if field.format == "date" and not field.enum else ()
    if not missing:
        return ""
    parts, verb = " and the ".join(missing), "is" if len(missing) == 1 else "are"
    return f"must be a complete date: the {parts} {verb} missing in '{collapse(text)[:60]}'"


def format_value(value: Any, field: Field) -> str:
    """A value for display: dates and numbers in the field's locale, money with its currency, null as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    locale = field.locale.replace("-", "_") or "en_US"
    kind = KINDS[field.kind]
    if is_number(value):
        return kind.display_number(Decimal(str(value)), field, locale)
    return kind.display_text(value, field, locale) if isinstance(value, str) else dumps(value)
