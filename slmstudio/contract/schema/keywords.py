"""The supported keywords of JSON Schema, by the type of their value."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.dialect import FORMATS
from slmstudio.contract.values.kinds.registry import KINDS

#: annotations of editors and OpenAPI, which do not affect validity
ANNOTATIONS = (
    "markdownDescription",
    "enumDescriptions",
    "markdownEnumDescriptions",
    "enumNames",
    "defaultSnippets",
    "deprecationMessage",
    "doNotSuggest",
    "errorMessage",
    "patternErrorMessage",
    "discriminator",
    "fileMatch",
    "tsType",
)
#: keywords whose value is schemas by name, a list of schemas, one schema, or no schema
DEFINITIONS = ("$defs", "definitions")
MAPS = ("properties", "patternProperties", *DEFINITIONS, "dependentSchemas")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLES = (
    "items",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)
PLAIN = (
    "$schema",
    "$id",
    "$ref",
    "$comment",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "format",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "contentEncoding",
    "contentMediaType",
    "x-slm",
    *ANNOTATIONS,
)
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
KNOWN = frozenset(MAPS + LISTS + SINGLES + PLAIN)
ADVICE = {
    "nullable": 'write "type": ["string", "null"] instead',
    "example": 'write "examples": [...] instead',
    "dependencies": 'write "dependentRequired" instead',
    "id": 'write "$id" instead',
    "divisibleBy": 'write "multipleOf" instead',
    "$anchor": "refer to a definition by its path, #/$defs/name",
    "$dynamicRef": "refer to a definition by its path, #/$defs/name",
    "$dynamicAnchor": "refer to a definition by its path, #/$defs/name",
}


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The schemas directly inside a schema, each with the path to it."""
    for key in MAPS:
        if isinstance(schema.get(key), dict):
            for name, value in schema[key].items():
                yield (key, name), value
    for key in LISTS:
        if isinstance(schema.get(key), list):
            for index, value in enumerate(schema[key]):
                yield (key, index), value
    for key in SINGLES:
        if key in schema:
            yield (key,), schema[key]


@cache
def vocabulary() -> dict[str, Any]:
    """JSON-ready. ``maps``, ``lists``, ``singles`` and ``plain``: keywords by the schemas in their values; ``options``:
    those of ``x-slm``, each with its description and its values if they are a fixed set.
    """
    schema = loads(Path(__file__).with_name("x_slm.schema.json").read_text("utf-8"))
    options = {
        name: {
            "description": option["description"],
            "values": option.get("enum", option.get("items", {}).get("enum", [])) if name != "kind" else list(KINDS),
        }
        for name, option in schema["properties"].items()
    }
    return {
        "maps": list(MAPS),
        "lists": list(LISTS),
        "singles": list(SINGLES),
        "plain": [word for word in PLAIN if word not in ANNOTATIONS],
        "types": list(TYPES),
        "formats": list(FORMATS),
        "options": options,
    }
