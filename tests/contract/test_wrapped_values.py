"""Documents that are no objects: wrapped inside, bare outside, digit for digit."""

import json
from typing import Any

import pytest

from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.wrapped_values import bare_text, wrap, wrapped_field
from slmstudio.contract.translation.translation import translate
from tests.contract.samples import SEED_SCHEMA


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
