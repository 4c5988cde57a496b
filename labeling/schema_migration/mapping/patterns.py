"""The parts of field patterns: the rows that contain a field, and its name. Pure."""

from typing import Any

from slmstudio.contract.schema.structure import split


def last_name(pattern: str) -> str:
    """The last name in a pattern; for items of a list, the name of the list."""
    return str(next((step for step in reversed(split(pattern)) if step is not None), ""))


def rows_of(pattern: str) -> tuple[Any, ...]:
    """The part of a pattern up to its last ``[]``."""
    steps = split(pattern)
    return steps[: max((place + 1 for place, step in enumerate(steps) if step is None), default=0)]


def parts(pattern: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows that contain a field, and the names from there. For items of a plain list, the list is the field."""
    rows = rows_of(pattern)
    names = split(pattern)[len(rows) :]
    if names:
        return rows, names
    whole = split(pattern)[:-1]
    outer = max((place + 1 for place, step in enumerate(whole) if step is None), default=0)
    return whole[:outer], whole[outer:]
