"""Splits a document's text into pieces, to highlight the evidence of a label. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.form.tree import MARKS, FormNode, node_at


@dataclass(frozen=True, slots=True)
class Key:
    """A highlighted field: its title and color, 0 to 7, as in the form."""

    title: str
    color: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text. ``path``: the field it is evidence of, "" for other text."""

    text: str
    path: str = ""
    title: str = ""
    color: int = 0


@dataclass(frozen=True, slots=True)
class HighlightedText:
    """A text with highlights. ``keys``: each highlighted field once, by color."""

    pieces: list[Piece]
    keys: list[Key]


def highlight(text: str, evidence: Mapping[str, Any], node: FormNode) -> HighlightedText:
    """The text with the evidence of a label: path -> ``{"start", "end"}`` in characters.

    Of overlapping spans, the first is highlighted, and of two with the same start, the longer one. Ignores invalid
    spans.
    """
    places = sorted(
        (place["start"], -place["end"], path)
        for path, place in evidence.items()
        if isinstance(place, dict) and _fits(place.get("start"), place.get("end"), len(text))
    )
    pieces: list[Piece] = []
    keys: dict[Key, None] = {}
    at = 0
    for start, minus_end, path in places:
        if start < at:
            continue
        if start > at:
            pieces.append(Piece(text[at:start]))
        at = -minus_end
        key = _key(node, path)
        keys[key] = None
        pieces.append(Piece(text[start:at], path, key.title, key.color))
    if at < len(text):
        pieces.append(Piece(text[at:]))
    return HighlightedText(pieces, sorted(keys, key=lambda key: (key.color, key.title)))


def _fits(start: Any, end: Any, length: int) -> bool:
    return type(start) is int and type(end) is int and 0 <= start < end <= length


def _key(node: FormNode, path: str) -> Key:
    try:
        leaf = node_at(node, path)
    except (KeyError, ValueError, IndexError, AttributeError):
        return Key(path, MARKS - 1)
    return Key(leaf.title or leaf.key or path, leaf.color)
