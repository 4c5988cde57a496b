"""Invariants: syntax, satisfied, violated and undecidable rules."""

import contextlib
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slmstudio.contract.rules import invariants
from slmstudio.contract.rules.expressions import ExpressionError, parse
from slmstudio.contract.rules.invariants import check, declared
from slmstudio.contract.schema.compiled import SchemaError, ValueProblem, compile_schema
from tests.contract.samples import INVOICE_SCHEMA, anything, object_schema

ROW = object_schema(
    {"name": {"type": "string"}, "qty": {"type": "number"}, "price": {"type": "number"}, "sum": {"type": "number"}}
)
PROPERTIES: dict[str, Any] = {
    "rows": {"type": "array", "items": ROW},
    "net": {"type": "number"},
    "tax": {"type": ["number", "null"]},
    "total": {"type": "number"},
    "issued": {"type": "string", "format": "date"},
    "due": {"type": ["string", "null"], "format": "date"},
    "paper": {"type": "string", "x-slm": {"kind": "date", "date_order": "DMY"}},
    "printed": {"type": "string", "x-slm": {"kind": "money", "locale": "en_US"}},
    "kind": {"type": "string"},
    "paid": {"type": "boolean"},
    "odd name": {"type": "number"},
}
VALUE = {
    "rows": [
        {"name": "a", "qty": 2, "price": Decimal("1.50"), "sum": Decimal("3.00")},
        {"name": "b", "qty": 1, "price": Decimal("4"), "sum": Decimal("4.00")},
    ],
    "net": Decimal("7.00"),
    "total": Decimal("7.42"),
    "issued": "2026-01-14",
    "due": "2026-02-13",
    "paper": "14/01/2026",
    "printed": "RM 7.42",
    "kind": "invoice",
    "paid": False,
    "odd name": 3,
}


def _holds(rule: str, **options: Any) -> bool:
    schema = object_schema(PROPERTIES, **{"x-slm": {"invariants": [rule], **options}})
    return not check(compile_schema(schema), VALUE)


@pytest.mark.parametrize(
    "rule",
    [
        "sum(rows[].sum) == net",
        "sum(rows[].qty * rows[].price) == net",
        "count(rows[].sum) == 2",
        "max(rows[].sum) == 4 and min(rows[].sum) == 3",
        "rows[].sum > 0",
        "rows[].qty * rows[].price == rows[].sum",
        "total == net + 0.42",
        "total - net == 0.42",
        "-net == 0 - 7",
        "net * 2 / 2 == 7",
        "net == total within 0.42",
        "round(total, 1) == 7.4",
        "abs(net - total) < 0.5",
        "2 + 3 * 4 == 14 and (2 + 3) * 4 == 20",
        "due >= issued",
        "due == issued + 30",
        "due - issued == 30",
        'issued >= "2026-01-01"',
        "paper == issued",
        "printed == total",
        'kind == "invoice"',
        'kind != "receipt"',
        "paid == false",
        "tax == null",
        "due != null",
        "tax == null or tax > 0",
        "not (net > total)",
        '["odd name"] == 3',
    ],
)
def test_holds(rule: str) -> None:
    assert _holds(rule)


@pytest.mark.parametrize(
    "rule",
    [
        "sum(rows[].sum) == total",
        "count(rows[].sum) > 2",
        "rows[].sum >= 4",
        "total == net within 0.41",
        "due < issued",
        "due <= issued + 29",
        'kind == "Invoice"',
        "paid == true",
        "tax != null",
        "due == null",
        "net > total or net == 0",
        "net < total and net == 0",
        "not (net < total)",
        "net != 7",
        '["odd name"] == 4',
    ],
)
def test_breaks(rule: str) -> None:
    assert not _holds(rule)


def test_undecidable_rules_hold() -> None:
    undecidable = ["tax > 100", "tax + net == 0", "net / 0 == 1", "kind > 3", "issued == 5", "net + tax == total"]
    for rule in [*undecidable, 'issued > "soon"']:
        assert _holds(rule), rule
        assert _holds(f"not ({rule})"), rule
    assert not _holds("tax > 0 and net == 0")
    assert _holds("tax > 0 and net == 7")
    assert _holds("tax > 0 or net == 0")


def test_tolerance_from_the_object_and_from_the_rule() -> None:
    assert _holds("total == net", tolerance=0.42)
    assert not _holds("total == net", tolerance=0.41)
    assert not _holds("total == net within 0.1", tolerance=0.42)
    assert _holds("net >= total", tolerance=0.42)
    schema = object_schema(PROPERTIES, **{"x-slm": {"invariants": [{"rule": "total == net", "tolerance": 0.5}]}})
    assert check(schema, VALUE) == []


def test_a_violation_names_both_sides_at_its_field() -> None:
    value = {
        "number": "1",
        "total": 5,
        "issued": "2026-02-01",
        "due": "2026-01-01",
        "line_items": [{"name": "x", "amount": 4}],
    }
    assert check(compile_schema(INVOICE_SCHEMA), value) == [
        ValueProblem("total", "invariant", "must equal the sum of Amount in Line items (4); found 5"),
        ValueProblem("due", "invariant", "must not be before Issued (2026-02-01); found 2026-01-01"),
    ]


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ("paid == true or remark != null", "paid", "breaks a rule: Paid must be yes, or What else? must not be empty"),
        ("remark != null", "remark", "breaks a rule: What else? must not be empty"),
        ("paid == true", "paid", "must be yes; found no"),
        ("0 > total", "total", "must be less than 0; found 7.42"),
        ("total == net within 0.1", "total", "must equal Net (7.00) (± 0.1); found 7.42"),
        ("not (total > 3)", "", "breaks a rule: Total must be at most 3"),
        ("max(rows[].sum) <= 3", "", "breaks a rule: The largest of Sum in Rows must be at most 3; found 4.00 and 3"),
        ("due >= issued + 40", "due", "must not be before Issued + 40 days (2026-02-23); found 2026-02-13"),
        ('issued > "2027-01-01"', "issued", "must be after 2027-01-01; found 2026-01-14"),
        ("paper != issued", "paper", "must differ from Issued (2026-01-14); found 2026-01-14"),
        ('kind != "invoice"', "kind", "must differ from 'invoice'; found 'invoice'"),
    ],
)
def test_a_message_has_the_titles_of_fields_and_no_program_text(rule: str, path: str, message: str) -> None:
    more = {"remark": {"type": "string", "title": "What else?"}}
    schema = object_schema({**PROPERTIES, **more}, **{"x-slm": {"invariants": [rule]}})
    assert check(schema, VALUE) == [ValueProblem(path, "invariant", message)]


def test_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "_today", lambda: date(2026, 1, 14))
    assert _holds("issued <= today()")
    assert _holds("due > today() + 29 and due - today() == 30")
    assert not _holds("issued < today()")
    schema = object_schema({"today": {"type": "number"}}, **{"x-slm": {"invariants": ["today > 3"]}})
    assert [problem.path for problem in check(schema, {"today": 2})] == ["today"]
    with pytest.raises(SchemaError, match=r"today\(\)") as caught:
        compile_schema(object_schema(PROPERTIES, **{"x-slm": {"invariants": ["net > 0", "issued <= today"]}}))
    assert caught.value.path == "x-slm.invariants.1"


def test_a_rule_that_is_wrong_is_named_at_its_place() -> None:
    row = object_schema({"a": {"type": "number"}}, **{"x-slm": {"invariants": ["a > b"]}})
    schema = object_schema({"rows": {"type": "array", "items": row}})
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.path == "properties.rows.items.x-slm.invariants.0"


def test_rules_of_rows_have_their_own_messages() -> None:
    rules = {"x-slm": {"invariants": [{"rule": "qty * price == sum", "message": "the line does not add up"}]}}
    schema = object_schema({"rows": {"type": "array", "items": {**ROW, **rules}}})
    value = {"rows": [{"qty": 1, "price": 2, "sum": 2}, {"qty": 1, "price": 2, "sum": 3}, {"qty": 1, "price": 2}]}
    assert check(schema, value) == [ValueProblem("rows[1].sum", "invariant", "the line does not add up")]


def test_money_is_summed_exactly() -> None:
    value = {"number": "1", "total": Decimal("0.30"), "line_items": [{"name": "x", "amount": Decimal("0.10")}] * 3}
    assert check(INVOICE_SCHEMA, value) == []
    assert [problem.path for problem in check(INVOICE_SCHEMA, {"line_items": [], "total": 1})] == ["total"]
    assert check(INVOICE_SCHEMA, {"total": 1}) == [], "a missing list has no sum"


def test_declared() -> None:
    assert declared(compile_schema(INVOICE_SCHEMA))
    assert not declared(compile_schema(object_schema({"a": {}})))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing before 'the end'"),
        ("a", "must compare"),
        ("a + b", "must compare"),
        ("a == ", "missing before 'the end'"),
        ("a = b", "not valid here"),
        ("a == b == c", "write two comparisons with 'and'"),
        ("(a == b", "')' is missing"),
        ("a == b)", "not expected"),
        ("a == (b == c)", "must compare"),
        ("eval(a) == 1", "is not a function"),
        ("sum(a, b) == 1", "takes 1 value"),
        ("__import__('os') == 1", "not valid here"),
        ("a.__class__() == 1", "is not a function"),
        ("today(1) == a", "takes no values"),
        ("sum() == a", "takes 1 value"),
        ("a ** b == 1", "missing before '*'"),
        ("a == b within c", "a number must follow"),
        ("a; b == 1", "not valid here"),
        ("a[0] == 1", "not valid here"),
        ("(" * 150 + "1 == 1" + ")" * 40, "nested more than 20"),
        ("-" * 150 + "1 == 1", "nested more than 20"),
        ("1 + " * 300 + "1 == 1", "more than 200 tokens"),
    ],
)
def test_rule_syntax_errors(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=r".") as caught:
        parse(text)
    assert words in str(caught.value)


@pytest.mark.slow
@given(st.text("ab.[]()+-*/<>=!\"' 0123456789sumwithinandornotnull,", max_size=40) | st.text(max_size=40))
def test_any_text_parses_or_is_an_error(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        assert parse(text).paths() is not None


@settings(max_examples=50)
@given(anything)
def test_any_value_gets_an_answer(value: Any) -> None:
    assert isinstance(check(INVOICE_SCHEMA, value), list)
    assert isinstance(check(INVOICE_SCHEMA, {"line_items": value, "total": value, "due": value, "issued": value}), list)
