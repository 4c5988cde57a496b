"""A pasted text: JSON, also in a Markdown block, with a byte order mark, or with bounds such as 1.8e308."""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads, number_fits
from slmstudio.contract.translation.notes import Code, Note

_FENCE = re.compile(r"```[A-Za-z0-9]*+[ \t]*+\r?\n")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?[0-9][0-9.eE+-]*', re.DOTALL)
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_LONGEST = 400
#: keywords of which the last one counts if an object has them twice
_NOTES = ("$comment", "title", "description", "markdownDescription")


def read(text: str) -> tuple[Any, list[Note]]:
    """The JSON value of a text, and what was removed around it. Numbers of more digits than the project stores are
    null: .NET writes the bounds of a double, 1.8e308. The character NUL, which it does not store either, is written as
    in a pattern. Of a note that occurs twice in an object the last one counts, as in most readers of JSON.

    Raises:
        JsonError: it is not JSON.
    """
    notes = []
    bare = text.removeprefix("\ufeff")
    if bare != text:
        notes.append(Note(Code.TEXT, "", "a byte order mark"))
    block = bare.strip()
    if (fence := _FENCE.match(block)) and block.endswith("```") and len(block) >= fence.end() + 3:
        bare = block[fence.end() : -3].rstrip()
        notes.append(Note(Code.TEXT, "", "a Markdown block"))
    try:
        return loads(bare), notes
    except JsonError:
        fixed = _TOKEN.sub(_storable, bare)
        notes += [Note(Code.UNCHECKED, "", "the character NUL")] if _NUL.search(bare) else []
        fixed, repeated = _without_repeated_notes(fixed)
        if fixed == bare:
            raise
    return loads(fixed), [*notes, *(Note(Code.REPEATED, "", name) for name in repeated)]


def _without_repeated_notes(text: str) -> tuple[str, list[str]]:
    """A text in which no object has a note or an equal value twice under a name, and these names. The text itself if
    there are none, or if a name has different values.
    """
    repeated: list[str] = []

    def last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        for name, value in pairs:
            if value != found[name] and not (name in _NOTES and isinstance(value, str)):
                raise ValueError(name)
        repeated.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return found

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
