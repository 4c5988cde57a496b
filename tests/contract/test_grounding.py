"""Grounded decoding: which fields are grounded, and that they contain only text of the document."""

import random
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from slmstudio.contract.decoding.grammar import limits
from slmstudio.contract.decoding.grounding import (
    GroundingPlan,
    build_plan,
    collapse_spaces,
    grammar_of,
    is_accepted,
    split_chunks,
)
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.values import evidence

TOKENIZER = LLTokenizer("byte")
COPIED: dict[str, Any] = {"type": "string", "x-slm": {"evidence": "required"}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "company": {**COPIED, "maxLength": 60},
        "total": {"type": "number"},
        "note": {**COPIED, "type": ["string", "null"]},
        "lines": {
            "type": "array",
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {"what": {**COPIED, "minLength": 1}, "count": {"type": "integer"}},
                "required": ["what"],
            },
        },
    },
    "required": ["company", "total"],
    "additionalProperties": False,
}
TEXT = 'ABC HO TRADING\n  NO.2&4, JALAN "HARMONI" 3/2,\n81100 JOHOR BAHRU\n2 x tea RM31.00 paid 1,248.50 naïve ✓'
ALL = GroundingPlan(held={"company": (), "note": (), "lines[].what": ()})


def accepts(made: str, text: str) -> bool:
    """Whether a decoder under this grammar could write exactly this text and stop."""
    matcher = LLMatcher(TOKENIZER, LLMatcher.grammar_from_lark(made), log_level=0, limits=limits())
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    if matcher.validate_tokens(tokens) < len(tokens):
        return False
    matcher.consume_tokens(tokens)
    return bool(matcher.is_accepting())


def says(value: Any, ground: GroundingPlan = ALL, schema: dict[str, Any] = SCHEMA, text: str = TEXT) -> bool:
    return accepts(grammar_of(compile_schema(schema), ground, text), dumps(value))


@pytest.mark.parametrize(
    ("company", "may"),
    [
        ("ABC HO TRADING", True),
        ("HO", True),
        ("ABC HO TRADING NO.2&4", True),  # over the end of a line
        ('JALAN "HARMONI" 3/2', True),
        ("naïve ✓", True),
        ("31.00", True),  # an amount may be written together with its currency
        ("1,248.50", True),
        ("248.50", False),  # no part of a number
        ("ABC HO TRAD", False),
        ("ABC H0 TRADING", False),
        ("abc ho trading", False),
        ("ABC TRADING", False),
        (" HO", False),
        ("", True),  # the schema asks for no letter
        ("Globex", False),
    ],
)
def test_a_grounded_text_is_one_span(company: str, may: bool) -> None:
    assert says({"company": company, "total": 31.0}) == may


def test_ungrounded_fields_follow_the_schema() -> None:
    fine = {"company": "HO", "total": -7.25, "note": None, "lines": [{"what": "tea", "count": 12}, {"what": "HO"}]}
    assert says(fine)
    assert says({"company": "HO", "total": 1})
    assert says({"company": "HO", "total": 1, "lines": []})
    assert says({"company": "HO", "total": 1, "note": "paid"})
    for broken in (
        {"total": 1},
        {"company": "HO"},
        {"company": None, "total": 1},
        {"company": "HO", "total": "1"},
        {"company": "HO", "total": 1, "more": 2},
        {"total": 1, "company": "HO"},
        {"company": "HO", "total": 1, "lines": [{"count": 1}]},
        {"company": "HO", "total": 1, "lines": [{"what": "coffee"}]},
        {"company": "HO", "total": 1, "lines": [{"what": ""}]},
        {"company": "HO", "total": 1, "lines": [{"what": "tea"}] * 4},
    ):
        assert not says(broken), broken


def test_omitted_fields_leave_no_comma() -> None:
    schema = {"type": "object", "properties": {"a": COPIED, "b": COPIED, "c": {"type": "integer"}}}
    ground = GroundingPlan(held={"a": (), "b": ()})
    for value in ({}, {"a": "tea"}, {"b": "tea"}, {"c": 1}, {"a": "x", "c": 1}, {"a": "x", "b": "tea", "c": 1}):
        assert says(value, ground, schema), value
    made = grammar_of(compile_schema(schema), ground, TEXT)
    assert not any(accepts(made, text) for text in ('{,"c":1}', '{"a":"x",}', '{"c":1,"a":"x"}'))


def test_spans_are_joined_as_in_gold() -> None:
    joined = GroundingPlan(held={"company": (", ",)})
    assert says({"company": "ABC HO TRADING, 81100 JOHOR BAHRU", "total": 1}, joined)
    assert says({"company": "ABC HO TRADING", "total": 1}, joined)
    assert not says({"company": "ABC HO TRADING; 81100 JOHOR BAHRU", "total": 1}, joined)
    assert not says({"company": "ABC, BAHRU", "total": 1}, joined), "single words could be put together to anything"
    assert not says({"company": ", ".join(["ABC HO"] * 7), "total": 1}, joined)


def test_shared_definitions_and_objects_that_may_be_null_are_followed() -> None:
    schema = {
        "type": "object",
        "$defs": {"party": {"type": "object", "properties": {"name": COPIED, "kind": {"$ref": "#/$defs/kind"}}},
                  "kind": {"enum": ["shop", "person"]}},
        "properties": {"seller": {"anyOf": [{"$ref": "#/$defs/party"}, {"type": "null"}]}},
        "required": ["seller"],
    }  # fmt: skip
    ground = build_plan(compile_schema(schema), [(TEXT, {"seller": {"name": "ABC HO TRADING", "kind": "shop"}})])
    assert ground.held == {"seller.name": ()}
    assert says({"seller": {"name": "HO TRADING", "kind": "shop"}}, ground, schema)
    assert says({"seller": None}, ground, schema)
    assert not says({"seller": {"name": "Globex", "kind": "shop"}}, ground, schema)
    assert not says({"seller": {"name": "HO", "kind": "bank"}}, ground, schema)


HELD_A = GroundingPlan(held={"a": ()})


@pytest.mark.parametrize(
    "neighbor",
    [
        {"$ref": "#"},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#/properties/c"},
        {"type": "object", "properties": {"again": {"$ref": "#"}}, "additionalProperties": False},
        {"type": "string", "format": "date", "pattern": "^x"},
        {"type": "string", "minLength": 2, "maxLength": 1},
    ],
)
def test_fields_next_to_grounded_fields(neighbor: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": COPIED, "b": neighbor, "c": {"type": "integer"}}}
    assert says({"a": "tea", "c": 1}, HELD_A, schema)
    assert not says({"a": "coffee", "c": 1}, HELD_A, schema)
    assert not says({"a": "tea", "b": "nothing of it"}, HELD_A, schema)
    whole = neighbor == {"$ref": "#"}
    assert says({"a": "tea", "b": {"a": "anything", "c": 2}}, HELD_A, schema) == whole
    assert says({"a": "tea", "b": 3}, HELD_A, schema) == (neighbor == {"$ref": "#/properties/c"})


def test_single_element_and_empty_lists() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "maxItems": 1, "items": COPIED}}}
    held = GroundingPlan(held={"a[]": ()})
    assert says({"a": ["tea"]}, held, schema)
    assert says({"a": []}, held, schema)
    assert not says({"a": ["tea", "tea"]}, held, schema)
    empty = {"type": "object", "properties": {"a": {**COPIED, "maxLength": 0}}, "required": ["a"]}
    assert says({"a": ""}, HELD_A, empty)
    assert not says({"a": "tea"}, HELD_A, empty)


def test_a_field_the_document_cannot_fill_is_not_grounded() -> None:
    schema = {"type": "object", "properties": {"a": {**COPIED, "minLength": 5, "maxLength": 9}}, "required": ["a"]}
    assert says({"a": "sixsix"}, HELD_A, schema, text="no")
    assert says({"a": "three"}, HELD_A, schema, text="one two three")
    assert not says({"a": "seven"}, HELD_A, schema, text="one two three")
    short = {"type": "object", "properties": {"a": {**COPIED, "maxLength": 2}}, "required": ["a"]}
    assert says({"a": ""}, HELD_A, short, text="three")
    assert says({"company": "anything", "total": 1}, text=" \n "), "an empty document still has an answer"
    quoted = {"type": "object", "properties": {"a": {**COPIED, "maxLength": 6}}}
    assert says({"a": '"a" b'}, HELD_A, quoted, text='say "a" b'), "the maximum length counts characters"


def test_additional_names_next_to_grounded_fields() -> None:
    schema = {"type": "object", "properties": {"a": COPIED}, "additionalProperties": {"type": "integer"}}
    assert says({"a": "tea", "m": 1, 'q"': 2}, HELD_A, schema)
    assert says({"m": 1}, HELD_A, schema)
    assert not says({"a": "coffee"}, HELD_A, schema)
    assert not says({"a": "tea", "m": "x"}, HELD_A, schema)
    made = grammar_of(compile_schema(schema), HELD_A, TEXT)
    assert not accepts(made, '{"m":1,"a":2}')


def test_grounded_texts_respect_max_length() -> None:
    text = "word " * 40
    assert says({"company": ("word " * 12).strip(), "total": 1}, text=text)
    assert not says({"company": ("word " * 13).strip(), "total": 1}, text=text)
    made = grammar_of(compile_schema(SCHEMA), GroundingPlan(), "")  # without grounded fields
    assert accepts(made, '{"company":"Globex","total":1}')
    assert not accepts(made, '{"company": "Globex","total":1}')


def test_grounded_values_are_found_by_the_scorer() -> None:
    dice = random.Random(5)
    field = compile_schema(SCHEMA).by_pattern["company"]
    pieces = split_chunks(collapse_spaces(TEXT))
    assert "".join(pieces) == collapse_spaces(TEXT)
    for _ in range(300):
        start = dice.randrange(len(pieces))
        value = "".join(pieces[start : dice.randint(start + 1, len(pieces))]).strip()
        if any(letter.isalnum() for letter in value):
            assert evidence.is_present(value, field, TEXT), value


def test_prefixes_of_valid_outputs_are_accepted() -> None:
    made = grammar_of(compile_schema(SCHEMA), ALL, TEXT)
    for text in ("", '{"comp', '{"company":"ABC H', '{"company":"HO","total":1}'):
        assert is_accepted(made, text), text
    for text in ('{"company":"Gl', '{"company": ', "no", '{"company":"HO","total":1} '):
        assert not is_accepted(made, text), text


def test_given_values_are_constants() -> None:
    schema = {
        "type": "object",
        "$defs": {"party": {"type": ["object", "null"], "properties": {"name": COPIED, "vat": {"type": "string"}}}},
        "properties": {
            **SCHEMA["properties"], "due": {"type": "string"},
            "party": {"$ref": "#/$defs/party"}, "id": {"type": "string"},
        },
        "required": ["total", "id"],
    }  # fmt: skip
    given = {"company": 'Glob"ex', "note": None, "lines": [{"what": "é"}], "due": None, "party.vat": "7", "id": None}
    right = {"company": 'Glob"ex', "total": 1, "note": None, "lines": [{"what": "é"}], "party": {"vat": "7"}, "id": "x"}
    changes: list[dict[str, Any]] = [
        {"company": "HO"}, {"note": "tea"}, {"lines": []}, {"party": {"vat": "8"}}, {"party": {}}, {"party": None},
    ]  # fmt: skip
    for plan in (ALL, GroundingPlan({**ALL.held, "party.name": ()}), GroundingPlan()):
        made = grammar_of(compile_schema(schema), plan, TEXT, given)
        assert accepts(made, dumps(right))
        assert accepts(made, dumps({**right, "party": {"name": "HO", "vat": "7"}}))
        for change in changes:
            assert not accepts(made, dumps({**right, **change})), change
        assert not accepts(made, dumps({**right, "due": "HO"}))
        assert not accepts(made, dumps({name: value for name, value in right.items() if name != "company"}))
        in_party = dumps({**right, "party": {"name": "Globex", "vat": "7"}})
        assert accepts(made, in_party) == ("party.name" not in plan.held)


def test_grounding_in_a_long_document() -> None:
    dice = random.Random(3)
    text = " ".join("".join(dice.choices("abcdefghij", k=6)) for _ in range(12_000))
    made = grammar_of(compile_schema(SCHEMA), ALL, text)
    assert is_accepted(made, dumps({"company": text[7 * 5000 : 7 * 5000 + 27], "total": 1}))
    assert not is_accepted(made, dumps({"company": "Globex", "total": 1}))


# -- what is held ---------------------------------------------------------------------------------------------------


def schema_of(**fields: Any) -> Any:
    return compile_schema({"type": "object", "properties": fields})


def rows(*golds: Any, text: str = TEXT) -> list[tuple[str, Any]]:
    return [(text, {"a": gold}) for gold in golds]


def test_a_field_is_grounded_if_its_gold_is_in_the_text() -> None:
    compiled = schema_of(a=COPIED, b={"type": "string", "x-slm": {"evidence": "none"}})
    assert build_plan(compiled, rows(*["HO TRADING"] * 9, "Globex")).held == {"a": ()}
    ground = build_plan(compiled, rows(*["HO TRADING"] * 8, "Globex", "Initech"))
    assert ground.held == {}
    assert ground.left == {"a": "only 8 of 10 gold values of the training split are verbatim in their documents"}
    expected = schema_of(a={"type": "string"})
    assert build_plan(expected, rows(*["HO TRADING"] * 9, "Globex")).held == {"a": ()}
    assert build_plan(expected, []).left == {"a": "no training document has a value for it"}


def test_values_of_several_documents_are_known_without_a_span() -> None:
    """Labels that people complete: not in every text, and the same in several documents."""
    expected, required = schema_of(a={"type": "string"}), schema_of(a=COPIED)
    golds = rows(*["HO TRADING"] * 6, "Globex", "Globex", "Globex", "Initech")
    plan = build_plan(expected, golds)
    assert plan == GroundingPlan(held={"a": ()}, known={"a": ("Globex",)})
    assert plan.as_dict()["known"] == {"a": 1}
    assert build_plan(required, golds).held == {}, "required evidence is in the text"

    made = grammar_of(expected, plan, TEXT)
    assert accepts(made, '{"a":"Globex"}')
    assert accepts(made, '{"a":"HO TRADING"}')
    assert not accepts(made, '{"a":"Initech"}')
    short = schema_of(a={"type": "string", "maxLength": 5})
    assert not accepts(grammar_of(short, plan, TEXT), '{"a":"Globex"}')


def test_only_joins_seen_in_gold_are_allowed() -> None:
    compiled = schema_of(a=COPIED)
    apart = ["ABC HO TRADING, 81100 JOHOR BAHRU", "HO TRADING, JOHOR BAHRU, tea RM31.00"]
    assert build_plan(compiled, rows(*apart, "ABC HO TRADING")).held == {"a": (", ",)}


def test_missing_gold_does_not_prevent_grounding() -> None:
    compiled = schema_of(a={**COPIED, "type": ["string", "null"]})
    assert build_plan(compiled, rows(None, "HO")).held == {"a": ()}
    assert build_plan(compiled, []).held == {"a": ()}
    dated = schema_of(a={"type": "string", "x-slm": {"kind": "date", "evidence": "required"}})
    assert build_plan(dated, []).left == {"a": "no training document has a value for it"}


def test_constants_and_fields_of_a_form_are_not_grounded() -> None:
    for schema, why in (
        ({**COPIED, "format": "date"}, "the schema sets its format"),
        ({**COPIED, "pattern": "^A"}, "the schema sets its pattern"),
        ({**COPIED, "enum": ["HO"]}, "the schema lists its values"),
    ):
        assert build_plan(schema_of(a=schema), rows("HO")).left == {"a": why}
    forms = [
        {"type": "object", "properties": {"is": {"const": kind}, "name": COPIED}, "required": ["is"]}
        for kind in ("shop", "person")
    ]
    ground = build_plan(compile_schema({"type": "object", "properties": {"a": {"anyOf": forms}}}), [])
    assert ground.left == {"a.name": "it is in a part of the schema with several alternatives"}
