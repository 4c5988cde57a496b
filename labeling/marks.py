"""A text cut into pieces, some of which are the evidence of a field. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.formtree import COLOURS, FormNode, node_at


@dataclass(frozen=True)
class Piece:
    """A stretch of the text. ``title``: the field it is evidence of, "" for none; ``colour``: 0 to 7."""

    text: str
    title: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Marked:
    """A marked text. ``keys``: each field that is marked, once, with its colour."""

    pieces: list[Piece]
    keys: list[Piece]


def marked(text: str, evidence: Mapping[str, Any], node: FormNode) -> Marked:
    """The text with the evidence of a label: path -> ``{"start", "end"}`` in characters.

    Of places that overlap the first and, of two that start together, the longer one is marked. What is no place in the
    text is left out.
    """
    places = sorted(
        (place["start"], -place["end"], path)
        for path, place in evidence.items()
        if isinstance(place, dict) and _fits(place.get("start"), place.get("end"), len(text))
    )
    pieces: list[Piece] = []
    keys: dict[Piece, None] = {}
    end_of_last = 0
    for start, minus_end, path in places:
        if start < end_of_last:
            continue
        key = _key(node, path)
        keys[key] = None
        if start > end_of_last:
            pieces.append(Piece(text[end_of_last:start]))
        end_of_last = -minus_end
        pieces.append(Piece(text[start:end_of_last], key.title, key.colour))
    if end_of_last < len(text):
        pieces.append(Piece(text[end_of_last:]))
    return Marked(pieces, sorted(keys, key=lambda key: (key.colour, key.title)))


def _fits(start: Any, end: Any, length: int) -> bool:
    return type(start) is int and type(end) is int and 0 <= start < end <= length


def _key(node: FormNode, path: str) -> Piece:
    """The field's name and colour, as in its form."""
    try:
        leaf = node_at(node, path)
    except (KeyError, ValueError, IndexError, AttributeError):
        return Piece("", path, COLOURS - 1)
    return Piece("", leaf.title or path, leaf.colour)
