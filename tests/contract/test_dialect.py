"""The validator: patterns in linear time everywhere, formats as Python and its libraries write them."""

import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import Any

import pytest
from pydantic import TypeAdapter

from slmstudio.contract.decoding.grammar import grammar, unsupported
from slmstudio.contract.schema import patterns
from slmstudio.contract.schema.compiled import SchemaError, compile_schema
from slmstudio.contract.schema.patterns import PatternError, compile_pattern, pattern_matches
from tests.contract.samples import object_schema
from tests.contract.test_grammar import accepts

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SLOW = {"type": "string", "pattern": "^(a+)+$"}
HOSTILE = "a" * 5000 + "b"

NESTED = object_schema({"x": {"$schema": DRAFT, **object_schema({"a": SLOW})}})
#: as zod writes a type that holds itself
ZOD = object_schema({"a": SLOW, "x": {"$ref": "#"}}, **{"$schema": DRAFT})
REFERRED = object_schema(
    {"x": {"$ref": "#/$defs/part"}}, **{"$defs": {"part": {"$schema": DRAFT, **object_schema({"a": SLOW})}}}
)
OLDER = object_schema({"x": {"$schema": "http://json-schema.org/draft-07/schema#", **object_schema({"a": SLOW})}})
UNIT = object_schema({"x": {"$ref": "#/$defs/all"}, "all": {}}, **{"$defs": {"all": {"$schema": DRAFT, "anyOf": [
    object_schema({"a": SLOW}), {"type": "array", "items": SLOW}]}}})  # fmt: skip


@pytest.mark.parametrize("schema", [NESTED, ZOD, REFERRED, OLDER, UNIT])
def test_patterns_below_a_named_draft_take_linear_time(schema: dict[str, Any]) -> None:
    compiled = compile_schema(schema)
    start = time.process_time()
    assert compiled.validate({"x": {"a": HOSTILE}})
    assert time.process_time() - start < 2
    assert compiled.validate({"x": {"a": "aaa"}}) == []


def test_numbers_below_a_named_draft_are_exact() -> None:
    schema = object_schema({"x": {"$schema": DRAFT, **object_schema({"a": {"type": "number", "multipleOf": 0.01}})}})
    assert compile_schema(schema).validate({"x": {"a": 1248.57}}) == []


@pytest.mark.parametrize(
    "hidden",
    [
        {"type": "string", "pattern": "(?=a"},
        {"type": "strng"},
        {"unevaluatedProperties": False, "patternProperties": {"^(a+)+$": True}},
        {"properties": {"a": {"frmat": "date"}}},
    ],
)
def test_reference_targets_are_checked(hidden: dict[str, Any]) -> None:
    for place in ("x-parts", "default"):
        with pytest.raises(SchemaError):
            compile_schema(object_schema({"a": {"$ref": f"#/{place}/one"}}, **{place: {"one": hidden}}))


ZONED = datetime(2026, 1, 14, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (datetime, ZONED),
        (datetime, ZONED.replace(microsecond=250)),
        (datetime, ZONED.replace(tzinfo=None)),
        (datetime, ZONED.replace(tzinfo=None, microsecond=123456)),
        (clock, clock(8, 30)),
        (clock, clock(8, 30, 1, 5)),
        (clock, clock(8, 30, tzinfo=UTC)),
        (date, date(2024, 2, 29)),
        (timedelta, timedelta(seconds=1.5)),
        (timedelta, timedelta(0)),
        (timedelta, timedelta(days=3, hours=2, microseconds=1)),
        (timedelta, -timedelta(hours=36)),
        (timedelta, timedelta(days=800)),
    ],
)
def test_pydantic_schemas_and_outputs_agree(type_: Any, value: Any) -> None:
    adapter = TypeAdapter(type_)
    schema = object_schema({"a": adapter.json_schema(mode="serialization")}, required=["a"])
    gold = {"a": adapter.dump_python(value, mode="json")}
    assert compile_schema(schema).validate(gold) == []
    assert unsupported(schema) == []
    assert accepts(grammar(schema), compile_schema(schema).canonical(gold))


# -- patterns of schemas: RE2 where it can, a time limit where it cannot --


#: Pydantic's for decimals, zod's for e-mail and durations, and what RE2 refuses besides
LOOKAROUND = [
    (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", ["1", "-0.50", ".5"], ["", "+", "1a", "1\n"]),
    (r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
     ["ana@example.com"], [".a@example.com", "a..b@example.com", "ana"]),
    (r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$",
     ["P1D", "PT1.5S", "P2W"], ["P", "PT", "P1W2D"]),
    (r"^(a|b)\1$", ["aa", "bb"], ["ab"]),
    (r"(?<=a)b", ["ab"], ["b"]),
    ("^(?:a{999}){3}$", ["a" * 2997], ["a" * 2996]),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "matching", "others"), LOOKAROUND)
def test_patterns_beyond_re2_are_matched(pattern: str, matching: list[str], others: list[str]) -> None:
    assert [text for text in matching if not pattern_matches(pattern, text)] == []
    assert [text for text in others if pattern_matches(pattern, text)] == []


def test_a_line_break_at_the_end_is_not_the_end() -> None:
    assert not pattern_matches("^a(?=b)b$", "ab\n")
    assert pattern_matches("(?=a)[$]", "a$") is False
    assert pattern_matches(r"(?=\$)\$", "$")


@pytest.mark.parametrize("pattern", ["(", "[a", "a**(?=b)", r"(?=a)\2"])
def test_invalid_patterns(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_a_slow_pattern_costs_bounded_time() -> None:
    """The pattern is exponential in this text; a document of a thousand such values is checked all the same."""
    slow = r"^(?=a)(a+)+\1$"
    schema = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "string", "pattern": slow}}}}
    value = {"rows": ["a" * 40 + "!"] * 1_000}
    began = time.process_time()
    problems = compile_schema(schema).validate(value)
    assert {problem.rule for problem in problems} == {"pattern"}
    assert time.process_time() - began < 4 * patterns.BUDGET_SECONDS + 2
