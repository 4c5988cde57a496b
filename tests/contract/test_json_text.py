"""Strict JSON in and out: what is accepted and rejected, and the position in error messages."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import JsonError, dumps, loads, sha256
from tests.contract.samples import json_values, texts


def test_fractions_keep_their_digits() -> None:
    value = loads('{"a": 1248.50, "b": 3, "c": 1e2}')
    assert value == {"a": Decimal("1248.50"), "b": 3, "c": Decimal("1E+2")}
    assert dumps(value["a"]) == "1248.50"
    assert type(value["b"]) is int


@pytest.mark.parametrize(
    ("text", "words", "line", "column"),
    [
        ('{"a": 1,\n "a": 2}', "occurs twice", 2, 2),
        ('{"a\\u0062": 1, "ab": 2}', "occurs twice", 1, 16),
        ("[1,\n NaN]", "NaN is not a number", 2, 2),
        ("[-Infinity]", "-Infinity is not a number", 1, 2),
        ('["\\ud800"]', "surrogate", 1, 2),
        ('["x\\u0000"]', "NUL", 1, 2),
        ('["\0"]', "NUL", 1, 3),
        ("[" + "1" * 400 + "]", "at most 60 digits", 1, 2),
        ("[1e400]", "at most 60 digits", 1, 2),
        ("[1e-99999999999]", "at most 60 digits", 1, 2),
        ("[" * 65 + "]" * 65, "more than 64 deep", 1, 65),
        ('{"a" 1}', "colon is missing", 1, 6),
        ("[1 2]", "comma or a closing bracket", 1, 4),
        ('{"a": 1} x', "unexpected text", 1, 10),
        ("", "a value is expected", 1, 1),
        ('["abc', "no closing", 1, 2),
        ('["a\nb"]', "line break", 1, 4),
        ("[01]", "comma or a closing bracket", 1, 3),
    ],
)
def test_schema_errors_have_a_path_and_a_message(text: str, words: str, line: int, column: int) -> None:
    with pytest.raises(JsonError) as caught:
        loads(text)
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


def test_bytes_must_be_utf8() -> None:
    assert loads('{"a":"é"}'.encode()) == {"a": "é"}
    with pytest.raises(JsonError, match="not valid UTF-8"):
        loads(b'{"a":\n"\xff"}')
    with pytest.raises(JsonError):
        loads("{}".encode("utf-16"))
    with pytest.raises(JsonError, match="surrogate"):
        loads('["\ud800"]')


def test_limits_of_depth_and_length() -> None:
    assert loads("[" * 64 + "]" * 64)
    assert loads("9" * 60) == int("9" * 60)
    assert loads("-" + "9" * 60) == -int("9" * 60)
    assert loads("0." + "1" * 59) == Decimal("0." + "1" * 59)


def test_hostile_texts_are_refused_in_bounded_time() -> None:
    start = time.process_time()
    for text in (
        "[" * 5_000_000,
        '"' + "a" * 9_000_000,
        '"' + '\\"' * 3_000_000 + "\\u",
        "1" * 9_000_000,
        '{"a":' * 1_000_000,
        '"' * 5_000_000 + "\\u",
        "[" + "1" * 5_000_000 + "e" * 1000,
    ):
        with pytest.raises(JsonError):
            loads(text)
    assert time.process_time() - start < 20
    with pytest.raises(JsonError, match="longer than 10,000,000"):
        loads(" " * 10_000_001)
    assert loads(" " * 10_000_001 + "1", max_characters=None) == 1


@given(st.dictionaries(texts, json_values, min_size=1, max_size=4), st.data())
def test_duplicate_names_are_rejected(value: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    members = [f"{json.dumps(key)}:{dumps(item)}" for key, item in value.items()]
    members.insert(data.draw(st.integers(0, len(members))), f"{json.dumps(name)}:0")
    with pytest.raises(JsonError, match="occurs twice"):
        loads("{" + ",".join(members) + "}")


@given(json_values)
def test_values_round_trip(value: Any) -> None:
    again = loads(dumps(value))
    assert again == value
    assert dumps(again) == dumps(value)


@given(st.text())
def test_any_text_is_a_value_or_a_json_error(text: str) -> None:
    try:
        value = loads(text)
    except JsonError:
        return
    assert value == json.loads(text, parse_float=Decimal)


def test_output_is_compact_and_unescaped() -> None:
    assert dumps({"a": ["é\u2028", None, True, Decimal("-0.10")]}) == '{"a":["é\u2028",null,true,-0.10]}'
    assert dumps("a\x7f\t") == '"a\\u007f\\t"'
    for bad in (float("nan"), Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(ValueError):
            dumps(bad)


def test_hashes_see_digits_and_order() -> None:
    assert sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256({"a": 1}) == sha256('{"a":1}')
    assert sha256({"a": 1, "b": 2}) != sha256({"b": 2, "a": 1})
    assert sha256(Decimal("1.0")) != sha256(Decimal("1.00"))
