"""The schema of the output for a window."""

from typing import Any

import pytest

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.windows.gold import nullable_window_schema, window_schema

NUMBER: dict[str, Any] = {"type": "string"}


def test_a_value_that_a_window_lacks_is_left_out_or_null() -> None:
    inner = {"type": "object", "properties": {"number": NUMBER}, "required": ["number"]}
    compiled = compile_schema(
        {"type": "object", "properties": {"number": NUMBER, "order": inner}, "required": ["number", "order"]}
    )
    left_out, null = window_schema(compiled).schema, nullable_window_schema(compiled).schema
    assert left_out["required"] == ["order"]
    assert null["required"] == ["number", "order"]
    assert null["properties"]["number"] == {"anyOf": [NUMBER, {"type": "null"}]}
    assert null["properties"]["order"]["required"] == left_out["properties"]["order"]["required"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"allOf": [{"properties": {"number": {"type": "string"}}}]},
        {"if": {"properties": {"kind": {"const": "a"}}}, "then": {"properties": {"number": {"type": "string"}}}},
    ],
)
def test_a_field_that_is_also_constrained_elsewhere_is_left_out(more: dict[str, Any]) -> None:
    compiled = compile_schema(
        {"type": "object", "properties": {"kind": NUMBER}, "required": ["kind", "number"], **more}
    )
    assert "number" not in nullable_window_schema(compiled).schema["required"]
