"""How sure a model was of each field of its answer, from the log-probabilities of the tokens it wrote. Pure.

A field's confidence is the smallest probability among the tokens of its value: as sure as at the least sure step. The
quotes count (whether there is a value at all, and where it ends), and so does what follows a number, because that is
where it ends. Names, commas and brackets do not.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.structure import join

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BARE = re.compile(r"[^\s,\]}\[{\"]+")
_BLANK = re.compile(r"\s*")
_MOST_DEPTH = 64

Spans = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Sure:
    """``least`` and ``mean`` (geometric) probability of the tokens of one value, 0 to 1."""

    least: float
    mean: float


def per_field(text: str, ends: Sequence[int], logprobs: Sequence[float]) -> dict[str, Sure]:
    """Field path -> how sure the model was, for every scalar of the JSON object in ``text``.

    ``ends``: for each token the length of the text up to and with it, growing; ``logprobs``: its natural logarithm of a
    probability. A text that is no JSON, or was cut off, has the fields that are complete.
    """
    if len(ends) != len(logprobs):
        raise ValueError(f"{len(ends)} tokens with {len(logprobs)} log-probabilities")
    found: dict[str, Sure] = {}
    for path, (start, end) in spans(text).items():
        tokens = zip(_ranges(ends), logprobs, strict=True)
        inside = [min(0.0, value) for (first, last), value in tokens if first < end and last > start and value == value]
        if inside:
            found[path] = Sure(math.exp(min(inside)), math.exp(sum(inside) / len(inside)))
    return found


def _ranges(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each token stands. One that ends no character (a part of a letter of several bytes) counts to the last."""
    before = 0
    for end in ends:
        yield (before, end) if end > before else (max(0, before - 1), before)
        before = max(before, end)


def spans(text: str) -> Spans:
    """Field path -> start and end of every scalar's literal in a JSON object; numbers and words with what follows."""
    found: Spans = {}
    try:
        start = text.index("{")
        _value(text, start, "", found, 0)
    except (ValueError, IndexError):
        pass  # cut off, or no JSON: what was complete is found
    return found


def _value(text: str, at: int, path: str, found: Spans, depth: int) -> int:
    """Notes the scalars of the value that begins at ``at``; returns where it ends. ValueError where it is broken."""
    if depth > _MOST_DEPTH:
        raise ValueError("too deep")
    if text[at] == "{":
        return _members(text, at, path, found, depth)
    if text[at] == "[":
        return _items(text, at, path, found, depth)
    quoted = text[at] == '"'
    match = (_STRING if quoted else _BARE).match(text, at)
    if match is None:
        raise ValueError("no value")
    if path:
        found[path] = (at, match.end() if quoted else match.end() + 1)
    return match.end()


def _members(text: str, at: int, path: str, found: Spans, depth: int) -> int:
    at = _skip(text, at + 1)
    while text[at] != "}":
        name = _STRING.match(text, at)
        if name is None:
            raise ValueError("no name")
        at = _skip(text, name.end())
        if text[at] != ":":
            raise ValueError("no colon")
        at = _skip(text, _value(text, _skip(text, at + 1), join(path, _unquoted(name.group())), found, depth + 1))
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != "}":
            raise ValueError("no comma")
    return at + 1


def _items(text: str, at: int, path: str, found: Spans, depth: int) -> int:
    at, number = _skip(text, at + 1), 0
    while text[at] != "]":
        at = _skip(text, _value(text, at, join(path, number), found, depth + 1))
        number += 1
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != "]":
            raise ValueError("no comma")
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _unquoted(name: str) -> str:
    return str(loads(name))
