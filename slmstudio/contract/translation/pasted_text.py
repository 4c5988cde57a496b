"""The schema in a pasted text: JSON, also in a Markdown block, with a byte order mark, or with bounds such as
1.8e308; and inside what an API or a document wraps around it: tools, response formats, OpenAPI documents.
"""

import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads, number_fits
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.keywords import KNOWN
from slmstudio.contract.translation.notes import Code, Note

_FENCE = re.compile(r"```[A-Za-z0-9]*+[ \t]*+\r?\n")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?[0-9][0-9.eE+-]*', re.DOTALL)
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_LONGEST = 400
#: keywords of which the last one counts if an object has them twice
_NOTES = ("$comment", "title", "description", "markdownDescription")


def read(text: str) -> tuple[Any, list[Note]]:
    """The JSON value of a text, and what was removed around it. Numbers of more digits than the project stores are
    null: .NET writes the bounds of a double, 1.8e308. The character NUL, which it does not store either, is written as
    in a pattern. Of a note that occurs twice in an object the last one counts, as in most readers of JSON.

    Raises:
        JsonError: it is not JSON.
    """
    notes = []
    bare = text.removeprefix("\ufeff")
    if bare != text:
        notes.append(Note(Code.TEXT, "", "a byte order mark"))
    block = bare.strip()
    if (fence := _FENCE.match(block)) and block.endswith("```") and len(block) >= fence.end() + 3:
        bare = block[fence.end() : -3].rstrip()
        notes.append(Note(Code.TEXT, "", "a Markdown block"))
    try:
        return loads(bare), notes
    except JsonError:
        fixed = _TOKEN.sub(_storable, bare)
        notes += [Note(Code.UNCHECKED, "", "the character NUL")] if _NUL.search(bare) else []
        fixed, repeated = _without_repeated_notes(fixed)
        if fixed == bare:
            raise
    return loads(fixed), [*notes, *(Note(Code.REPEATED, "", name) for name in repeated)]


def _without_repeated_notes(text: str) -> tuple[str, list[str]]:
    """A text in which no object has a note or an equal value twice under a name, and these names. The text itself if
    there are none, or if a name has different values.
    """
    repeated: list[str] = []

    def last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        for name, value in pairs:
            if value != members[name] and not (name in _NOTES and isinstance(value, str)):
                raise ValueError(name)
        repeated.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return members

    try:
        value = json.loads(text, object_pairs_hook=last, parse_float=Decimal)
        return (dumps(value), repeated) if repeated else (text, [])
    except (ValueError, ArithmeticError, RecursionError):
        return text, []


def _storable(token: re.Match[str]) -> str:
    text = token.group()
    if text.startswith('"'):
        return _NUL.sub(r"\1\\\\u0000", text)
    try:
        fits = len(text) <= _LONGEST and number_fits(Decimal(text))
    except ArithmeticError:
        return text
    return text if fits else "null"


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
    names: set[str] = set()
    layer = [schema]
    while layer:
        value = layer.pop()
        if isinstance(value, dict):
            target = value.get("$ref")
            if isinstance(target, str) and target.startswith(prefix):
                names.add(target.removeprefix(prefix).split("/")[0].replace("~1", "/").replace("~0", "~"))
            layer.extend(value.values())
        elif isinstance(value, list):
            layer.extend(value)
    return names
