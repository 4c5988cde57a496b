"""What is compared of a document and its output. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Node

#: characters that the language is read from, and under which it is not
_LANGUAGE_TEXT, _SHORT = 2_000, 20
_MAX_CATEGORY = 80
Value = float | str | bool


@dataclass(frozen=True)
class Profile:
    """Metric -> value. Numbers are compared as distributions, texts as categories, booleans as a rate."""

    values: dict[str, Value] = field(default_factory=dict)


def profile(
    schema: CompiledSchema, *, text: str = "", raw: str = "", confidence: Mapping[str, float] | None = None
) -> Profile:
    """The profile of one request. What is empty is left out. ``confidence``: field path -> lowest token probability."""
    found: dict[str, Value] = {}
    if text:
        found["length"] = float(len(text))
        found["language"] = language(text)
    if raw:
        try:
            output = loads(raw)
        except JsonError:
            output = None
        if isinstance(output, dict):
            _fields(schema.root, output, found)
    for path, minimum in (confidence or {}).items():
        if "[" not in path:
            found[f"confidence {path}"] = float(minimum)
    return Profile(found)


def language(text: str) -> str:
    """The language of a text by its code (ISO 639-1); "?" where the text is too short."""
    import py3langid  # loads its model; pages do not need it

    part = text[:_LANGUAGE_TEXT]
    return "?" if len(part.strip()) < _SHORT else str(py3langid.classify(part)[0])


def _fields(node: Node, value: Any, found: dict[str, Value]) -> None:
    """Adds what the output has at and below a place of the schema; of lists the number of rows."""
    if node.item is not None:
        found[f"rows {node.pattern}"] = float(len(value)) if isinstance(value, list) else 0.0
        return
    if node.field is None:
        for name, child in node.children.items():
            _fields(child, value.get(name) if isinstance(value, dict) else None, found)
        return
    pattern = node.field.pattern
    found[f"null {pattern}"] = value is None
    if value is None or node.field.kind == "date":  # dates move on by themselves
        return
    if node.field.is_choice:
        found[f"value {pattern}"] = str(value)[:_MAX_CATEGORY]
    elif isinstance(value, str):
        found[f"characters {pattern}"] = float(len(value))
    elif not isinstance(value, bool | list | dict):
        found[f"value {pattern}"] = float(value)
