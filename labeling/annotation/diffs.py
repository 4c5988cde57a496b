"""What changed: between two texts line by line, between two values field by field. Pure."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.compiled import dumps, join


@dataclass(frozen=True)
class Line:
    """One line of a comparison. ``mark``: "+" new, "-" gone, " " the same, "@" where lines are left out."""

    mark: str
    text: str


def compare_lines(old: str, new: str) -> list[Line]:
    """The changed lines with three lines around them."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
    body = list(lines)[2:]  # the two lines that name files
    return [Line("@", "") if line.startswith("@@") else Line(line[:1], line[1:]) for line in body]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a text, and whether the other text has something else in its place."""

    text: str
    differs: bool


def compare_words(one: str, other: str) -> tuple[list[Stretch], list[Stretch]]:
    """Both texts in stretches that are the same or differ, cut at words."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", one), re.findall(r"\w+|\s+|[^\w\s]", other)
    sides: tuple[list[Stretch], list[Stretch]] = [], []
    for kind, *places in difflib.SequenceMatcher(None, *parts).get_opcodes():
        for side, words, (start, end) in zip(sides, parts, (places[:2], places[2:]), strict=True):
            if start < end:
                side.append(Stretch("".join(words[start:end]), kind != "equal"))
    return sides


@dataclass(frozen=True)
class Change:
    """One field that changed. ``old`` or ``new`` is None where the field was not there; else the value as text."""

    path: str
    old: str | None
    new: str | None


def changes(old: Any, new: Any) -> list[Change]:
    """The leaves that differ between two values, in the order of the new one."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    return [
        Change(path, _shown(before, path), _shown(after, path))
        for path in dict.fromkeys([*after, *before])
        if path not in before or path not in after or dumps(before[path]) != dumps(after[path])
    ]


def _shown(leaves: dict[str, Any], path: str) -> str | None:
    """A text as it is, other values as JSON; None where the field is not there."""
    if path not in leaves:
        return None
    value = leaves[path]
    return value if isinstance(value, str) else dumps(value)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, join(path, name))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, join(path, number))
    elif path:
        yield path, value
