"""Find a value in a document: by meaning for dates and numbers, by letters for texts, then allowing for OCR errors."""

import re
import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values import dates, numbers
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import normalize

MAX_SPANS = 50
_MIN_OCR_LENGTH = 3
_MIN_WORDS = 4
_MAX_WORDS = 200

# Characters that OCR confuses, each mapped to one of its group, after case folding.
_CONFUSED = str.maketrans("oqli|!sbzg", "0011115826")
_DIGITISH = re.compile(r"(?<![\w.,])[\dOoQlI|SsBZz][\dOoQlI|SsBZz.,'’]*[\dOoQlI|SsBZz](?!\w)")
# An amount may be written together with a currency or a unit of up to three letters: RM367.10, 12.50KG.
_AMOUNT = re.compile(r"\d[\d.,]*[.,]\d+")
_NO_WORD_BEFORE = r"(?<![^\W_]{4})(?<![\d.,])"
_NO_WORD_AFTER = r"(?![^\W\d_]{4})"
_MARK = re.compile(r"[.,]")
_TO_DIGITS = str.maketrans("OoQlI|SsBZz", "00011155822")


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the document: ``text`` is ``document[start:end]``."""

    start: int
    end: int
    text: str


class _Fold(dict[int, str | None]):
    """A table for ``str.translate`` that keeps letters and digits, folded, and adds each character on first use."""

    def __init__(self, confused: bool) -> None:
        super().__init__()
        self.confused = confused

    def __missing__(self, code: int) -> str | None:
        folded = unicodedata.normalize("NFKC", chr(code)).casefold()
        folded = folded.translate(_CONFUSED) if self.confused else folded
        self[code] = "".join(letter for letter in folded if letter.isalnum()) or None
        return self[code]


_PLAIN, _OCR = _Fold(confused=False), _Fold(confused=True)


def _cuts(text: str, position: int) -> bool:
    """Whether a boundary here would split a word or a number (3,12 is one number)."""
    before, after = text[max(0, position - 2) : position], text[position : position + 2]
    if not before or not after:
        return False
    if before[-1].isalnum() and after[0].isalnum():
        return True
    if before[-1] in ".,":
        return before[:-1].isdigit() and after[0].isdigit()
    return after[0] in ".," and before[-1].isdigit() and after[1:].isdigit()


class _Letters:
    """The letters and digits of a text, folded, and the position of each."""

    def __init__(self, text: str, fold: _Fold) -> None:
        self.text = text
        self.fold = fold
        self.letters = text.translate(fold)

    @cached_property
    def places(self) -> list[int]:
        return [index for index, letter in enumerate(self.text) for _ in self.fold[ord(letter)] or ""]

    def whole(self, first: int, end: int) -> bool:
        """Whether a span of the letters begins and ends outside a word or number of the text."""
        return not _cuts(self.text, self.places[first]) and not _cuts(self.text, self.places[end - 1] + 1)

    def occurrences(self, needle: str) -> Iterator[tuple[int, int]]:
        """The positions of ``needle`` that do not begin or end inside a word or number of the text."""
        start = self.letters.find(needle)
        while start >= 0:
            first, end = self.places[start], self.places[start + len(needle) - 1] + 1
            if not _cuts(self.text, first) and not _cuts(self.text, end):
                yield first, end
            start = self.letters.find(needle, start + 1)


@lru_cache(maxsize=8)  # a text of 1 MB takes tens of MB here
def _letters(text: str, confused: bool) -> _Letters:
    return _Letters(text, _OCR if confused else _PLAIN)


def _find_text(value: str, text: str) -> list[tuple[int, int]]:
    """Verbatim; else by its letters; else by letters that OCR may have confused; else in pieces."""
    hits = list(_verbatim(value, text))
    for confused, shortest in ((False, 1), (True, _MIN_OCR_LENGTH)):
        needle = value.translate(_OCR if confused else _PLAIN)
        if not hits and len(needle) >= shortest:
            hits = list(_letters(text, confused).occurrences(needle))
            if value.isdigit():  # 12 is not 1.2
                hits = [(start, end) for start, end in hits if not _MARK.search(text, start, end)]
    if not hits and _AMOUNT.fullmatch(value):
        amount = rf"{_NO_WORD_BEFORE}{re.escape(value)}(?![\d]|[.,]\d){_NO_WORD_AFTER}"
        hits = [match.span() for match in re.finditer(amount, text)]
    words = value.split(maxsplit=_MAX_WORDS)
    return hits if hits or not _MIN_WORDS <= len(words) <= _MAX_WORDS else _pieces(words, _letters(text, False))


def _verbatim(value: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(value) if value.strip() else -1
    while start >= 0:
        end = start + len(value)
        if not _cuts(text, start) and not _cuts(text, end):
            yield start, end
        start = text.find(value, start + 1)


def _pieces(words: list[str], letters: _Letters) -> list[tuple[int, int]]:
    """A long value whose words are in the text in spans of two or more, as in an address set in two columns; empty
    unless every word is covered.
    """
    folded = [word.translate(letters.fold) for word in words]
    folded = [word for word in folded if word]
    spans: list[tuple[int, int]] = []
    begin = 0
    while begin < len(folded):
        best, end = None, begin
        for stop in range(begin + 1, len(folded) + 1):
            span = next(letters.occurrences("".join(folded[begin:stop])), None)
            if span is None:
                break
            best, end = span, stop
        if best is None:
            return []
        spans.append(best)
        begin = end
    return spans if 2 * len(spans) <= len(folded) else []


def _find_date(day: date, field: Field, text: str) -> Iterator[tuple[int, int]]:
    for start, end, days in dates.scan(text, field.date_order, field.locale):
        if day in days:
            yield start, end


def _find_number(number: Decimal, field: Field, text: str) -> list[tuple[int, int]]:
    """With its sign; else the number alone (a total printed as 12.50- may be labeled 12.50, and pieces in brackets are
    no debt); else with digits that OCR read as letters.
    """
    near = numbers.find(number.copy_abs(), text, field.locale, accounting=field.accounting)
    hits = [(start, end) for start, end, negative in near if negative == number.is_signed() or not number]
    if hits or near:
        return hits or [numbers.without_sign(text, start, end) for start, end, _ in near]
    for match in _DIGITISH.finditer(text):
        digits = match[0].translate(_TO_DIGITS)
        doubtful = digits != match[0] and any(letter.isdigit() for letter in match[0])
        if doubtful and number.copy_abs() in numbers.core_readings(digits, field.locale):
            hits.append(match.span())
    return hits


def _spans(value: Any, field: Field, text: str) -> Iterator[tuple[int, int]]:
    if value is None or isinstance(value, bool | dict | list):
        return
    if is_number(value):
        yield from _find_number(Decimal(str(value)), field, text)
        return
    meaning: Hashable = normalize(value, field) if KINDS[field.kind].by_meaning else None
    is_found = False
    if isinstance(meaning, date):
        for span in _find_date(meaning, field, text):
            is_found = True
            yield span
    elif isinstance(meaning, Decimal):
        for span in _find_number(meaning, field, text):
            is_found = True
            yield span
    if not is_found:
        yield from _find_text(value if isinstance(value, str) else dumps(value), text)


def find(value: Any, field: Field, text: str, limit: int | None = MAX_SPANS) -> list[Span]:
    """Every occurrence of ``value`` in ``text``, in order, at most ``limit``.

    Dates and numbers are found in any equivalent format (``Jan 14, 2026`` for 2026-01-14, ``USD 1,248.50`` for
    1248.50, currency included in the span). Texts are found exactly, else ignoring case, spacing and punctuation, else
    allowing for letters that OCR confuses (O and 0, l and 1, S and 5, ...); a long text may also occur in pieces of two
    words or more, which are then the spans. Null, booleans, lists and objects have none.
    """
    spans = sorted(set(_spans(value, field, text)))[:limit]
    return [Span(start, end, text[start:end]) for start, end in spans]


def near_matches(letters: str, text: str) -> Iterator[str]:
    """Spans of whole words of ``text`` that may be one edit away from ``letters`` (folded letters and digits).

    One edit, a swap of two neighbors included, leaves one of three parts unchanged, so each part is searched.
    """
    known, third = _letters(text, False), len(letters) // 3
    for before, after in ((0, third), (third, 2 * third), (2 * third, len(letters))):
        part, rest = letters[before:after], len(letters) - after
        start = known.letters.find(part) if part else -1
        while start >= 0:
            first, end = start - before, start + len(part) + rest
            for more in (-1, 0, 1):
                for left, right in {(first, end + more), (first - more, end)}:
                    if 0 <= left < right <= len(known.letters) and known.whole(left, right):
                        yield known.letters[left:right]
            start = known.letters.find(part, start + 1)


def is_present(value: Any, field: Field, text: str) -> bool:
    """Whether ``value`` occurs in ``text``, see ``find``."""
    return next(_spans(value, field, text), None) is not None
