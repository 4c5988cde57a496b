"""Patterns of fields, taken apart: the rows that a field lies in, and its name. Pure."""

from typing import Any

from slmstudio.contract.schema.structure import split


def last_name(pattern: str) -> str:
    """The name at the end of a pattern, of a list the list's."""
    return str(next((step for step in reversed(split(pattern)) if step is not None), ""))


def rows_of(pattern: str) -> tuple[Any, ...]:
    """The part of a pattern up to its last ``[]``."""
    steps = split(pattern)
    return steps[: max((place + 1 for place, step in enumerate(steps) if step is None), default=0)]


def parts(pattern: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows a field lies in, and the names from there to it. Of a list of single values the list is the field."""
    rows = rows_of(pattern)
    names = split(pattern)[len(rows) :]
    if names:
        return rows, names
    whole = split(pattern)[:-1]
    outer = max((place + 1 for place, step in enumerate(whole) if step is None), default=0)
    return whole[:outer], whole[outer:]
