"""Pasted schemas: what is translated, what is noted, and what is refused with the place and the remedy."""

import json
import re
from typing import Any

import pytest

from slmstudio.contract.decoding.grammar import grammar
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.wrapped_values import bare_text, wrap, wrapped_field
from slmstudio.contract.translation.notes import Code, sentences
from slmstudio.contract.translation.translation import Translation, translate
from tests.contract.samples import SEED_SCHEMA

LINE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def read(schema: Any) -> Translation:
    return translate(json.dumps(schema))


def field(schema: Any) -> Any:
    """The translation of a field, and the codes of the notes."""
    translation = read(of(a=schema))
    return translation.compiled.schema["properties"]["a"], [note.code for note in translation.notes]


def test_an_accepted_schema_is_not_changed() -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "x", **of(a={"x-note": 1})}
    translation = read(schema)
    assert (translation.compiled.schema, translation.notes, translation.wrapped) == (schema, (), "")
    text = json.dumps(LINE)
    for pasted, notes in (("\ufeff" + text, 1), (f"```json\n{text}\n```\n", 1), (f"\ufeff```\n{text}\n```", 2)):
        translation = translate(pasted)
        assert translation.compiled.schema == LINE
        assert [note.code for note in translation.notes] == [Code.TEXT] * notes


@pytest.mark.parametrize(
    "envelope",
    [
        {"name": "invoice", "strict": True, "schema": LINE},
        {"type": "json_schema", "json_schema": {"name": "invoice", "schema": LINE}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": LINE}}},
        {"model": "m", "text": {"format": {"type": "json_schema", "name": "a", "schema": LINE}}},
        {"type": "function", "function": {"name": "a", "parameters": LINE}},
        {"type": "function", "name": "a", "parameters": LINE, "strict": True},
        {"name": "a", "description": "b", "input_schema": LINE},
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": LINE}}]},
        {"tools": [{"functionDeclarations": [{"name": "a", "parameters": LINE}]}]},
        {"name": "a", "description": "b", "parameters": LINE},
        {"generationConfig": {"responseMimeType": "application/json", "responseSchema": LINE}},
        {"components": {"schemas": {"Line": LINE}}, "openapi": "3.1.0"},
    ],
)
def test_envelopes(envelope: Any) -> None:
    translation = read(envelope)
    assert [leaf.pattern for leaf in translation.compiled.fields] == ["a"]
    assert translation.compiled.root.children["a"].required
    assert {note.code for note in translation.notes} & {Code.ENVELOPE, Code.CHOSEN}


def test_several_tools_are_refused_with_their_names() -> None:
    tools = [{"name": name, "input_schema": LINE} for name in ("one", "two")]
    with pytest.raises(SchemaError, match="one, two"):
        read({"tools": tools})


def test_gemini_types_and_order() -> None:
    translation = read({
        "response_schema": {
            "type": "OBJECT", "propertyOrdering": ["b", "a"],
            "properties": {"a": {"type": "STRING", "nullable": True}, "b": {"type": "INTEGER", "format": "int64"}},
        }
    })  # fmt: skip
    assert list(translation.compiled.root.children) == ["b", "a"]
    assert translation.compiled.schema["properties"]["a"] == {"type": ["string", "null"]}


def test_the_schema_of_a_collection_is_the_one_that_no_other_uses() -> None:
    schemas = {"Line": LINE, "Invoice": of(lines={"type": "array", "items": {"$ref": "#/components/schemas/Line"}})}
    assert read({"components": {"schemas": schemas}}).compiled.by_pattern.keys() == {"lines[].a"}
    with pytest.raises(SchemaError, match="Line, Invoice, Other"):
        read({"components": {"schemas": {"Line": LINE, "Invoice": LINE, "Other": LINE}}})
    chosen = {"$ref": "#/components/schemas/Invoice", "components": {"schemas": {**schemas, "Other": LINE}}}
    assert read(chosen).compiled.by_pattern.keys() == {"lines[].a"}


@pytest.mark.parametrize(
    ("schema", "translated"),
    [
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"type": "number", "exclusiveMinimum": 0}),
        ({"type": "number", "maximum": 9, "exclusiveMaximum": False}, {"type": "number", "maximum": 9}),
        ({"type": "number", "divisibleBy": 5}, {"type": "number", "multipleOf": 5}),
        ({"items": [{}, {"type": "string"}], "additionalItems": False, "type": "array"},
         {"prefixItems": [{}, {"type": "string"}], "items": False, "type": "array"}),
        ({"type": "object", "dependencies": {"a": ["b"], "b": "c", "c": LINE}},
         {"type": "object", "dependentRequired": {"a": ["b"], "b": ["c"]}, "dependentSchemas": {"c": LINE}}),
        ({"type": "any", "title": "t"}, {"title": "t"}),
        ({"type": ["string"]}, {"type": "string"}),
        ({"type": "Integer"}, {"type": "integer"}),
        ({"type": "float"}, {"type": "number"}),
        ({"type": ["null", {"type": "string"}]}, {"anyOf": [{"type": "null"}, {"type": "string"}]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"enum": ["a", "b"], "type": "string", "nullable": True},
         {"enum": ["a", "b", None], "type": ["string", "null"]}),
        ({"allOf": [LINE], "nullable": True, "title": "t"},
         {"title": "t", "anyOf": [{"allOf": [LINE]}, {"type": "null"}]}),
        ({"type": "string", "example": "x"}, {"type": "string", "examples": ["x"]}),
        ({"type": "string", "examples": {"one": {"value": "x"}}}, {"type": "string", "examples": ["x"]}),
        ({"type": "object", "properties": {"x": {"type": "string", "required": True}}},
         {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}),
        ({"extends": LINE}, {"allOf": [LINE]}),
        ({"type": "number", "disallow": ["integer"]}, {"type": "number", "not": {"type": "integer"}}),
        ({"type": "string", "format": "uuid4"}, {"type": "string", "format": "uuid"}),
        ({"type": "string", "minLength": None, "description": None}, {"type": "string"}),
        ({"enum": ["a", "a"]}, {"enum": ["a"]}),
    ],
)  # fmt: skip
def test_other_drafts_are_translated(schema: Any, translated: Any) -> None:
    assert field({**schema, "other": 1}) == (translated, field({**schema, "other": 1})[1])


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"type": "string", "propertyOrder": 3}, Code.IGNORED),
        ({"type": "string", "widget": {"type": "strng"}}, Code.IGNORED),
        ({"type": "string", "cost": 3}, Code.IGNORED),
        ({"type": "string", "title": ["x"]}, Code.IGNORED),
        ({"type": "integer", "format": "int32"}, Code.FORMAT),
        ({"type": "string", "format": "color"}, Code.FORMAT),
        ({"type": "string", "pattern": "("}, Code.UNCHECKED),
        ({"type": "Uint8Array"}, Code.UNCHECKED),
        ({"$ref": "https://example.com/a.json"}, Code.REMOTE),
        ({"$ref": "#/components/schemas/Money"}, Code.MISSING),
        ({"$ref": "#money"}, Code.MISSING),
        ({"type": "string", "nullable": True}, Code.DRAFT),
    ],
)
def test_what_is_left_out_is_noted(schema: Any, code: Code) -> None:
    assert field(schema)[1] == [code]


@pytest.mark.parametrize(
    ("schema", "path", "meant"),
    [
        (of(a={"type": "string", "emum": ["a"]}), "properties.a.emum", "enum"),
        ({**LINE, "additonalProperties": False}, "additonalProperties", "additionalProperties"),
        (of(a={"anyof": [{"type": "string"}]}), "properties.a.anyof", "anyOf"),
        (of(a={"type": "string", "max_length": 3}), "properties.a.max_length", "maxLength"),
        (of(a={"type": "strng"}), "properties.a.type", "string"),
        (of(a={"type": "string", "minLenght": 1}), "properties.a.minLenght", "minLength"),
        ({**LINE, "require": ["a"]}, "require", "required"),
    ],
)
def test_misspelled_rules_are_refused(schema: Any, path: str, meant: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read(schema)
    assert caught.value.path == path
    assert f"'{meant}'" in caught.value.message


@pytest.mark.parametrize(
    ("more", "reference"),
    [
        ({"$defs": {"row": {**LINE, "$anchor": "line"}}}, "#line"),
        ({"definitions": {"row": {**LINE, "id": "#line"}}}, "#line"),
        ({"definitions": {"a b": LINE}}, "#/definitions/a%20b"),
        ({"$id": "https://example.com/s.json", "$defs": {"row": LINE}}, "https://example.com/s.json#/$defs/row"),
        ({"$id": "https://example.com/s.json", "$defs": {"row": {**LINE, "$id": "row.json"}}}, "row.json"),
        ({"models": {"row": LINE}}, "#/models/row"),
        ({"defs": {"row": LINE}}, "#/defs/row"),
        ({"components": {"schemas": {"row": LINE}}}, "#/components/schemas/row"),
    ],
)
def test_references(more: Any, reference: str) -> None:
    schema = {**of(rows={"type": "array", "items": {"$ref": reference}}, other=1), **more}
    schema["properties"].pop("other")
    assert read({**schema, "note": 1}).compiled.by_pattern.keys() == {"rows[].a"}


def test_openapi_inheritance_from_the_schema_that_lists_its_children() -> None:
    """As springdoc writes polymorphism: the parent has the children as alternatives, each extends the parent."""
    at = "#/components/schemas/"
    kind = {"propertyName": "kind", "mapping": {"cat": f"{at}Cat", "dog": f"{at}Dog"}}
    schemas = {
        "Owner": of(pet={"$ref": f"{at}Pet"}),
        "Pet": {**of(kind={"type": "string"}), "required": ["kind"], "discriminator": kind,
                "oneOf": [{"$ref": f"{at}Cat"}, {"$ref": f"{at}Dog"}]},
        "Cat": {"allOf": [{"$ref": f"{at}Pet"}, {**of(lives={"type": "integer"}), "required": ["lives"]}]},
        "Dog": {"allOf": [{"$ref": f"{at}Pet"}, {**of(tricks={"type": "integer"}), "required": ["tricks"]}]},
    }  # fmt: skip
    compiled = read({"components": {"schemas": schemas}}).compiled
    assert [*compiled.by_pattern] == ["pet.kind", "pet.lives", "pet.tricks"]
    assert compiled.validate({"pet": {"kind": "cat", "lives": 9}}) == []
    assert compiled.validate({"pet": {"lives": 9}})
    assert compiled.validate({"pet": {"kind": "cat"}})
    assert grammar(compiled.schema)


def test_a_recursion_that_narrows_itself_ends() -> None:
    """As AsyncAPI extends the schema of schemas: each level would be the ``allOf`` of all levels above it."""
    own = {"anyOf": [{"$ref": "#/$defs/own"}, {"type": "boolean"}]}
    base = {"anyOf": [{"$ref": "#/$defs/base"}, {"type": "boolean"}]}
    schema = {
        "$ref": "#/$defs/own",
        "$defs": {
            "base": of(items=base, rest={"$ref": "#/$defs/base"}, more={"additionalProperties": base}),
            "own": {
                "allOf": [
                    {"$ref": "#/$defs/base"},
                    of(items=own, rest={"$ref": "#/$defs/own"}, more={"additionalProperties": own}),
                ]
            },
        },
    }
    compiled = read(schema).compiled
    assert len(compiled.decoder.schema["$defs"]) < 20
    assert grammar(compiled.schema)


def test_recursion_by_other_references() -> None:
    assert field({"type": "array", "items": {"$ref": "#/"}})[0]["items"] == {"$ref": "#"}
    schema = {"$dynamicAnchor": "node", **of(name={"type": "string"}, below={"$dynamicRef": "#node"})}
    assert read(schema).compiled.schema["properties"]["below"] == {"$ref": "#"}


def test_an_object_without_fields_becomes_a_field() -> None:
    for schema in (
        {"type": "object", "properties": {}, "required": []},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {}},
        {"name": "now", "parameters": {"type": "object", "properties": {}}},
    ):
        assert read(schema).wrapped == "value"


@pytest.mark.parametrize(
    ("schema", "name", "patterns"),
    [
        ({"type": "array", "items": LINE}, "items", {"items[].a"}),
        ({"type": "object", "additionalProperties": LINE}, "value", {"value"}),
        ({"type": "string", "enum": ["a", "b"]}, "value", {"value"}),
        ({"anyOf": [{"type": "string"}, LINE]}, "value", {"value"}),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"$ref": "#"}]}}, "items", {"items[]"}),
    ],
)
def test_a_document_that_is_no_object_becomes_a_field(schema: Any, name: str, patterns: set[str]) -> None:
    translation = read(schema)
    assert (translation.wrapped, {*translation.compiled.by_pattern}) == (name, patterns)
    assert [note.code for note in translation.notes] == [Code.WRAPPED]


def test_a_missing_type_at_the_top() -> None:
    schemas: list[dict[str, Any]] = [
        {"properties": {"a": {}}},
        {"type": ["object", "null"], "properties": {"a": {}}},
        {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]},
    ]
    for schema in schemas:
        translation = read(schema)
        assert translation.compiled.schema["type"] == "object"
        assert [note.code for note in translation.notes] == [Code.TYPE]


def test_a_misspelled_reference_is_refused() -> None:
    for reference in ("#/$defs/monye", "#/definitions/money", "#/components/schemas/money", "#money"):
        with pytest.raises(SchemaError, match=re.escape("did you mean '#/$defs/money'")) as caught:
            read({**of(a={"$ref": reference}), "$defs": {"money": {"type": "number"}}})
        assert caught.value.path == "properties.a.$ref"


AWAY = {"$ref": "https://example.com/a.json"}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"oneOf": [AWAY, LINE]}, [{"a": "x"}, 3], []),
        ({"oneOf": [{"type": "string", "pattern": "("}, {"type": "string"}]}, ["x"], [3]),
        ({"oneOf": [AWAY, {"type": "string"}], "anyOf": [{"type": "string"}, {"type": "null"}]}, ["x", None], [3]),
        ({"not": AWAY, "type": "string"}, ["x"], [3]),
        ({"if": {"properties": {"b": AWAY}}, "then": {"required": ["c"]}, **LINE}, [{"a": "x"}], [{}]),
        ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 2}]}, ["xyz"], ["x"]),
    ],
)
def test_what_is_left_out_never_makes_a_schema_stricter(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    compiled = read(of(z={"widget": 1}, a=schema)).compiled
    assert [compiled.validate({"a": value}) for value in valid] == [[]] * len(valid)
    assert all(compiled.validate({"a": value}) for value in invalid)


def test_of_repeated_notes_the_last_counts() -> None:
    fields = '{"a": {"type": "number", "type": "number"}}'
    translation = translate(f'{{"type": "object", "$comment": "1", "$comment": "x", "properties": {fields}}}')
    assert translation.compiled.schema == {**of(a={"type": "number"}), "$comment": "x"}
    assert sorted((note.code, note.detail) for note in translation.notes) == [
        (Code.REPEATED, "$comment"),
        (Code.REPEATED, "type"),
    ]


def test_what_is_no_json_or_no_contract_is_refused() -> None:
    for fields in ('"a": {}, "a": {"type": "number"}', '"title": {}, "title": {"type": "number"}'):
        with pytest.raises(JsonError, match="occurs twice"):
            translate(f'{{"type": "object", "properties": {{{fields}}}}}')
    for text in ("", "{", '{"a": 1, "a": }', "[1"):
        with pytest.raises(JsonError):
            translate(text)
    schemas: list[Any] = [[], 3, {"type": "object", "properties": {}}, of(a={"$ref": "#/properties/a"})]
    for schema in schemas:
        with pytest.raises(SchemaError):
            read(schema)


def test_nul_in_a_pattern_is_kept() -> None:
    text = json.dumps(of(a={"type": "string", "pattern": "^[^\0]+$"}, b={"type": "string", "pattern": "^[^\\u0000]+$"}))
    compiled = translate(text).compiled
    assert compiled.schema["properties"]["a"] == compiled.schema["properties"]["b"]
    assert compiled.validate({"a": "x"}) == []


def test_bounds_of_doubles_are_ignored() -> None:
    text = '{"type":"object","properties":{"a":{"type":"number","maximum":1.7976931348623157E+308,"minimum":-5}}}'
    translation = translate(text)
    assert translation.compiled.schema["properties"]["a"] == {"type": "number", "minimum": -5}
    assert [note.code for note in translation.notes] == [Code.IGNORED]


def test_a_sentence_for_each_kind_of_note() -> None:
    fields = {f"f{number}": {"type": "string", "format": "color", "widget": "x"} for number in range(12)}
    texts = sentences(read(of(**fields)).notes)
    assert len(texts) == 2
    assert "widget (12)" in texts[0]
    assert "color (12)" in texts[1]


# -- documents that are no objects: wrapped inside, bare outside, digit for digit --


@pytest.mark.parametrize(
    ("pasted", "text"),
    [
        ({"type": "array", "items": {"type": "number"}}, "[1.50, 2]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": 1}'),
        ({"enum": ["a", "b"]}, '"a"'),
        ({"type": "number"}, "1.250"),
    ],
)
def test_a_document_goes_in_and_comes_out(pasted: Any, text: str) -> None:
    compiled = translate(json.dumps(pasted)).compiled
    value = wrap(compiled.schema, loads(text))
    assert compiled.validate(value) == []
    assert wrap(compiled.schema, value) == value
    canonical = compiled.canonical(value)
    assert bare_text(compiled.schema, canonical) == canonical.split(":", 1)[1][:-1]
    spaced = f'{{ "{wrapped_field(compiled.schema)}" : {text} }}\n'
    assert bare_text(compiled.schema, spaced) == text
    assert loads(bare_text(compiled.schema, dumps(value))) == loads(text)


def test_objects_are_not_touched() -> None:
    for schema in (SEED_SCHEMA, {**SEED_SCHEMA, "x-slm": {"unwrap": True}}):
        assert wrapped_field(schema) == ""
        assert wrap(schema, {"a": 1}) == {"a": 1}
        assert bare_text(schema, ' {"a": 1}') == ' {"a": 1}'
