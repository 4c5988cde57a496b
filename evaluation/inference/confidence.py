"""The confidence of each field of an output, from the log-probabilities of its tokens. Pure.

A field's confidence is the lowest probability among the tokens of its value. The quotes count, because they decide
whether there is a value and where it ends; so does the token after a number. Names, commas and brackets do not.
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
_MAX_DEPTH = 64

Spans = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FieldConfidence:
    """Lowest (``minimum``) and geometric ``mean`` probability of the tokens of one value, 0 to 1."""

    minimum: float
    mean: float


def per_field(text: str, ends: Sequence[int], logprobs: Sequence[float]) -> dict[str, FieldConfidence]:
    """Field path -> confidence, for every scalar of the JSON object in ``text``.

    ``ends``: for each token the length of the text up to its end, in increasing order; ``logprobs``: the natural
    logarithm of each token's probability. Of a truncated or invalid text the complete fields are returned.
    """
    if len(ends) != len(logprobs):
        raise ValueError(f"{len(ends)} tokens with {len(logprobs)} log-probabilities")
    confidences: dict[str, FieldConfidence] = {}
    for path, (start, end) in spans(text).items():
        tokens = zip(_ranges(ends), logprobs, strict=True)
        inside = [min(0.0, value) for (first, last), value in tokens if first < end and last > start and value == value]
        if inside:
            confidences[path] = FieldConfidence(math.exp(min(inside)), math.exp(sum(inside) / len(inside)))
    return confidences


def first_tokens(text: str, ends: Sequence[int]) -> dict[str, int]:
    """Field path -> number of the first token of its value, which decides whether there is one. ``ends`` as above."""
    numbers = {}
    ranges = list(_ranges(ends))
    for path, (start, end) in spans(text).items():
        number = next((at for at, (first, last) in enumerate(ranges) if first < end and last > start), None)
        if number is not None:
            numbers[path] = number
    return numbers


def _ranges(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Range of each token. A token that ends no character (part of a multi-byte one) belongs to the last character."""
    before = 0
    for end in ends:
        yield (before, end) if end > before else (max(0, before - 1), before)
        before = max(before, end)


def spans(text: str) -> Spans:
    """Field path -> range of every scalar literal in a JSON object; numbers and words include the next character."""
    places: Spans = {}
    try:
        start = text.index("{")
        _value(text, start, "", places, 0)
    except (ValueError, IndexError):
        pass  # truncated, or not JSON: the complete fields are returned
    return places


def _value(text: str, at: int, path: str, places: Spans, depth: int) -> int:
    """Adds the scalars of the value that starts at ``at``; returns its end. Raises ValueError for invalid JSON."""
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    if text[at] == "{":
        return _members(text, at, path, places, depth)
    if text[at] == "[":
        return _items(text, at, path, places, depth)
    quoted = text[at] == '"'
    match = (_STRING if quoted else _BARE).match(text, at)
    if match is None:
        raise ValueError("no value")
    if path:
        places[path] = (at, match.end() if quoted else match.end() + 1)
    return match.end()


def _members(text: str, at: int, path: str, places: Spans, depth: int) -> int:
    at = _skip(text, at + 1)
    while text[at] != "}":
        name = _STRING.match(text, at)
        if name is None:
            raise ValueError("no name")
        at = _skip(text, name.end())
        if text[at] != ":":
            raise ValueError("no colon")
        at = _skip(text, _value(text, _skip(text, at + 1), join(path, _unquoted(name.group())), places, depth + 1))
        if text[at] == ",":
            at = _skip(text, at + 1)
        elif text[at] != "}":
            raise ValueError("no comma")
    return at + 1


def _items(text: str, at: int, path: str, places: Spans, depth: int) -> int:
    at, number = _skip(text, at + 1), 0
    while text[at] != "]":
        at = _skip(text, _value(text, at, join(path, number), places, depth + 1))
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
