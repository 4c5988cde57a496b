"""Schemas that are recursive in every way that the dialect has, and texts that a careless reader takes forever for."""

import json
import random
from collections.abc import Callable
from typing import Any

_NAMES = "ABCD"
_LEAVES: tuple[Any, ...] = (
    {"type": "string"}, {"type": "number"}, {}, True, {"description": "x"}, {"const": "k"}, {"type": "null"},
    {"not": {"required": ["z"]}}, {"type": "object"},
)  # fmt: skip


def hostile_schema(seed: int) -> dict[str, Any]:
    """A schema whose definitions refer to each other; mostly with a field between."""
    chosen = random.Random(seed)
    definitions = {}
    for number, name in enumerate(_NAMES):
        later = _NAMES[number + 1 :] if seed % 4 else _NAMES
        schema = _object(chosen, 2)
        if later and chosen.random() < 0.4:
            parts = [{"$ref": f"#/definitions/{chosen.choice(later)}"}, *([_object(chosen, 2)] * chosen.randint(0, 2))]
            schema[chosen.choice(("oneOf", "anyOf", "allOf"))] = parts
        definitions[name] = schema
    return {**_object(chosen, 3), "type": "object", "definitions": definitions}


def _object(chosen: random.Random, depth: int) -> dict[str, Any]:
    fields = {name: _field(chosen, depth - 1) for name in chosen.sample("ab", chosen.randint(1, 2))}
    return {"properties": fields, **({"type": "object"} if chosen.random() < 0.6 else {})}


def _field(chosen: random.Random, depth: int) -> Any:
    reference = {"$ref": chosen.choice(["#", *(f"#/definitions/{name}" for name in _NAMES)])}
    if depth <= 0 or chosen.random() < 0.5:
        return reference if chosen.random() < 0.6 else chosen.choice(_LEAVES)
    count = chosen.choice([1, 1, 2, 3, 6])
    schema: dict[str, Any] = {
        chosen.choice(("oneOf", "anyOf", "allOf")): [_part(chosen, depth - 1) for _ in range(count)]
    }
    if chosen.random() < 0.4:
        schema["properties"] = {chosen.choice("ab"): _field(chosen, depth - 1)}
    if chosen.random() < 0.1:
        schema = {"type": "array", "items": schema}
    return schema


def _part(chosen: random.Random, depth: int) -> Any:
    if chosen.random() < 0.3:
        return _object(chosen, depth)
    inner = _field(chosen, depth)
    if isinstance(inner, dict) and chosen.random() < 0.4:
        return {"oneOf": [inner], "properties": {chosen.choice("ab"): _field(chosen, depth - 1)}}
    return inner


def statements() -> dict[str, Any]:
    """As xAPI's statements: the object of a statement is one of six, of which one is a statement with rules."""
    others = {name: {"type": "object", "properties": {name: {"type": "string"}}} for name in "abcde"}
    inner = {"oneOf": [{"$ref": "#/definitions/statement"}], "properties": {"object": {"not": {"required": ["z"]}}}}
    statement = {
        "type": "object",
        "properties": {
            "actor": {"type": "string"},
            "object": {"type": "object", "oneOf": [*({"$ref": f"#/definitions/{name}"} for name in others), inner]},
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "object",
        "oneOf": [{"$ref": "#/definitions/statement"}],
        "properties": {"object": {"description": "what was done"}},
        "definitions": {**others, "statement": statement},
    }


def _chain(keyword: Callable[[dict[str, Any]], Any], length: int) -> str:
    definitions = {f"d{number}": keyword({"$ref": f"#/$defs/d{number - 1}"}) for number in range(length, 0, -1)}
    fields = {"a": {"$ref": f"#/$defs/d{length}"}}
    return json.dumps({"type": "object", "properties": fields, "$defs": {**definitions, "d0": {"type": "string"}}})


def _lines(values: list[Any]) -> str:
    return "\n".join(json.dumps(value) for value in values)


def _fields(fields: dict[str, Any], **more: Any) -> str:
    return json.dumps({"type": "object", "properties": fields, **more})


#: texts by what they are; each is at most a fifth as long as a draft may be
TEXTS: dict[str, Callable[[], str]] = {
    "rows of different names": lambda: _lines([{f"name_{number}": number} for number in range(4_000)]),
    "one row of many names": lambda: _lines([{f"name_{number}": number for number in range(12_000)}]),
    "rows of different texts": lambda: _lines([{"a": f"text {number}"} for number in range(12_000)]),
    "rows of long texts": lambda: _lines([{"a": "1." * 80_000, "b": "2026-01-" * 10_000, "c": "a@" * 40_000}]),
    "rows of nested maps": lambda: _lines([{"a": {str(n): {str(m): n for m in range(20)}}} for n in range(800)]),
    "deep rows": lambda: _lines(['{"a":' * 60 + "1" + "}" * 60] * 800).replace('\\"', '"').replace('"{', "{"),
    "a choice of many texts": lambda: _fields({"a": {"enum": [f"text {number}" for number in range(6_000)]}}),
    "a union of many texts": lambda: _fields({"a": {"anyOf": [{"const": f"t{number}"} for number in range(3_800)]}}),
    "a union of many objects": lambda: _fields(
        {"a": {"oneOf": [{"properties": {f"n{number}": {"type": "string"}}} for number in range(1_200)]}}
    ),
    "many missing references": lambda: _fields(
        {f"a{number}": {"$ref": f"#/$defs/missing{number}"} for number in range(1_800)},
        **{"$defs": {f"there{number}": {} for number in range(1_800)}},
    ),
    "references to parts of one name": lambda: _fields(
        {f"a{number}": {"$ref": f"#/x/{number}/part"} for number in range(3_000)},
        x={str(number): {"part": {"type": "string"}} for number in range(3_000)},
    ),
    "a chain of references": lambda: _chain(lambda inner: inner, 3_000),
    "a chain of parts": lambda: _chain(lambda inner: {"allOf": [inner]}, 3_000),
    "a chain of fields": lambda: _chain(lambda inner: {"type": "object", "properties": {"a": inner}}, 1_800),
    "parts that double": lambda: _chain(lambda inner: {"allOf": [inner, inner]}, 40),
    "alternatives that double": lambda: _chain(lambda inner: {"anyOf": [inner, inner]}, 40),
    "fields that double": lambda: _chain(
        lambda inner: {"type": "object", "properties": {"a": inner, "b": {"anyOf": [inner, inner]}}}, 40
    ),
    "objects of alternatives that double": lambda: _chain(
        lambda inner: {"anyOf": [{"type": "object", "properties": {name: inner}} for name in "ab"]}, 40
    ),
    "misspelled keywords": lambda: _fields({f"a{number}": {f"unknown{number}": 1} for number in range(1_800)}),
    "extended alternatives": lambda: json.dumps(
        {
            "definitions": {
                "base": {"oneOf": [{"$ref": f"#/definitions/c{number}"} for number in range(800)]},
                **{f"c{number}": {"allOf": [{"$ref": "#/definitions/base"}]} for number in range(800)},
            },
            "type": "object",
            "properties": {"a": {"$ref": "#/definitions/base"}},
        }
    ),
    "a block of blanks": lambda: "```\n" + " " * 380_000,
    "blocks": lambda: "```json\n" * 46_000,
    "escaped quotes": lambda: '{"a": "' + '\\"' * 180_000,
    "backslashes": lambda: '{"a": "' + "\\" * 380_000,
    "open quotes": lambda: '{"a": ' * 60_000,
    "brackets": lambda: "[" * 380_000,
    "braces in lines": lambda: "{\n" * 180_000,
    "commas": lambda: "," * 380_000,
    "words": lambda: "word " * 76_000,
    "short lines": lambda: "a\n" * 180_000,
    "YAML": lambda: "invoice:\n  - total: 12.5\n    vendor: {name: Acme}\n" * 7_000,
    "JSON5": lambda: "{a: 'b', // comment\n c: .5,}\n" * 12_000,
    "repeated names": lambda: '{"a": {"title": "x"' + ', "title": "x"' * 26_000 + "}}",
    "repeated values": lambda: '{"a": [' + '{"b": 1, "b": 1},' * 20_000 + "0]}",
    "long numbers": lambda: '{"a": [' + ",".join(["9" * 600] * 600) + "]}",
    "a huge exponent": lambda: '{"a": 1e99999999999999999999999}',
    "class without an end": lambda: "class A" + "a" * 380_000,
    "class with a bracket": lambda: "class A(" + "a" * 380_000,
    "type without an end": lambda: "type A" + "<T>" * 120_000,
    "exponential generics": lambda: "type P<T>={a:T;b:T}; export type X=" + "P<" * 15 + "string" + ">" * 15,
    "zod without an end": lambda: "z " * 180_000,
}
