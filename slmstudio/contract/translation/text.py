"""A pasted text: JSON, also in a Markdown block, with a byte order mark, or with bounds such as 1.8e308."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads, number_fits
from slmstudio.contract.translation.notes import Code, Note

_FENCE = re.compile(r"\A\s*```[A-Za-z0-9]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_LONGEST = 400


def read(text: str) -> tuple[Any, list[Note]]:
    """The JSON value of a text, and what was removed around it. Numbers of more digits than the project stores are
    null: .NET writes the bounds of a double, 1.8e308. The character NUL, which it does not store either, is written as
    in a pattern. Of names that occur twice in an object the last one counts, as in most readers of JSON.

    Raises:
        JsonError: it is not JSON.
    """
    notes = []
    bare = text.removeprefix("\ufeff")
    if bare != text:
        notes.append(Note(Code.TEXT, "", "a byte order mark"))
    if fenced := _FENCE.match(bare):
        bare = fenced.group(1)
        notes.append(Note(Code.TEXT, "", "a Markdown block"))
    try:
        return loads(bare), notes
    except JsonError:
        mended = _TOKEN.sub(_storable, bare)
        notes += [Note(Code.UNCHECKED, "", "the character NUL")] if _NUL.search(bare) else []
        mended, repeated = _last_of_each(mended)
        if mended == bare:
            raise
    return loads(mended), [*notes, *(Note(Code.REPEATED, "", name) for name in repeated)]


def _last_of_each(text: str) -> tuple[str, list[str]]:
    """A text in which no object has a name twice, and the repeated names; the text itself if there are none."""
    repeated: list[str] = []

    def last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = Counter(name for name, _ in pairs)
        repeated.extend(name for name, count in names.items() if count > 1)
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=last, parse_float=Decimal)
        return (dumps(value), repeated) if repeated else (text, [])
    except (ValueError, ArithmeticError, RecursionError):
        return text, []


def _storable(token: re.Match[str]) -> str:
    text = token.group()
    if text.startswith('"'):
        return _NUL.sub(r"\1\\\\u0000", text)
    try:
        fits = len(text) <= _LONGEST and number_fits(Decimal(text))
    except ArithmeticError:
        return text
    return text if fits else "null"
