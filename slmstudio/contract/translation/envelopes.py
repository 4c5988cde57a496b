"""Schemas inside what an API or a document wraps around them: tools, response formats, OpenAPI documents."""

from typing import Any

from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.keywords import KNOWN
from slmstudio.contract.translation.notes import Code, Note

#: path to the schema -> what wraps it; the first that fits is taken, again and again
_ENVELOPES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("tools",), "a request"),
    (("functionDeclarations",), "a tool"),
    (("function_declarations",), "a tool"),
    (("response_format",), "a request"),
    (("json_schema",), "a response format"),
    (("text", "format"), "a request"),
    (("format", "schema"), "a response format"),
    (("function", "parameters"), "a tool"),
    (("input_schema",), "a tool"),
    (("inputSchema",), "a tool"),
    (("parameters",), "a tool"),
    (("generationConfig",), "a request"),
    (("generation_config",), "a request"),
    (("responseJsonSchema",), "a request"),
    (("response_json_schema",), "a request"),
    (("responseSchema",), "a request"),
    (("response_schema",), "a request"),
    (("schema",), "a response format"),
)
#: keywords that say that the object itself is a schema
_OWN = ("properties", "$ref", "anyOf", "oneOf", "allOf", "items", "additionalProperties", "enum", "const", "$defs")
_TYPES_OF_ENVELOPES = ("function", "json_schema", "custom")
#: keys of tools
_TOOLS = {"function", "parameters", "input_schema", "inputSchema", "functionDeclarations", "function_declarations"}
_SHOWN = 10


def unwrap(value: Any) -> tuple[Any, list[Note]]:
    """The schema in a value, and what was around it.

    Raises:
        SchemaError: it is a collection of schemas, and several may be meant.
    """
    notes: list[Note] = []
    while isinstance(value, dict) and not _is_schema(value):
        for path, name in _ENVELOPES:
            inner: Any = value
            for step in path:
                inner = inner.get(step) if isinstance(inner, dict) else None
            inner = _only_tool(inner) if isinstance(inner, list) else inner
            if isinstance(inner, dict) and inner:
                notes.append(Note(Code.ENVELOPE, ".".join(path), name))
                value = inner
                break
        else:
            break
    if isinstance(value, dict) and not _is_schema(value):
        return _chosen(value, notes)
    return value, notes


def _only_tool(listed: list[Any]) -> Any:
    """The tool of a list; None if it is no list of tools.

    Raises:
        SchemaError: there are several.
    """
    if not listed or not all(isinstance(tool, dict) and tool.keys() & _TOOLS for tool in listed):
        return None
    if len(listed) > 1:
        names = [str(tool.get("function", tool).get("name", "")) for tool in listed]
        raise SchemaError("", f"these are several tools ({', '.join(names[:_SHOWN])}); paste one")
    return listed[0]


def _is_schema(value: dict[str, Any]) -> bool:
    if any(key in value for key in _OWN):
        return True
    declared = value.get("type")
    return declared is not None and declared not in _TYPES_OF_ENVELOPES


def _chosen(value: dict[str, Any], notes: list[Note]) -> tuple[Any, list[Note]]:
    """The only schema of a collection that no other one refers to."""
    components = value.get("components")
    in_components = isinstance(components, dict) and isinstance(components.get("schemas"), dict)
    place = ("components", "schemas") if in_components else ("definitions",)
    schemas = components["schemas"] if in_components and isinstance(components, dict) else value.get("definitions")
    if not isinstance(schemas, dict) or not schemas or any(key in KNOWN for key in value.keys() - _BESIDE):
        return value, notes
    prefix = "#/" + "/".join(place) + "/"
    used = {name for outer, schema in schemas.items() for name in _references(schema, prefix) if name != outer}
    tops = [name for name, schema in schemas.items() if name not in used and isinstance(schema, dict)]
    if len(schemas) == 1:
        tops = list(schemas)
    if len(tops) != 1:
        names = tops or list(schemas)
        listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        example = prefix + names[0]
        message = f'this is a collection of schemas ({listed}); choose one: add "$ref": "{example}" at the top'
        raise SchemaError("", message)
    notes.append(Note(Code.CHOSEN, ".".join((*place, tops[0])), tops[0]))
    return {"$ref": prefix + tops[0].replace("~", "~0").replace("/", "~1"), **value}, notes


_BESIDE = {"definitions", "$schema", "$id", "$comment", "title", "description"}


def _references(schema: Any, prefix: str) -> set[str]:
    found: set[str] = set()
    layer = [schema]
    while layer:
        value = layer.pop()
        if isinstance(value, dict):
            target = value.get("$ref")
            if isinstance(target, str) and target.startswith(prefix):
                found.add(target.removeprefix(prefix).split("/")[0].replace("~1", "/").replace("~0", "~"))
            layer.extend(value.values())
        elif isinstance(value, list):
            layer.extend(value)
    return found
