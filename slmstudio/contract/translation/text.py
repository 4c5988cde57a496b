"""A pasted text: JSON, also in a Markdown block, with a byte order mark, or with bounds such as 1.8e308."""

import re
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import JsonError, loads, number_fits
from slmstudio.contract.translation.notes import Code, Note

_FENCE = re.compile(r"\A\s*```[A-Za-z0-9]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_LONGEST = 400


def read(text: str) -> tuple[Any, list[Note]]:
    """The JSON value of a text, and what was removed around it. Numbers of more digits than the project stores are
    null: .NET writes the bounds of a double, 1.8e308.

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
        shorter = _TOKEN.sub(_without_long_number, bare)
        if shorter == bare:
            raise
    return loads(shorter), notes


def _without_long_number(token: re.Match[str]) -> str:
    text = token.group()
    if text.startswith('"'):
        return text
    try:
        fits = len(text) <= _LONGEST and number_fits(Decimal(text))
    except ArithmeticError:
        return text
    return text if fits else "null"
