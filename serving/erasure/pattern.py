"""The text that is erased, as it is found: in any case, with any white space, also in escaped JSON, as whole words."""

import json
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import Any

from slmstudio.errors import Refused

MIN_LENGTH, MAX_LENGTH = 3, 200
ERASED = "[erased]"
#: between words: white space, also as JSON writes it
_GAP = r"(?:\s|\\[nrt])+"
#: a part of a word, or of one with hyphens, is another text
_START, _END = r"(?:(?<!\w)(?<!\w-)|(?<=\\[nrtbf]))", r"(?!-?\w)"


class ErasedText:
    """A text that is erased.

    Raises:
        Refused: ``field`` is text: it is too short or too long.
    """

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        if not MIN_LENGTH <= len(self.text) <= MAX_LENGTH:
            raise Refused(f"Enter {MIN_LENGTH} to {MAX_LENGTH} characters.", field="text", code="length")

    @cached_property
    def sql(self) -> str:
        """A regular expression of PostgreSQL that matches at least what ``found_in`` finds."""
        return f"(?:{'|'.join(self._forms)})"

    @cached_property
    def _forms(self) -> list[str]:
        composed = {unicodedata.normalize(form, self.text) for form in ("NFC", "NFD")}
        written = {
            form: None for text in sorted(composed) for form in (text, _escaped(text, False), _escaped(text, True))
        }
        return [_GAP.join(map(re.escape, form.split(" "))) for form in written]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        start = _START if re.match(r"\w", self.text) else ""
        end = _END if re.search(r"\w$", self.text) else ""
        return re.compile(f"{start}{self.sql}{end}", re.IGNORECASE)

    def found_in(self, value: Any) -> bool:
        """Whether a text or a JSON value contains it; a number only if it is the whole text."""
        return bool(self.replaced(value)[1])

    def replaced(self, value: Any) -> tuple[Any, int]:
        """A text or a JSON value without it, and how often it was there."""
        if isinstance(value, str):
            return self._pattern.subn(ERASED, value)
        if isinstance(value, list | tuple):
            return self._all(value)
        if isinstance(value, dict):
            pairs, number = self._all([part for pair in value.items() for part in pair])
            return dict(zip(pairs[::2], pairs[1::2], strict=True)), number
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and str(value) == self.text:
            return None, 1
        return value, 0

    def _all(self, values: Iterable[Any]) -> tuple[list[Any], int]:
        results = [self.replaced(value) for value in values]
        return [value for value, _ in results], sum(number for _, number in results)


def _escaped(text: str, ascii_only: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]
