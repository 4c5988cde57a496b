"""A document's text cut into pieces, so that a page can mark where the values of a label stand. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labeling.formtree import FormNode, node_at


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text. ``path`` is the field whose value it is, "" for what is between."""

    text: str
    path: str = ""
    title: str = ""
    colour: int = 0


def pieces(text: str, node: FormNode, evidence: Mapping[str, Any]) -> list[Piece]:
    """The whole text in pieces. Of values that share characters only the first is marked."""
    places = []
    for path, place in evidence.items():
        start, end = place.get("start"), place.get("end")
        if type(start) is int and type(end) is int and 0 <= start < end <= len(text):
            places.append((start, end, path))
    result: list[Piece] = []
    at = 0
    for start, end, path in sorted(places):
        if start < at:
            continue
        if start > at:
            result.append(Piece(text[at:start]))
        leaf = node_at(node, path)
        result.append(Piece(text[start:end], path, leaf.title or leaf.key, leaf.colour))
        at = end
    if at < len(text):
        result.append(Piece(text[at:]))
    return result
