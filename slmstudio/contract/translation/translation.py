"""The way from a pasted text to a compiled schema."""

from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.checks import SchemaError, limited_work
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.schema.keywords import DEFINITIONS, subschemas
from slmstudio.contract.schema.resolution import branches, is_null, properties_of, resolve, types_of
from slmstudio.contract.translation.keywords import Keywords
from slmstudio.contract.translation.notes import Code, Note
from slmstudio.contract.translation.pasted_text import read, unwrap
from slmstudio.contract.translation.references import References

ITEMS, VALUE = "items", "value"
#: keywords of a schema in the making, to which no field was added yet
_MAKING = frozenset({"type", "properties", "additionalProperties", "title", "description", "x-slm"})


@dataclass(frozen=True, slots=True)
class Translation:
    """A compiled schema and what was changed for it. ``wrapped``: the only field of the object around a document that
    is none itself; "" if it is one.
    """

    compiled: CompiledSchema
    notes: tuple[Note, ...] = ()
    wrapped: str = ""


def translate(text: str) -> Translation:
    """The schema of a pasted text. A schema that the dialect accepts is not changed.

    Raises:
        JsonError: the text is not JSON.
        SchemaError: the schema is rejected; with the place and what to do.
    """
    value, notes = read(text)
    with limited_work():
        if isinstance(value, dict) and not notes:
            try:
                return Translation(compile_schema(value))
            except SchemaError:
                pass
        return translate_value(value, notes)


def translate_value(value: Any, notes: list[Note] | None = None) -> Translation:
    """``translate`` for a value that was already read."""
    with limited_work():
        return _translated(value, notes or [])


def _translated(value: Any, notes: list[Note]) -> Translation:
    value, around = unwrap(value)
    notes += around
    if not isinstance(value, dict):
        raise SchemaError("", "a schema must be a JSON object")
    references = References(value)
    keywords = Keywords(references, notes)
    schema = keywords.schema(value)
    if references.hoisted:
        hoisted = {name: keywords.schema(raw, f"$defs.{name}") for name, raw in references.hoisted.items()}
        schema["$defs"] = {**schema.get("$defs", {}), **hoisted}
    schema = _without_unchecked(schema, notes)
    if value.get("properties") == {} and value.keys() <= _MAKING and not around:
        return Translation(compile_schema(schema), tuple(notes))  # refused: it needs a field
    schema, wrapped = _as_object(schema, notes)
    return Translation(compile_schema(schema), tuple(notes), wrapped)


def _without_unchecked(schema: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """Without ``unevaluatedProperties`` where names are given by patterns: the two are not checked together."""
    every = list(_all(schema))
    if any("patternProperties" in part for part in every):
        for part in every:
            if part.pop("unevaluatedProperties", None) is not None:
                notes.append(Note(Code.UNCHECKED, "unevaluatedProperties", "unevaluatedProperties"))
    return schema


def _all(schema: Any) -> list[dict[str, Any]]:
    schemas, waiting = [], [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            schemas.append(part)
            waiting.extend(inner for _, inner in subschemas(part))
    return schemas


def _as_object(schema: dict[str, Any], notes: list[Note]) -> tuple[dict[str, Any], str]:
    """A schema whose document is an object with fields, and the name of the field that this took."""
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        if isinstance(parts, list) and any(map(is_null, parts)) and not all(map(is_null, parts)):
            schema = {**schema, key: [part for part in parts if not is_null(part)]}
            notes.append(Note(Code.TYPE, key, "null at the top is left out"))
    try:
        resolved, nullable = resolve(schema, schema)
        forms = branches(schema, resolved) or [resolved]
        kinds = [set(types_of(form)) - {"null"} for form in forms]
    except (KeyError, RecursionError, TypeError, AttributeError):
        return schema, ""  # the checks say what is wrong
    if not nullable and all(kind == {"object"} for kind in kinds) and all(properties_of(form) for form in forms):
        if any(form.get("type") != "object" for form in forms):
            notes.append(Note(Code.TYPE, "type", '"type": "object" at the top'))
            schema = {**{key: value for key, value in schema.items() if key != "type"}, "type": "object"}
        return schema, ""
    name = ITEMS if kinds == [{"array"}] else VALUE
    notes.append(Note(Code.WRAPPED, "", name))
    return _wrapped(schema, name), name


def _wrapped(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """An object with the document as its only field."""
    definitions = {key: schema[key] for key in DEFINITIONS if key in schema}
    top: dict[str, Any] = {key: schema[key] for key in ("title", "description") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in definitions and key not in top}
    recursive = [part for part in _all({**inner, **definitions}) if part.get("$ref") == "#"]
    if recursive:
        target = "Document"
        while target in definitions.get("$defs", {}):
            target += "_"
        for part in recursive:
            part["$ref"] = f"#/$defs/{target}"
        definitions["$defs"] = {**definitions.get("$defs", {}), target: inner}
        inner = {"$ref": f"#/$defs/{target}"}
    return {
        **top, "type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False,
        "x-slm": {"unwrap": True}, **definitions,
    }  # fmt: skip
