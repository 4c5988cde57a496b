"""The grammar accepts every canonical text, rejects what the schema rejects, and lists what it cannot enforce."""

import re
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from slmstudio.contract.decoding.grammar import grammar, limits, output_bound, unsupported
from slmstudio.contract.schema.compiled import SchemaError
from tests.contract.samples import INVOICE_SCHEMA, SEED_SCHEMA, SEED_TARGET, object_schema


class _Bytes:
    """A tokenizer with one token for each byte."""

    eos_token_id = 256
    bos_token_id = None
    tokens = [bytes([code]) for code in range(256)] + [b"<eos>"]
    special_token_ids = [256]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


TOKENIZER = LLTokenizer(TokenizerWrapper(_Bytes()))


def accepts(made: str, text: str) -> bool:
    """Whether a decoder under this grammar could write exactly this text and stop."""
    matcher = LLMatcher(TOKENIZER, made, log_level=0, limits=limits())
    tokens = list(text.encode())
    if matcher.validate_tokens(tokens) < len(tokens):
        return False
    matcher.consume_tokens(tokens)
    return bool(matcher.is_accepting())


def test_the_seed_example() -> None:
    assert accepts(grammar(SEED_SCHEMA), SEED_TARGET)
    assert unsupported(SEED_SCHEMA) == []


def test_rejected_texts() -> None:
    made = grammar(SEED_SCHEMA)
    for text in (
        SEED_TARGET.replace("1248.50", "1248.505"),
        SEED_TARGET.replace("2026-01-14", "2026-02-30"),
        SEED_TARGET.replace("2026-01-14", "Jan 14, 2026"),
        SEED_TARGET.replace('"Acme Supplies"', "null"),
        SEED_TARGET.replace(",", ", "),
        SEED_TARGET[:-1] + ',"more":1}',
        SEED_TARGET[:-1],
        '{"date":"2026-01-14","invoice_id":"A-1029","vendor":"Acme Supplies","total_amount":1248.50}',
        "{}",
        "",
    ):
        assert not accepts(made, text), text


def test_lists_optional_fields_and_choices() -> None:
    made = grammar(INVOICE_SCHEMA)
    assert accepts(made, '{"number":"7","line_items":[],"total":0}')
    assert accepts(
        made,
        '{"number":"7","issued":null,"due":"2026-01-14","currency":"EUR","paid":true,'
        '"line_items":[{"name":"é😀","amount":1.5},{"name":"","quantity":2,"amount":-3}],"tags":["a"],"total":1e3}',
    )
    assert not accepts(made, '{"number":"7","currency":"GBP","line_items":[],"total":0}')
    assert not accepts(made, '{"number":"7","line_items":[{"name":"x"}],"total":0}')
    assert not accepts(made, '{"number":"7","total":0}')


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "a: .*uniqueItems"),
        ({"not": {"const": 3}}, "a: .*\\(not\\)"),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "a: .*if / then / else"),
        ({"type": "array", "contains": {"type": "string"}}, "a: .*contains"),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, "a: .*propertyNames"),
        ({"type": "object", "properties": {"b": {}}, "dependentRequired": {"b": ["c"]}}, "a: .*dependentRequired"),
        ({"type": "object", "properties": {"b": {}}, "minProperties": 1}, "a: .*minProperties"),
        ({"oneOf": [{"type": "string"}, {"type": "number"}]}, "a: .*oneOf"),
    ],
)
def test_unsupported_keywords_are_listed(part: dict[str, Any], words: str) -> None:
    schema = object_schema({"a": part})
    (sentence,) = unsupported(schema)
    assert re.search(words, sentence)
    assert accepts(grammar(schema), "{}")


def test_fields_of_all_of_are_closed_together() -> None:
    schema = object_schema(
        {"who": {"allOf": [{"$ref": "#/$defs/name"}, object_schema({"age": {"type": "integer"}})]}},
        required=["who"],
        **{"$defs": {"name": object_schema({"name": {"type": "string"}}, required=["name"])}},
    )
    made = grammar(schema)
    assert accepts(made, '{"who":{"name":"x","age":3}}')
    assert not accepts(made, '{"who":{"name":"x","size":3}}')
    undeclared = object_schema({"a": {"type": "string"}}, required=["a", "b"])
    assert accepts(grammar(undeclared), '{"a":"x","b":1}')


def test_unsatisfiable_schemas_are_reported() -> None:
    schema = object_schema({"a": {"type": "string", "format": "date", "pattern": "^x"}}, required=["a"])
    assert any("does not support this schema" in sentence for sentence in unsupported(schema))
    with pytest.raises(ValueError):
        grammar(schema)
    with pytest.raises(SchemaError):
        grammar({"type": "string"})


def _bound(part: Any) -> int | None:
    bound = output_bound(object_schema({"a": part}))
    return None if bound is None else bound - len('{"a":}')


@pytest.mark.parametrize(
    ("part", "bound"),
    [
        ({"type": "boolean"}, 5),
        ({"type": ["boolean", "null"]}, 5),
        ({"enum": ["red", "green", None]}, 7),
        ({"const": "x"}, 3),
        ({"type": "string"}, None),
        ({"type": "string", "maxLength": 10}, 62),
        ({"type": "string", "format": "date"}, 62),
        ({"type": "integer", "minimum": -10, "maximum": 100}, 3),
        ({"type": "number"}, 67),
        ({"type": "array", "items": {"type": "boolean"}}, None),
        ({"type": "array", "maxItems": 2, "items": {"type": "boolean"}}, 13),
        ({"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 1}]}, 8),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, 5),
        (object_schema({"b": {"type": "boolean"}}), 11),
        ({"type": "object"}, None),
        ({}, None),
    ],
)
def test_output_bound(part: Any, bound: int | None) -> None:
    assert _bound(part) == bound
