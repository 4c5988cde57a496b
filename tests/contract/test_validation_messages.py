"""Each violation is one sentence at the right path, in form order."""

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.decoding.grammar import grammar, unsupported
from slmstudio.contract.schema.compiled import MAX_PROBLEMS, ValueProblem, compile_schema
from tests.contract.samples import (
    INVOICE_SCHEMA,
    SEED_GOLD,
    SEED_SCHEMA,
    anything,
    json_values,
    object_schema,
    single_field,
)
from tests.contract.test_grammar import accepts


@pytest.mark.parametrize(
    ("schema", "value", "rule", "message"),
    [
        ({"type": "number"}, "abc", "type", "must be a number, e.g. 12.50; found the string 'abc'"),
        ({"type": "number"}, True, "type", "must be a number, e.g. 12.50; found true"),
        ({"type": "integer"}, Decimal("1.5"), "type", "must be a whole number, e.g. 3; found the number 1.5"),
        ({"type": "string"}, 12, "type", "must be a string; found the number 12"),
        ({"type": "string"}, None, "type", "must be a string; found nothing (null)"),
        ({"type": ["string", "null"]}, [1, 2], "type", "must be a string or null; found a list of 2"),
        ({"type": "boolean"}, "yes", "type", "must be true or false; found the string 'yes'"),
        ({"type": "array"}, {}, "type", "must be a list, [ ... ]; found an object"),
        ({"format": "date"}, "Jan 14", "format", "must be a date written as YYYY-MM-DD; found 'Jan 14'"),
        ({"format": "date"}, "2026-02-30", "format", "must be a date written as YYYY-MM-DD; found '2026-02-30'"),
        ({"type": "string", "format": "date"}, 5, "type", "must be a date written as YYYY-MM-DD; found the number 5"),
        ({"format": "email"}, "a@b", "format", "must be an email address, e.g. name@example.com; found 'a@b'"),
        ({"enum": ["A", "B", None]}, "C", "enum", "must be one of: A, B, null; found 'C'"),
        ({"const": 3}, 4, "const", "must be 3; found 4"),
        ({"pattern": "^A-\\d+$"}, "B", "pattern", "must match the pattern ^A-\\d+$; found 'B'"),
        ({"minLength": 1}, "", "minLength", "must not be empty"),
        ({"minLength": 3}, "ab", "minLength", "must have at least 3 characters; it has 2"),
        ({"maxLength": 1}, "ab", "maxLength", "must have at most 1 character; it has 2"),
        ({"minItems": 1}, [], "minItems", "must have at least 1 entry; it has 0"),
        ({"maxItems": 2}, [1, 2, 3], "maxItems", "must have at most 2 entries; it has 3"),
        ({"minimum": 0}, -1, "minimum", "must be at least 0; found -1"),
        ({"exclusiveMaximum": 10}, 10, "exclusiveMaximum", "must be less than 10; found 10"),
        ({"multipleOf": 0.01}, Decimal("1.005"), "multipleOf", "must have at most 2 decimal places; found 1.005"),
        ({"multipleOf": 1}, Decimal("1.5"), "multipleOf", "must be a whole number; found 1.5"),
        ({"multipleOf": 5}, 7, "multipleOf", "must be a multiple of 5; found 7"),
        ({"uniqueItems": True}, [1, Decimal("1.0")], "uniqueItems", "must not contain the same entry twice"),
        (False, 1, "False", "is not allowed here"),
    ],
)
def test_sentences(schema: Any, value: Any, rule: str, message: str) -> None:
    assert single_field(schema).validate({"a": value}) == [ValueProblem("a", rule, message)]


def test_long_values_are_shortened_in_messages() -> None:
    (problem,) = single_field({"type": "number"}).validate({"a": "x" * 1000})
    assert len(problem.message) < 150


def test_missing_and_unknown_fields_are_reported_at_their_own_path() -> None:
    value = {"number": "1", "line_items": [{"name": "x"}], "total": 1, "totl": 2}
    assert compile_schema(INVOICE_SCHEMA).validate(value) == [
        ValueProblem("line_items[0].amount", "required", "is required"),
        ValueProblem("totl", "additionalProperties", "is not a field of this schema"),
    ]


def test_problems_are_in_form_order() -> None:
    value = {"total": "x", "line_items": [{"name": 1, "amount": 1}, {"amount": "x"}], "paid": 3}
    assert [problem.path for problem in compile_schema(INVOICE_SCHEMA).validate(value)] == [
        "number",
        "paid",
        "line_items[0].name",
        "line_items[1].name",
        "line_items[1].amount",
        "total",
    ]


def test_nullable_errors_report_the_other_branch() -> None:
    compiled = single_field({"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]})
    assert [problem.rule for problem in compiled.validate({"a": -1})] == ["minimum"]
    assert [problem.message for problem in compiled.validate({"a": "x"})] == [
        "must be a number, e.g. 12.50; found the string 'x'"
    ]
    assert compiled.validate({"a": None}) == []


def test_root_that_is_not_an_object_and_dependent_fields() -> None:
    (problem,) = compile_schema(SEED_SCHEMA).validate([1])
    assert (problem.path, problem.rule) == ("", "type")
    schema = object_schema({"iban": {}, "bic": {}}, dependentRequired={"iban": ["bic"]})
    (problem,) = compile_schema(schema).validate({"iban": "x"})
    assert problem.message == "lacks 'bic', which another field requires"


def test_numbers_are_exact() -> None:
    compiled = single_field({"type": "number", "multipleOf": 0.01, "maximum": 0.3})
    assert compiled.validate({"a": Decimal("0.29")}) == []
    assert compiled.validate({"a": 0.29}) == []
    assert compiled.validate({"a": Decimal("0.30")}) == []
    big = single_field({"type": "number", "multipleOf": 0.01})
    assert big.validate({"a": Decimal("1248.57")}) == []
    assert big.validate({"a": Decimal("1" * 50 + ".25")}) == []
    assert big.validate({"a": Decimal("1" * 50 + ".255")})


def test_check_parses_and_validates() -> None:
    compiled = compile_schema(SEED_SCHEMA)
    value, problems = compiled.check(
        '{"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies","total_amount":1248.50}'
    )
    assert (value, problems) == (SEED_GOLD, [])
    value, problems = compiled.check("{not json")
    assert value is None
    assert [problem.rule for problem in problems] == ["json"]
    assert "line 1, column 2" in problems[0].message


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "0001-01-01", "20260114"),
        ("time", "23:59:60Z", "8:30"),
        ("time", "08:30:00.123456789012+02:00", "24:00:00Z"),
        ("date-time", "2026-01-14T08:30:00Z", "2026-01-14"),
        ("date-time", "2026-01-14 08:30:00", "2026-01-14T25:00:00"),
        ("date-time", "2026-01-14T08:30:00+02:00", "2026-01-14T08:30:00+25:00"),
        ("date-time", "2026-01-14t08:30:00-05:00", "2026-02-30T00:00:00Z"),
        ("duration", "P1Y2M3DT4H5M6S", "P"),
        ("duration", "P2W", "P1DT"),
        ("duration", "PT1.5S", "PT1.5H"),
        ("duration", "-P1D", "P1.5D"),
        ("email", "a.b+c@d-e.co.uk", "a..b@c.de"),
        ("email", "x@y.zz", "x@y"),
        ("hostname", "a-b.example", "-a.example"),
        ("ipv4", "192.0.2.1", "192.0.2.256"),
        ("ipv6", "2001:db8::1", "fe80::1%eth0"),
        ("uri", "https://example.com/a?b=c#d", "example.com"),
        ("uri", "urn:isbn:1", "http://a b"),
        ("uuid", "123E4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"),
    ],
)
def test_formats_are_checked(name: str, right: str, wrong: str) -> None:
    compiled = single_field({"type": "string", "format": name})
    assert compiled.validate({"a": right}) == []
    assert [problem.rule for problem in compiled.validate({"a": wrong})] == ["format"]
    assert compiled.validate({"a": right + "\n"}) != []
    assert accepts(grammar(compiled.schema), f'{{"a":"{right}"}}')
    assert unsupported(compiled.schema) == []


# -- validate and check handle any value and text in bounded time, and agree with jsonschema on plain val --


INVOICE = compile_schema(INVOICE_SCHEMA)


@given(anything)
def test_any_python_value_validates_without_error(value: Any) -> None:
    for problem in INVOICE.validate(value):
        assert problem.message


@given(st.text() | st.binary())
def test_any_text_gets_an_answer(text: str | bytes) -> None:
    value, problems = INVOICE.check(text)
    assert problems or isinstance(value, dict)


@given(json_values)
def test_the_same_problem_is_never_reported_twice(value: Any) -> None:
    problems = INVOICE.validate(value)
    assert len(set(problems)) == len(problems)


@pytest.mark.slow
def test_hostile_values_take_bounded_time() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    wide = compile_schema(
        object_schema({f"p{i}": {"type": "integer"} for i in range(5000)}, additionalProperties=False)
    )
    unique = single_field({"type": "array", "uniqueItems": True})
    catastrophic = single_field({"type": "string", "pattern": "^(a+)+$"})
    start = time.process_time()
    assert [problem.rule for problem in INVOICE.validate({"tags": deep})] == ["json"]
    assert len(wide.validate({f"q{i}": 1 for i in range(100_000)})) == MAX_PROBLEMS
    assert unique.validate({"a": [{"i": i} for i in range(100_000)]}) == []
    assert catastrophic.validate({"a": "a" * 1_000_000 + "b"})
    assert time.process_time() - start < 15
