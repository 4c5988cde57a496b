"""``Field(...)`` of Pydantic: names, descriptions, constraints and defaults of a field."""

import ast
from typing import Any

from slmstudio.contract.sources.python_types import annotations_of, constrained, literal, name_of

_FIELD = ("Field", "field", "Query", "Body")


def field_calls(field: ast.AnnAssign) -> list[ast.Call]:
    """The calls of ``Field`` of a field: in ``Annotated``, then as its value."""
    notes: list[ast.expr] = []
    outer = field.annotation
    if isinstance(outer, ast.Subscript) and name_of(outer.value) == "Annotated" and isinstance(outer.slice, ast.Tuple):
        notes += outer.slice.elts[1:]
    if field.value is not None:
        notes.append(field.value)
    return [note for note in notes if isinstance(note, ast.Call) and name_of(note.func) in _FIELD]


def apply_field(
    name: str, schema: dict[str, Any], calls: list[ast.Call], default: ast.expr | None
) -> tuple[str, dict[str, Any], bool]:
    """The name in JSON, the schema, and whether the field is required. ``default``: a plain default value."""
    needed = True
    for call in calls:
        arguments = {str(word.arg): word.value for word in call.keywords}
        given = call.args[0] if call.args else arguments.get("default")
        if given is not None and not (isinstance(given, ast.Constant) and given.value is ...):
            needed, default = False, given
        if "default_factory" in arguments:
            needed = False
        for key in ("validation_alias", "alias", "serialization_alias"):
            text = literal(arguments[key]) if key in arguments else None
            if isinstance(text, str) and text:
                name = text
        schema = constrained(schema, arguments)
        schema = {**schema, **annotations_of(arguments)}
    value = None if default is None else literal(default)
    if value not in (None, []) and not isinstance(value, dict):
        schema = {**schema, "default": value}
    return name, schema, needed
