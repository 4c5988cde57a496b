"""The supported keywords of JSON Schema, by the type of their value."""

from collections.abc import Iterator
from typing import Any

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
