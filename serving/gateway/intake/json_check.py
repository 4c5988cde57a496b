"""Looks at JSON before it is parsed: how much work it is, and whether two members of an object have the same name.

A parser keeps the lock of the interpreter from its first to its last byte, so no other request is answered, even if it
runs in a thread. What it may cost is limited here, in steps that others can interrupt.
"""

import re

import orjson

#: what a body may cost, in plain values. Some 50 ms of a parser, and a document with 20,000 lines and their boxes
MAX_COST = 400_000
#: of a value that contains others, and of a name
_CONTAINER, _NAME = 5, 2
_MAX_DEPTH = 1_000
#: bytes of one step
_STEP = 65_536
_TOKEN = re.compile(rb'["{}\[\],]')
_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class TooComplex(ValueError):
    """It has too many values."""

    def __init__(self) -> None:
        super().__init__(f"it has more than about {MAX_COST // _CONTAINER:,} lists and objects, or {MAX_COST:,} values")


def check(body: bytes) -> None:
    """Raises TooComplex, or ValueError for two equal names or deep nesting. The rest is left to the parser.

    A parser takes the last of two equal names; a proxy that checks the first one would see another document.
    """
    names: list[set[bytes] | None] = []
    expects_name = False
    cost = at = 0
    while at < len(body):
        match = _TOKEN.search(body, at, at + _STEP)
        if match is None:
            at += _STEP
            continue
        at = match.end()
        token = match[0]
        if token == b'"':
            end = _end_of_text(body, at)
            if expects_name and names[-1] is not None:
                name = _plain(body[at:end])
                if name in names[-1]:
                    raise ValueError("two members of an object have the same name")
                names[-1].add(name)
                expects_name = False
                cost += _NAME
            at = end + 1
        elif token == b",":
            expects_name = bool(names) and names[-1] is not None
            cost += 1
        elif token in b"{[":
            expects_name = token == b"{"
            names.append(set() if expects_name else None)
            if len(names) > _MAX_DEPTH:
                raise ValueError(f"values are nested more than {_MAX_DEPTH:,} deep")
            cost += _CONTAINER
        else:
            if names:
                names.pop()
            expects_name = False
        if cost > MAX_COST:
            raise TooComplex


def _end_of_text(body: bytes, at: int) -> int:
    """Where the text that starts here has its closing quote, or where it breaks off."""
    while at < len(body):
        quote = body.find(b'"', at, at + _STEP)
        if body.find(b"\\", at, quote if quote >= 0 else at + _STEP) < 0:
            if quote >= 0:
                return quote
            at += _STEP
            continue
        match = _TEXT.match(body, at, at + _STEP)
        end = match.end() if match is not None else at
        if body[end : end + 1] == b'"' or end == at:
            return end
        at = end
    return len(body)


def _plain(name: bytes) -> bytes:
    """A name without escapes."""
    if b"\\" not in name:
        return name
    try:
        return str(orjson.loads(b'"' + name + b'"')).encode()
    except ValueError:
        return name
