"""An unsupported schema is rejected with the path and a reason."""

from collections.abc import Callable
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import SchemaError, compile_schema
from slmstudio.contract.schema.tree_cuts import MAX_RESOLVED
from tests.contract.samples import SEED_SCHEMA, object_schema


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = object_schema({"a": schema})
    return schema


LOOP = {"$defs": {"n": {"anyOf": [{"$ref": "#/$defs/m"}]}, "m": {"allOf": [{"$ref": "#/$defs/n"}]}}}


@pytest.mark.parametrize(
    ("schema", "path", "words"),
    [
        ([], "", "must be a JSON object"),
        ("text", "", "must be a JSON object"),
        ({"type": "object"}, "properties", "at least one field"),
        ({"type": "array", "items": {}}, "type", "must be an object"),
        (object_schema({"a": 3}), "properties.a", "object, true or false"),
        ({"type": "object", "properties": []}, "properties", "object of schemas"),
        (object_schema({"a": {"type": "strng"}}), "properties.a.type", "must be one of string, number"),
        (object_schema({"a": {"nullable": True}}), "properties.a.nullable", '["string", "null"]'),
        (
            object_schema({"a": {}}, patternProperties={"^b": {}}, unevaluatedProperties=False),
            "unevaluatedProperties",
            "cannot be combined with patternProperties",
        ),
        (object_schema({"a": {"requird": []}}), "properties.a.requird", "not a keyword"),
        (object_schema({"a": {"format": "dat"}}), "properties.a.format", "use one of date"),
        (object_schema({"a": {"enum": []}}), "properties.a.enum", "at least one value"),
        (object_schema({"a": {"minLength": -1}}), "properties.a.minLength", "at least 0"),
        (object_schema({"a": {"allOf": []}}), "properties.a.allOf", "at least 1 entry"),
        (object_schema({"a": {"multipleOf": 0}}), "properties.a.multipleOf", "more than 0"),
        (object_schema({"a": {"$ref": "https://example.com/s"}}), "properties.a.$ref", "nothing is fetched"),
        (object_schema({"a": {"$ref": "other.json#/a"}}), "properties.a.$ref", "nothing is fetched"),
        (object_schema({"a": {"$ref": "#/$defs/no"}}), "properties.a.$ref", "is not in this schema"),
        (
            object_schema({"a": {"$ref": "#/properties/b/title"}, "b": {"title": "B"}}),
            "properties.a.$ref",
            "not a schema",
        ),
        (object_schema({"a": {"$ref": "#/properties/a"}}), "properties.a.$ref", "back to itself"),
        (object_schema({"a": {"$ref": "#/$defs/n"}}, **LOOP), "$defs.m.allOf.0.$ref", "back to itself"),
        (object_schema({"a": {"$id": "x"}}), "properties.a.$id", "only the root schema"),
        (object_schema({"a": {}}, **{"$schema": "https://example.com/mine"}), "$schema", "json-schema.org"),
        (
            object_schema({"a": {"patternProperties": {"(": {}}}}),
            "properties.a.patternProperties.(",
            "regular expression",
        ),
        (object_schema({"a": {"x-slm": {"kind": "currency"}}}), "properties.a.x-slm.kind", "must be one of: exact"),
        (object_schema({"a": {"x-slm": {"knd": "money"}}}), "properties.a.x-slm.knd", "not an option of x-slm"),
        (object_schema({"a": {"x-slm": {"cost": -1}}}), "properties.a.x-slm.cost", "at least 0"),
        (object_schema({"a": {"x-slm": {"locale": "xx_YY"}}}), "properties.a.x-slm.locale", "not a locale"),
        (object_schema({"a": {"type": "number", "x-slm": {"kind": "date"}}}), "properties.a.x-slm", "does not fit"),
        (object_schema({"a": {"type": "boolean", "x-slm": {"kind": "money"}}}), "properties.a.x-slm", "does not fit"),
        (object_schema({"a": {}}, **{"x-slm": {"invariants": ["a =="]}}), "x-slm.invariants.0", "is not valid"),
        (
            object_schema({"a": {}}, **{"x-slm": {"invariants": ["b > 1"]}}),
            "x-slm.invariants.0",
            "the field b is not in the schema",
        ),
        (_nested(40), "", "more than 64 deep"),
        ({"type": "object", "properties": {"a": {"default": {1, 2}}}}, "", "not JSON"),
        (object_schema({"a": {"title": "x" * 2_000_001}}), "", "longer than 2,000,000"),
    ],
)
def test_rejected(schema: Any, path: str, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.path == path
    assert words in caught.value.message


def _doubling(make: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A schema whose tree doubles with each of 40 definitions."""
    defs = {f"d{i}": make({"$ref": f"#/$defs/d{i + 1}"}) for i in range(40)}
    return object_schema({"b": {"$ref": "#/$defs/d0"}}, **{"$defs": {**defs, "d40": {"type": "string"}}})


def test_the_tree_of_an_exponential_schema_is_cut() -> None:
    compiled = compile_schema(_doubling(lambda inner: object_schema({"a": inner, "b": inner})))
    nodes = list(compiled.root.nodes())
    assert 100 < len(nodes) < MAX_RESOLVED
    assert {node.field.type for node in nodes if node.recursive and node.field} == {"object"}
    deep: dict[str, Any] = {"b": 1}
    for _ in range(40):
        deep = {"b": deep}
    assert [problem.rule for problem in compiled.validate(deep)] == ["type"]
    nullable = _doubling(lambda inner: object_schema({"a": {"anyOf": [inner, {"type": "null"}]}, "b": inner}))
    assert len(list(compile_schema(nullable).root.nodes())) < MAX_RESOLVED
    of_a_value = _doubling(lambda inner: {"allOf": [inner, inner]})
    for schema in (of_a_value, {**of_a_value, "$ref": "#/$defs/d0"}):
        with pytest.raises(SchemaError, match="more than 100,000 parts"):
            compile_schema(schema)


def test_compiling_twice_gives_the_same_object_which_is_immutable() -> None:
    first = compile_schema(SEED_SCHEMA)
    assert compile_schema(dict(SEED_SCHEMA)) is first
    assert len(first.hash) == 64
    turned = {**SEED_SCHEMA, "properties": dict(reversed(SEED_SCHEMA["properties"].items()))}
    assert compile_schema(turned).hash != first.hash
    schema = object_schema({"a": {"type": "string"}})
    compiled = compile_schema(schema)
    schema["properties"]["a"]["type"] = "number"
    assert compiled.validate({"a": "text"}) == []


def test_older_drafts_and_definitions_are_accepted() -> None:
    schema = object_schema(
        {"a": {"$ref": "#/definitions/money"}},
        **{
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$id": "https://example.com/invoice",
            "definitions": {"money": {"type": "number"}},
        },
    )
    assert compile_schema(schema).validate({"a": "x"})
    assert compile_schema(schema).fields[0].kind == "number"
