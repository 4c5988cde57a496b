"""validate and check handle any value and text in bounded time, and agree with jsonschema on plain values."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import MAX_PROBLEMS, compile_schema
from tests.contract.samples import INVOICE_SCHEMA, anything, json_values, object_schema, single_field

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
