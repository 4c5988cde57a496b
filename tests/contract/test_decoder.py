"""The simple form: one order for canonical texts and the decoder, objects as open as the schema says, null where it is
valid.
"""

from decimal import Decimal
from typing import Any

import pytest

from labeling.form.codec import to_entry
from labeling.form.tree import tree_of
from slmstudio.contract.decoding import grammar as grammar_module
from slmstudio.contract.decoding.grammar import (
    MAX_OPTIONAL,
    exceeds_optional_limit,
    grammar,
    output_bound,
    unsupported,
)
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.schema.dialect import ExactValidator
from slmstudio.contract.scoring.scorer import score_document
from tests.contract.samples import object_schema, single_field
from tests.contract.test_consistent_interpretation import check_meaning
from tests.contract.test_grammar import accepts

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


def means_the_same(schema: dict[str, Any], *values: Any) -> None:
    """Every value is valid by the schema and means the same to form, decoder and scorer."""
    compiled = compile_schema(schema)
    for value in values:
        assert compiled.validate(value) == []
        check_meaning(compiled, value)


# -- one order --------------------------------------------------------------------------------------------------------

SHOP = object_schema({"is": {"const": "shop"}, "name": TEXT, "city": TEXT}, required=["is"], additionalProperties=False)
PERSON = object_schema(
    {"city": TEXT, "name": TEXT, "is": {"const": "person"}}, required=["is"], additionalProperties=False
)
SHOPPER = {"name": "Ada", "is": "person", "city": "Ulm"}
IN_ORDER = '{"city":"Ulm","name":"Ada","is":"person"}'


@pytest.mark.parametrize(
    ("around", "value", "text"),
    [
        (lambda part: part, SHOPPER, IN_ORDER),
        (lambda part: {"type": "array", "items": part}, [SHOPPER], f"[{IN_ORDER}]"),
        (lambda part: {"type": "array", "prefixItems": [TEXT, part]}, ["x", SHOPPER], f'["x",{IN_ORDER}]'),
        (lambda part: {"type": "object", "additionalProperties": part}, {"k": SHOPPER}, f'{{"k":{IN_ORDER}}}'),
        (lambda part: {"type": "object", "patternProperties": {"^k": part}}, {"k": SHOPPER}, f'{{"k":{IN_ORDER}}}'),
        (lambda part: {"anyOf": [{"type": "array", "items": part}, {"type": "null"}]}, [SHOPPER], f"[{IN_ORDER}]"),
    ],
)  # fmt: skip
def test_forms_with_their_fields_in_another_order(around: Any, value: Any, text: str) -> None:
    for key in ("anyOf", "oneOf"):
        schema = object_schema({"x": around({key: [SHOP, PERSON]})}, required=["x"])
        assert compile_schema(schema).canonical({"x": value}) == f'{{"x":{text}}}'
        means_the_same(schema, {"x": value})


def test_order_follows_the_matching_form() -> None:
    assert compile_schema({"oneOf": [SHOP, PERSON]}).canonical(SHOPPER) == IN_ORDER
    means_the_same({"oneOf": [SHOP, PERSON]}, SHOPPER, {"is": "shop"})


def test_recursion_is_ordered_at_any_depth() -> None:
    node = object_schema({"name": TEXT, "parts": {"type": "array", "items": {"$ref": "#/$defs/node"}}, "size": WHOLE})
    schema = object_schema({"root": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": node}})
    leaf = {"size": 1, "name": "c"}
    deep = {"root": {"size": 3, "parts": [{"size": 2, "parts": [leaf], "name": "b"}], "name": "a"}}
    assert compile_schema(schema).canonical(deep) == (
        '{"root":{"name":"a","parts":[{"name":"b","parts":[{"name":"c","size":1}],"size":2}],"size":3}}'
    )
    means_the_same(schema, deep)


def test_order_of_undeclared_required_names() -> None:
    schema = object_schema({"a": TEXT}, required=["z", "a"], additionalProperties=WHOLE)
    assert compile_schema(schema).canonical({"m": 1, "z": 2, "a": "x"}) == '{"a":"x","z":2,"m":1}'
    means_the_same(schema, {"m": 1, "z": 2, "a": "x"})


def test_overlapping_rules_and_forms_are_combined() -> None:
    def rule(kind: str, more: Any) -> dict[str, Any]:
        return {"if": {"properties": {"kind": {"const": kind}}}, "then": {"properties": {"value": more}}}

    def forms(*names: str) -> dict[str, Any]:
        return {"anyOf": [object_schema({name: TEXT}, required=[name]) for name in names]}

    rules = [rule("t", TEXT), rule("n", {"type": "number"})]
    schema = object_schema({"kind": {"enum": ["t", "n"]}}, required=["kind"], allOf=rules)
    means_the_same(schema, {"kind": "t", "value": "x"}, {"kind": "n", "value": Decimal("2.50")})
    means_the_same({"type": "object", "allOf": [forms("a", "b"), forms("c", "d")]}, {"b": "1", "c": "2"})


# -- open objects -----------------------------------------------------------------------------------------------------


def test_an_object_without_fields_is_open_unless_it_is_closed() -> None:
    for part in ({"type": "object"}, {"type": "object", "properties": {}}):
        schema = object_schema({"x": part}, required=["x"])
        assert unsupported(schema) == []
        assert output_bound(schema) is None
        assert tree_of(compile_schema(schema)).children[0].shape == "json"
        means_the_same(schema, {"x": {}}, {"x": {"b": [1, {"c": None}], "a": "y"}})
    closed = object_schema({"x": {"type": "object", "properties": {}, "additionalProperties": False}}, required=["x"])
    means_the_same(closed, {"x": {}})
    assert not accepts(grammar(closed), '{"x":{"a":1}}')


def test_additional_names_are_decoded_if_typed() -> None:
    typed: list[Any] = [True, {}, {"type": "integer"}, {"anyOf": [SHOP, {"type": "integer"}]}]
    for others in typed:
        schema = object_schema({"a": TEXT}, additionalProperties=others)
        compiled = compile_schema(schema)
        assert tree_of(compiled).more is not None
        assert to_entry(tree_of(compiled), {"a": "x", "m": 1})["$more"][0]["key"] == "m"
        assert output_bound(schema) is None
        means_the_same(schema, {}, {"a": "x"}, {"m": 1, "a": "x", "k": 2}, {"k": 2})
    untyped = object_schema({"a": TEXT})
    assert tree_of(compile_schema(untyped)).more is None
    assert not accepts(grammar(untyped), '{"a":"x","m":1}')
    assert compile_schema(untyped).validate({"a": "x", "m": 1}) == []


def score(schema: dict[str, Any], gold: Any, output: Any) -> tuple[bool, bool]:
    result = score_document(compile_schema(schema), text="", gold=gold, raw=dumps(output))
    return result.exact, result.no_extra_keys


def test_additional_names_are_compared_with_gold() -> None:
    schema = object_schema({"a": TEXT}, additionalProperties=WHOLE)
    assert score(schema, {"a": "x", "m": 1}, {"a": "x", "m": 1}) == (True, True)
    assert score(schema, {"a": "x", "m": 1}, {"a": "x", "m": 2}) == (False, True)
    assert score(schema, {"a": "x", "m": 1}, {"a": "x"}) == (False, True)
    assert score(schema, {"a": "x"}, {"a": "x", "m": 1}) == (False, False)
    untyped = object_schema({"a": TEXT})
    assert score(untyped, {"a": "x", "note": "n"}, {"a": "x"}) == (True, True), "it is optional"
    assert score(untyped, {"a": "x", "note": "n"}, {"a": "x", "note": "n"}) == (True, True)
    assert score(untyped, {"a": "x"}, {"a": "x", "note": "n"}) == (False, False)


def test_additional_names_in_rows() -> None:
    row = object_schema({"a": TEXT}, additionalProperties=WHOLE)
    schema = object_schema({"rows": {"type": "array", "items": row}})
    gold = {"rows": [{"a": "one", "m": 1}, {"a": "two", "m": 2}]}
    assert score(schema, gold, {"rows": gold["rows"][::-1]}) == (True, True)
    assert score(schema, gold, {"rows": [{"a": "one", "m": 2}, {"a": "two", "m": 1}]}) == (False, True)
    assert score(schema, gold, {"rows": [{"a": "one", "m": 1, "k": 1}, {"a": "two", "m": 2}]}) == (False, False)


# -- null -------------------------------------------------------------------------------------------------------------

NULLABLE = [{"type": ["string", "null"]}, {"type": ["integer", "null"]}]


def test_null_is_filled_in_only_where_it_is_valid() -> None:
    assert single_field({"oneOf": NULLABLE}).canonical({}) == "{}"
    assert single_field({"anyOf": NULLABLE}).canonical({}) == '{"a":null}'
    assert single_field({"type": ["string", "null"], "not": {"type": "null"}}).canonical({}) == "{}"
    assert single_field({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}).canonical({}) == "{}"
    assert single_field({"allOf": [{"type": "string"}, {"type": ["string", "null"]}]}).canonical({}) == "{}"
    assert single_field({"oneOf": [NULLABLE[0], {"type": "null"}]}).canonical({}) == "{}"
    for schema in ({"oneOf": NULLABLE}, {"anyOf": NULLABLE}):
        means_the_same(object_schema({"a": schema}), {}, {"a": "x"}, {"a": 3})


def test_the_form_offers_null_only_if_valid() -> None:
    def nullable(part: Any) -> bool:
        return tree_of(compile_schema(object_schema({"a": part}))).children[0].nullable

    assert nullable({"anyOf": NULLABLE})
    assert not nullable({"oneOf": [NULLABLE[0], {"type": "null"}]})
    means_the_same(object_schema({"a": {}, "b": {}}, minProperties=1), {"a": None})


# -- numbers and choices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ({"type": "integer"}, Decimal("12.0"), "12"),
        ({"type": "number"}, Decimal("1E+2"), "100"),
        ({"type": "number", "minimum": 0}, Decimal("1E-7"), "0.0000001"),
        ({"type": "number"}, Decimal("1248.50"), "1248.50"),
        ({"type": "number", "minimum": 0}, Decimal("1248.50"), "1248.50"),
        ({"type": "number", "maximum": Decimal("99.99")}, Decimal("99.990"), "99.99"),
        ({"type": "number", "multipleOf": Decimal("0.01")}, Decimal("1.500"), "1.5"),
        ({"type": "number", "maximum": 0}, Decimal("-0.0"), "0"),
        ({"enum": [Decimal("1.50"), 2]}, Decimal("2.0"), "2"),
        ({"enum": [Decimal("1.50"), 2]}, Decimal("1.50"), "1.5"),
        ({"const": {"y": 1, "x": [Decimal("2.0")]}}, {"x": [2], "y": Decimal("1.0")}, '{"y":1,"x":[2]}'),
        ({"type": "integer", "minimum": -(10**30), "maximum": 10**30}, 10**29, str(10**29)),
        ({"enum": [10**40, 1]}, 10**40, str(10**40)),
    ],
)
def test_numbers_are_written_as_a_decoder_writes_them(part: dict[str, Any], value: Any, text: str) -> None:
    schema = object_schema({"a": part}, required=["a"])
    assert compile_schema(schema).canonical({"a": value}) == f'{{"a":{text}}}'
    means_the_same(schema, {"a": value})


# -- what has no grammar, and what has one all the same ---------------------------------------------------------------


def test_unsatisfiable_fields_are_omitted() -> None:
    never = {"type": "string", "format": "date", "pattern": "^x"}
    for part in (never, {"type": "array", "items": never, "minItems": 1}, object_schema({"x": never}, required=["x"]),
                 False, {"type": "string", "minLength": 2, "maxLength": 1}, {"anyOf": [never, False]}):  # fmt: skip
        means_the_same(object_schema({"a": part, "b": TEXT}), {"b": "y"})
    forms = object_schema({"a": {"anyOf": [never, TEXT]}, "c": {"type": "array", "items": never}})
    means_the_same(forms, {"a": "y", "c": []})


def test_root_without_valid_values_or_with_too_many_forms() -> None:
    nothing = object_schema({"a": TEXT}, const=3)
    assert any("not support" in sentence for sentence in unsupported(nothing))
    assert compile_schema(nothing).canonical({"a": "x"}) == '{"a":"x"}'
    kinds = [object_schema({"is": {"const": number}, "a": TEXT}, required=["is"]) for number in range(501)]
    many = {"type": "object", "anyOf": kinds, "properties": {"is": WHOLE}}
    assert any("more than 500 alternatives" in sentence for sentence in unsupported(many))
    assert accepts(grammar(many), '{"is":7,"a":"x"}')


def test_infinite_recursion_and_patterns_beyond_the_decoder_are_reported() -> None:
    node = object_schema({"inner": {"$ref": "#/$defs/node"}}, required=["inner"])
    schema = object_schema({"a": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": node}})
    means_the_same(schema, {})
    assert any("not support" in sentence for sentence in unsupported({**schema, "required": ["a"]}))
    schema = object_schema({"a": {"type": "string", "pattern": r"\bx\b"}}, required=["a"])
    [sentence] = unsupported(schema)
    assert "pattern" in sentence
    assert accepts(grammar(schema), '{"a":"an x"}')


def test_overlapping_name_patterns() -> None:
    for patterns in ({"^x": {"minLength": 1}, "1$": TEXT}, {r"^x\b": TEXT}, {r"^x\b": TEXT, "1$": {"minLength": 1}}):
        schema = {"type": "object", "properties": {"x-1": TEXT, "b": WHOLE}, "patternProperties": patterns}
        assert any("patternProperties" in sentence for sentence in unsupported(schema))
        means_the_same(schema, {"x-2": "a", "b": 1, "x-1": "c"})


def test_hundreds_of_optional_fields() -> None:
    count = 500
    schema = object_schema({f"p{number}": TEXT for number in range(count)})
    assert exceeds_optional_limit(schema)
    [sentence] = unsupported(schema)
    assert "llama.cpp" in sentence
    for number in (0, count // 2, count - 1):
        assert accepts(grammar(schema), f'{{"p{number}":"x"}}')
    assert accepts(grammar(schema), "{}")


def test_a_few_hundred_fields_need_no_special_limits() -> None:
    from llguidance import LLMatcher

    from tests.contract.test_grammar import TOKENIZER

    schema = object_schema({f"p{number}": TEXT for number in range(MAX_OPTIONAL)})
    assert unsupported(schema) == []
    matcher = LLMatcher(TOKENIZER, grammar(schema), log_level=0)
    matcher.consume_token(ord("{"))
    matcher.compute_bitmask()
    assert not matcher.is_error()


# -- large schemas ----------------------------------------------------------------------------------------------------


def test_counts_with_a_fraction() -> None:
    items = {"type": "array", "items": {"type": "string", "maxLength": Decimal("2.0")}, "minItems": Decimal("1.0")}
    schema = object_schema({"a": items})
    assert accepts(grammar(schema), '{"a":["xy"]}')
    assert not accepts(grammar(schema), '{"a":[]}')
    means_the_same(schema, {"a": ["xy"]})


def test_a_choice_in_each_of_many_forms_is_checked_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the schema of Azure Pipelines has it: each task repeats the choice of all tasks, next to its own name."""
    names = [f"Task{number}@1" for number in range(40)]
    every = [{"enum": [name], "description": f"What {name} does"} for name in names]
    forms = [
        object_schema({"task": {"anyOf": every, "pattern": f"^{name}$"}, name: TEXT}, required=["task"])
        for name in names
    ]
    schema = object_schema({"step": {"anyOf": forms}})
    calls: list[int] = []
    check = ExactValidator.VALIDATORS["anyOf"]

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return check(*arguments)

    monkeypatch.setitem(ExactValidator.VALIDATORS, "anyOf", counted)
    assert compile_schema(schema).decoder.schema["$defs"]
    assert len(calls) < 4 * len(names)
    means_the_same(schema, {"step": {"task": "Task7@1", "Task7@1": "x"}})


def test_a_schema_too_large_for_the_decoder_allows_any_json_in_its_last_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = grammar_module._compiled

    def compiled(schema: dict[str, Any]) -> tuple[str, str]:
        return ("", "schema too large") if len(schema.get("$defs", ())) > 100 else real(schema)

    monkeypatch.setattr(grammar_module, "_compiled", compiled)
    schema = object_schema({f"f{n}": object_schema({f"a{n}": WHOLE}, required=[f"a{n}"]) for n in range(120)})
    assert unsupported(schema) == [
        "checked in the finished output, not during decoding: everything beyond its first 100 parts"
    ]
    assert not accepts(grammar(schema), '{"f1":{}}')
    assert accepts(grammar(schema), '{"f119":{}}')
    means_the_same(schema, {"f119": {"a119": 1}, "f1": {"a1": 2}})


def test_too_many_alternatives_allow_any_json_in_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slmstudio.contract.decoding.schema.MAX_ALTERNATIVES", 20)
    schema = object_schema({f"f{n}": {"anyOf": [TEXT, object_schema({f"a{n}": WHOLE})]} for n in range(30)})
    assert any("first 20 alternatives" in sentence for sentence in unsupported(schema))
    means_the_same(schema, {"f29": {"a29": 1}, "f1": {"a1": 2}, "f3": "x"})
