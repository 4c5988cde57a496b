"""Differences: between two texts by line or word, between two values by field. Pure."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.compiled import dumps, join


@dataclass(frozen=True)
class DiffLine:
    """One line of a diff. ``mark``: "+" added, "-" removed, " " unchanged, "@" lines left out."""

    mark: str
    text: str


def compare_lines(old: str, new: str) -> list[DiffLine]:
    """The changed lines with three lines around them."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
    body = list(lines)[2:]  # the two lines that name files
    return [DiffLine("@", "") if line.startswith("@@") else DiffLine(line[:1], line[1:]) for line in body]


@dataclass(frozen=True, slots=True)
class TextSpan:
    """A part of a text, and whether it differs from the other text."""

    text: str
    differs: bool


def compare_words(one: str, other: str) -> tuple[list[TextSpan], list[TextSpan]]:
    """Both texts as spans that are the same or differ, cut at words."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", one), re.findall(r"\w+|\s+|[^\w\s]", other)
    sides: tuple[list[TextSpan], list[TextSpan]] = [], []
    for kind, *places in difflib.SequenceMatcher(None, *parts).get_opcodes():
        for side, words, (start, end) in zip(sides, parts, (places[:2], places[2:]), strict=True):
            if start < end:
                side.append(TextSpan("".join(words[start:end]), kind != "equal"))
    return sides


@dataclass(frozen=True)
class FieldChange:
    """One changed field. ``old`` and ``new`` are values as text, None where the field is absent."""

    path: str
    old: str | None
    new: str | None


def field_changes(old: Any, new: Any) -> list[FieldChange]:
    """The leaves that differ between two values, in the order of the new one."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    return [
        FieldChange(path, _as_text(before, path), _as_text(after, path))
        for path in dict.fromkeys([*after, *before])
        if path not in before or path not in after or dumps(before[path]) != dumps(after[path])
    ]


def _as_text(leaves: dict[str, Any], path: str) -> str | None:
    """Strings as they are, other values as JSON; None where the field is absent."""
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
