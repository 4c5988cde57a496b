"""Find a value in a document: by meaning for dates and numbers, by letters for texts, then allowing for OCR errors."""

import re
import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from slmstudio.contract import dates, numbers
from slmstudio.contract.dialect import is_number
from slmstudio.contract.jsontext import dumps
from slmstudio.contract.kinds import normalise
from slmstudio.contract.structure import Field

MAX_SPANS = 50
_SHORTEST_OCR = 3

# Letters that OCR takes for one another, each mapped to one of its group, after case folding.
_CONFUSED = str.maketrans({"o": "0", "q": "0", "l": "1", "i": "1", "|": "1", "!": "1", "s": "5", "b": "8", "z": "2", "g": "6"})
_DIGITISH = re.compile(r"(?<![\w.,])[\dOoQlI|SsBZz][\dOoQlI|SsBZz.,'’]*[\dOoQlI|SsBZz](?!\w)")
_TO_DIGITS = str.maketrans("OoQlI|SsBZz", "00011155822")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the document: ``text`` is ``document[start:end]``."""

    start: int
    end: int
    text: str


@lru_cache(maxsize=32)
def _letters(text: str) -> tuple[str, list[int]]:
    """The letters and digits of a text, folded, and for each the position it comes from."""
    if text.isascii():
        places = [index for index, letter in enumerate(text) if letter.isalnum()]
        return "".join(text[index] for index in places).lower(), places
    letters: list[str] = []
    places = []
    for index, letter in enumerate(text):
        for folded in unicodedata.normalize("NFKC", letter).casefold():
            if folded.isalnum():
                letters.append(folded)
                places.append(index)
    return "".join(letters), places


@lru_cache(maxsize=32)
def _confused(text: str) -> tuple[str, list[int]]:
    """Like ``_letters``, with every letter that OCR confuses mapped to one of its group, and signs it takes for letters kept."""
    letters: list[str] = []
    places = []
    for index, letter in enumerate(text):
        for folded in unicodedata.normalize("NFKC", letter).casefold().translate(_CONFUSED):
            if folded.isalnum():
                letters.append(folded)
                places.append(index)
    return "".join(letters), places


def _occurrences(needle: str, letters: str, places: list[int], text: str) -> Iterator[tuple[int, int]]:
    """Where ``needle`` stands among the letters of ``text`` and does not begin or end inside a word or number."""
    start = letters.find(needle)
    while start >= 0:
        first, last = places[start], places[start + len(needle) - 1]
        inside_before = first > 0 and text[first - 1].isalnum()
        inside_after = last + 1 < len(text) and text[last + 1].isalnum()
        if not inside_before and not inside_after:
            yield first, last + 1
        start = letters.find(needle, start + 1)


def _find_text(value: str, text: str) -> Iterator[tuple[int, int]]:
    words = value.split()
    if not words:
        return
    pattern = r"\s+".join(map(re.escape, words))
    exact = re.compile(rf"(?<!\w){pattern}(?!\w)" if words[0][0].isalnum() and words[-1][-1].isalnum() else pattern)
    hits = [match.span() for match in exact.finditer(text)]
    if not hits:
        needle = _letters(value)[0]
        hits = list(_occurrences(needle, *_letters(text), text)) if needle else []
    if not hits:
        needle = _confused(value)[0]
        hits = list(_occurrences(needle, *_confused(text), text)) if len(needle) >= _SHORTEST_OCR else []
    yield from hits


def _find_date(day: date, field: Field, text: str) -> Iterator[tuple[int, int]]:
    for start, end, found in dates.scan(text, field.date_order, field.locale):
        if day in found:
            yield start, end


def _find_number(number: Decimal, field: Field, text: str) -> Iterator[tuple[int, int]]:
    hits = [(start, end) for start, end, found in numbers.scan(text, field.locale) if number in found]
    if not hits:
        # A total printed as "12.50-" or "(12.50)" may be labelled without its sign.
        hits = [(start, end) for start, end, found in numbers.scan(text, field.locale) if -number in found]
    if not hits:
        for match in _DIGITISH.finditer(text):
            digits = match[0].translate(_TO_DIGITS)
            if digits != match[0] and any(letter.isdigit() for letter in match[0]):
                if number in numbers.core_readings(digits, field.locale):
                    hits.append(match.span())
    yield from hits


def _spans(value: Any, field: Field, text: str) -> Iterator[tuple[int, int]]:
    if value is None or isinstance(value, bool | dict | list):
        return
    if is_number(value):
        yield from _find_number(Decimal(str(value)), field, text)
        return
    meaning: Hashable = normalise(value, field) if field.kind in ("date", "money", "number") else None
    found = False
    if isinstance(meaning, date):
        for span in _find_date(meaning, field, text):
            found = True
            yield span
    elif isinstance(meaning, Decimal):
        for span in _find_number(meaning, field, text):
            found = True
            yield span
    if not found:
        yield from _find_text(value if isinstance(value, str) else dumps(value), text)


def find(value: Any, field: Field, text: str) -> list[Span]:
    """Every place in ``text`` that says ``value``, in order, at most 50.

    Dates and numbers are found in any format that means the same (``Jan 14, 2026`` for 2026-01-14, ``USD 1,248.50`` for
    1248.50, currency included in the span). Texts are found exactly, else ignoring case, spacing and punctuation, else
    allowing for letters that OCR confuses (O and 0, l and 1, S and 5, ...). Null, booleans, lists and objects have none.
    """
    spans = sorted(set(_spans(value, field, text)))[:MAX_SPANS]
    return [Span(start, end, text[start:end]) for start, end in spans]


def present(value: Any, field: Field, text: str) -> bool:
    """Whether ``text`` says ``value`` anywhere, see ``find``."""
    return next(_spans(value, field, text), None) is not None
