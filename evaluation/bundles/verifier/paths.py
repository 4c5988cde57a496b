"""Paths of fields (``line_items[3].amount``), and the single values of JSON."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

Path = tuple[str | int, ...]
_STEP = re.compile(r'\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.\[\]"\\\s]+)')


def split(path: str) -> Path:
    """The steps of a path. Raises ValueError."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f"{path!r} is not a path")
        index, quoted, name = found.groups()
        steps.append(int(index) if index is not None else json.loads(quoted) if quoted is not None else name)
        at = found.end()
    return tuple(steps)


def look_up(value: Any, path: Path) -> Any:
    """The value at a path; None where there is none."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def pattern(path: Path) -> tuple[str, ...]:
    """A path without the numbers of rows."""
    return tuple("[]" if isinstance(step, int) else step for step in path)


def scalars(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values of JSON that are neither objects, lists nor null, with their paths."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from scalars(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from scalars(item, (*path, index))
    elif value is not None:
        yield path, value


def text_of(value: Any) -> str:
    """A single value as text, equal for numbers that are equal."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        return f"{number.normalize():f}" if number else "0"
    return json.dumps(value)


def text_of_any(value: Any) -> str:
    """A value as text for comparisons; objects without the order of their names."""
    parts = sorted((str(path), text_of(item)) for path, item in scalars(value))
    return parts[0][1] if len(parts) == 1 and parts[0][0] == "()" else str(parts)
