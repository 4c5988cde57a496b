"""Objects with several forms, conditional fields, recursion: fields, scoring and decoding."""

from typing import Any

import pytest

from slmstudio.contract.decoding.grammar import grammar, output_bound, unsupported
from slmstudio.contract.schema.compiled import SchemaError, compile_schema
from slmstudio.contract.scoring.scorer import Outcome, score_document
from tests.contract.samples import field, object_schema, single_field
from tests.contract.test_grammar import accepts

CARD = object_schema({"by": {"const": "card"}, "number": {"type": "string"}}, required=["by", "number"])
BANK = object_schema({"by": {"const": "bank"}, "iban": {"type": "string"}}, required=["by", "iban"])
PAYMENT = object_schema({"paid": {"oneOf": [CARD, BANK]}}, required=["paid"])


def test_fields_of_all_forms_are_listed_and_those_of_another_form_are_not_counted() -> None:
    compiled = compile_schema(PAYMENT)
    assert {leaf.pattern: (leaf.type, leaf.kind, leaf.required) for leaf in compiled.fields} == {
        "paid.by": ("string", "class", True),
        "paid.number": ("string", "text", False),
        "paid.iban": ("string", "text", False),
    }
    assert compiled.by_pattern["paid.by"].enum == ("card", "bank")
    gold = {"paid": {"by": "bank", "iban": "DE1"}}
    score = score_document(compiled, text="DE1", gold=gold, raw='{"paid":{"by":"bank","iban":"DE1"}}')
    assert score.exact
    assert {leaf.field: leaf.outcome for leaf in score.fields}["paid.number"] == Outcome.BOTH_ABSENT
    assert compiled.canonical(gold) == '{"paid":{"by":"bank","iban":"DE1"}}'


def test_shared_fields_and_forms_can_be_decoded_together() -> None:
    shared = {"id": {"type": "string"}}
    part = object_schema(
        shared, required=["id"], oneOf=[{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, BANK]
    )
    made = grammar(object_schema({"x": part}, required=["x"]))
    assert accepts(made, '{"x":{"id":"1","a":2}}')
    assert accepts(made, '{"x":{"id":"1","by":"bank","iban":"DE1"}}')
    assert not accepts(made, '{"x":{"id":"1","size":2}}')


def test_rules_between_fields_make_no_forms_and_constants_are_a_choice() -> None:
    part = object_schema(
        {"a": {"type": "string"}, "b": {"type": "string"}}, anyOf=[{"required": ["a"]}, {"required": ["b"]}]
    )
    assert [leaf.pattern for leaf in single_field(part).fields] == ["a.a", "a.b"]
    assert accepts(grammar(object_schema({"a": part})), '{"a":{"b":"x"}}')
    leaf = field({"oneOf": [{"const": "a", "title": "First"}, {"const": "b"}, {"type": "null"}]})
    assert (leaf.kind, leaf.enum, leaf.nullable) == ("class", ("a", "b"), True)


def test_conditional_fields_are_optional() -> None:
    rule: dict[str, Any] = {
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"state": {"type": "string"}}, "required": ["state"]},
        "else": {"properties": {"region": {"type": "string"}}},
    }
    schema = object_schema({"country": {"enum": ["US", "DE"]}}, allOf=[rule], required=["country"])
    compiled = compile_schema(schema)
    assert [(leaf.pattern, leaf.required) for leaf in compiled.fields] == [
        ("country", True),
        ("state", False),
        ("region", False),
    ]
    assert compiled.validate({"country": "US"})
    assert compiled.validate({"country": "US", "state": "NY"}) == []
    assert accepts(grammar(schema), '{"country":"US","state":"NY"}')


def test_root_references_and_forms() -> None:
    schema = {"$ref": "#/$defs/pay", "$defs": {"pay": object_schema({"a": {"type": "string"}})}}
    assert [leaf.pattern for leaf in compile_schema(schema).fields] == ["a"]
    assert accepts(grammar(schema), '{"a":"x"}')
    assert {leaf.pattern for leaf in compile_schema({"oneOf": [CARD, BANK]}).fields} == {"by", "number", "iban"}
    with pytest.raises(SchemaError, match="must be an object"):
        compile_schema({"oneOf": [CARD, {"type": "string"}]})


TREE = object_schema(
    {"root": {"$ref": "#/$defs/node"}},
    **{
        "$defs": {
            "node": object_schema(
                {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                required=["name"],
                additionalProperties=False,
            )
        }
    },
)


def test_recursion_is_checked_at_any_depth() -> None:
    compiled = compile_schema(TREE)
    assert [(leaf.pattern, leaf.type, leaf.kind) for leaf in compiled.fields] == [
        ("root.name", "string", "text"),
        ("root.parts[]", "object", "exact"),
    ]
    deep = {"root": {"name": "a", "parts": [{"name": "b", "parts": [{"name": 3}]}]}}
    assert [problem.path for problem in compiled.validate(deep)] == ["root.parts[0].parts[0].name"]
    assert unsupported(TREE) == []
    assert accepts(grammar(TREE), '{"root":{"name":"a","parts":[{"name":"b","parts":[]}]}}')
    assert output_bound(TREE) is None


def test_mutually_recursive_definitions_stay_small() -> None:
    names = [f"d{number}" for number in range(60)]
    defs = {name: object_schema({other: {"$ref": f"#/$defs/{other}"} for other in names}) for name in names}
    compiled = compile_schema(object_schema({"a": {"$ref": "#/$defs/d0"}}, **{"$defs": defs}))
    assert len(compiled.fields) == 60
