"""A document's text cut into pieces, so that a page can mark where the values of a label stand. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.form.tree import COLOURS, FormNode, node_at


@dataclass(frozen=True, slots=True)
class Key:
    """A field that is marked: its title and its colour, 0 to 7, as in its form."""

    title: str
    colour: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text. ``path`` is the field whose value it is, "" for what is between."""

    text: str
    path: str = ""
    title: str = ""
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Marked:
    """A marked text. ``keys``: each field that is marked, once, by colour."""

    pieces: list[Piece]
    keys: list[Key]


def marked(text: str, evidence: Mapping[str, Any], node: FormNode) -> Marked:
    """The whole text with the evidence of a label: path -> ``{"start", "end"}`` in characters.

    Of places that overlap the first and, of two that start together, the longer one is marked. What is no place in the
    text is left out.
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
        pieces.append(Piece(text[start:at], path, key.title, key.colour))
    if at < len(text):
        pieces.append(Piece(text[at:]))
    return Marked(pieces, sorted(keys, key=lambda key: (key.colour, key.title)))


def _fits(start: Any, end: Any, length: int) -> bool:
    return type(start) is int and type(end) is int and 0 <= start < end <= length


def _key(node: FormNode, path: str) -> Key:
    try:
        leaf = node_at(node, path)
    except (KeyError, ValueError, IndexError, AttributeError):
        return Key(path, COLOURS - 1)
    return Key(leaf.title or leaf.key or path, leaf.colour)
