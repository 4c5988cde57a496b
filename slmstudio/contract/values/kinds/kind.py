"""The interface of a field kind, and text functions that all kinds share."""

import unicodedata
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import regex

from slmstudio.contract.schema.dialect import identity

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
